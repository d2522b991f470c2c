"""A learned intrinsic reward that increases the extrinsic return (Zheng et al. 2020, arXiv:1912.05500)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Recipe,
    Share,
    Size,
    Widths,
    improved,
    rollout_steps,
)
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import gradient_learner, inner_optimiser
from metarl_jax.core.life import World
from metarl_jax.core.losses import Baseline, Loss, actor_critic, per_step, reinforce
from metarl_jax.core.networks import Network, mlp
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Array, Experience, Tree
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntrinsicReward(Improved, Adapting):
    """Learn a reward network r_φ(s, a, s') that teaches a newborn agent faster than the task's own reward does.

    The agent is born as a random network and adapts by θ ← θ − lr ∇θ L(θ; r + r_φ), an actor-critic loss. The outer
    loss is REINFORCE on only the extrinsic reward: the agent's critic estimates the value of r + r_φ, so advantages
    from it would reward the learned reward. Without a critic its returns end with the rollout, and later rewards count
    only through later windows.

    Args:
        reward_scale: factor of r_φ; 0 is the control without an intrinsic reward.
        inner_lr: step size of an adaptation.
        inner_optimiser: optimiser of the inner loop.
        lambda_: trace decay of the agent's advantages.
        entropy: weight of the agent's entropy bonus.
        value_weight: weight of the error of the agent's critic.
        baseline: subtracted from an environment's returns in the outer loss: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        lifespan: meta-steps before an agent is reborn in another task.
        hidden: widths of the policy's, the critic's and the reward network's layers.
    """

    name: ClassVar[str] = "intrinsic_reward"
    summary: ClassVar[str] = "a reward network that teaches a newborn agent faster than the task's reward"
    reads: ClassVar[str] = "observation, action and next observation"

    adaptations: Size = 4
    steps: Size = 32
    tasks: Count = 32
    meta_lr: Amount = 3e-3
    reward_scale: Amount = 1.0
    inner_lr: Amount = 0.3
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    value_weight: Amount = 0.5
    baseline: Baseline = "fitted"
    lifespan: Count = 5
    hidden: Widths = (64, 64)

    def recipe(self, environment: Environment) -> Recipe:
        steps, _ = rollout_steps(self, environment)
        policy = mlp_policy(environment, self.hidden, critic=True)
        reward = reward_network(environment, self.hidden)

        def inner_loss(reward_params: Tree) -> Loss:
            shaped = lambda seen: seen.reward + self.reward_scale * reward.apply(reward_params, seen)  # noqa: E731
            return actor_critic(
                policy,
                gamma=self.gamma,
                lambda_=self.lambda_,
                value_weight=self.value_weight,
                entropy=self.entropy,
                reward=per_step(self.gamma, steps, shaped),
            )

        learner = gradient_learner(
            policy,
            meta_init=lambda key: {"reward": reward.init(key)},
            birth=lambda meta_params, key: policy.init(key),
            loss=inner_loss,
            reads=lambda meta_params: meta_params["reward"],
            optimiser=inner_optimiser(self.inner_optimiser, self.inner_lr),
        )
        world = World(environment, policy, learner, self.envs, steps, fresh=False)
        window = Window(world, self.adaptations, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        outer_loss = reinforce(policy, gamma=self.gamma, baseline=self.baseline)
        fitness = negative_return(world, self.gamma)
        return improved(self, window, lambda remaining: outer_loss, fitness, lifespan=self.lifespan)


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
