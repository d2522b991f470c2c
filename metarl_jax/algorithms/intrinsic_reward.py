"""A learned intrinsic reward that makes the extrinsic return grow (Zheng et al. 2020, arXiv:1912.05500)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.learner import Learner, inner_gradient, inner_optimiser
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Baseline, Loss, actor_critic, per_step, reinforce
from metarl_jax.core.networks import Network, mlp
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntrinsicReward(Algorithm):
    """Learn a reward network r_φ(s, a, s') that teaches a newborn agent faster than the task's own reward does.

    The agent is born as a random network and adapts by θ ← θ − lr ∇θ L(θ; r + r_φ), an actor-critic loss. The outer
    loss is that of REINFORCE on the extrinsic reward alone: the agent's critic values r + r_φ, and advantages made with
    it would reward what the learned reward likes. Without a critic its returns end with the window: what comes later
    counts only through the windows that follow, where agents live on.

    Args:
        reward_scale: factor of r_φ; 0 is the control that learns from the extrinsic reward alone.
        inner_lr: step size of an adaptation.
        inner_optimiser: what turns inner gradients into steps.
        baseline: what the outer loss subtracts from an environment's returns: a linear regression on all environments
            (fitted), or on the others alone (leave_one_out), which leaves the expected gradient unchanged.
        lifespan: meta-steps before an agent is reborn in another task.
        hidden: widths of the policy's, the critic's and the reward network's layers.
    """

    name: ClassVar[str] = "intrinsic_reward"
    summary: ClassVar[str] = "a reward network that teaches a newborn agent faster than the task's reward"

    adaptations: int = 4
    steps: int = 32
    tasks: int = 32
    meta_lr: float = 3e-3
    reward_scale: float = 1.0
    inner_lr: float = 0.3
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    lambda_: float = 0.95
    entropy: float = 0.01
    value_weight: float = 0.5
    baseline: Baseline = "fitted"
    lifespan: int = 5
    hidden: tuple[int, ...] = (64, 64)

    @property
    def lives(self) -> int:
        return self.lifespan

    @property
    def schedule(self) -> tuple[int, int]:
        return 10, max(1, self.lifespan * self.adaptations // 10)

    def lifetime(self, environment: Environment) -> Lifetime:
        steps, _ = self.rollout_steps(environment)
        policy = mlp_policy(environment, self.hidden, critic=True)
        reward = reward_network(environment, self.hidden)
        learner = rewarded_learner(policy, reward, self, steps)
        return Lifetime(environment, policy, learner, self.adaptations, self.envs, steps, fresh=False)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return reinforce(lifetime.policy, gamma=self.gamma, baseline=self.baseline)


def reward_network(environment: Environment, hidden: tuple[int, ...]) -> Network:
    """r_φ of a record [T, E], bounded by ±1: it reads observation, action and next observation."""
    space = environment.action_space
    actions = space.n if isinstance(space, Discrete) else space.shape[0]
    network = mlp(2 * environment.observation_space.shape[0] + actions, hidden, 1, head_scale=0.01)

    def apply(params: Tree, seen: Experience) -> Array:
        action = jax.nn.one_hot(seen.action, actions) if isinstance(space, Discrete) else seen.action
        features = jnp.concatenate([seen.timestep.observation, action, seen.next_observation], axis=-1)
        return jnp.tanh(network.apply(params, features)[..., 0])

    return Network(network.init, apply)


def rewarded_learner(policy: Policy, reward: Network, options: IntrinsicReward, steps: int) -> Learner:
    """Birth as a random network, adaptation by one optimiser step on the actor-critic loss of r + r_φ."""
    optimiser = inner_optimiser(options.inner_optimiser, options.inner_lr)

    def birth(meta_params: Tree, key: Key) -> Agent:
        params = policy.init(key)
        return Agent(params, optimiser.init(params))

    def inner_loss(params: Tree, others: tuple[Tree, Tree], seen: Experience) -> Array:
        reward_params, target_params = others
        reward_of = lambda seen: seen.reward + options.reward_scale * reward.apply(reward_params, seen)  # noqa: E731
        loss = actor_critic(
            policy,
            gamma=options.gamma,
            lambda_=options.lambda_,
            value_weight=options.value_weight,
            entropy=options.entropy,
            reward=per_step(options.gamma, steps, reward_of),
        )
        return loss(params, revalue(policy, target_params, seen))

    gradient = inner_gradient(inner_loss)

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        slope = gradient(agent.params, (meta_params["reward"], agent.params), seen)
        updates, state = optimiser.update(slope, agent.state, agent.params)
        return Agent(optax.apply_updates(agent.params, updates), state)

    return Learner(lambda key: {"reward": reward.init(key)}, birth, adapt)
