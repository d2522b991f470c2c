"""Policy gradients from scratch in every task, without meta-learning: the baseline of every table."""

import dataclasses
import functools
from typing import ClassVar, Literal

import optax

from metarl_jax.algorithms.base import Acting, Adapting, Amount, Count, Recipe, Share, Widths, rollout_steps
from metarl_jax.core.backprop import backprop, scheduled
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import gradient_learner, inner_optimiser
from metarl_jax.core.life import World
from metarl_jax.core.losses import Baseline, Loss, actor_critic, per_step, ppo, reinforce
from metarl_jax.core.objective import OBJECTIVES
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyGradient(Acting, Adapting):
    """Learn each task from a random network, by REINFORCE, actor-critic or PPO.

    φ is empty, and a meta-step only advances the lives of N agents in N tasks.

    Args:
        algorithm: the policy loss.
        baseline: subtracted from an environment's returns in REINFORCE: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        inner_lr: step size of the inner Adam.
        epochs: gradient steps on each rollout.
        lifespan: meta-steps before an agent is reborn in another task.
        hidden: widths of the policy's and the critic's layers.
        lambda_: trace decay of the advantages.
        entropy: weight of the entropy bonus.
        clip: clipping range of the ratio to the behaviour policy in PPO.
    """

    name: ClassVar[str] = "policy_gradient"
    summary: ClassVar[str] = "no meta-learning: every task from scratch, by REINFORCE, actor-critic or PPO"

    algorithm: Literal["reinforce", "actor_critic", "ppo"] = "ppo"
    baseline: Baseline = "fitted"
    inner_lr: Amount = 3e-3
    epochs: Count = 4
    lifespan: Count = 100
    hidden: Widths = (64, 64)
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    clip: Amount = 0.2

    def recipe(self, environment: Environment) -> Recipe:
        policy = mlp_policy(environment, self.hidden, critic=self.algorithm != "reinforce")
        steps, quota = rollout_steps(self, environment)
        loss = policy_loss(self, policy, steps)
        learner = gradient_learner(
            policy,
            meta_init=lambda key: {},
            birth=lambda meta_params, key: policy.init(key),
            loss=lambda read: loss,
            optimiser=inner_optimiser("adam", self.inner_lr),
            sweeps=self.epochs,
        )
        world = World(environment, policy, learner, self.envs, steps, quota)
        window = Window(world, self.adaptations, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        objective = scheduled(OBJECTIVES[self.objective](loss))
        return Recipe(window, backprop(window, objective, optax.identity()), self.lifespan, objective)


def policy_loss(options: PolicyGradient, policy: Policy, steps: int) -> Loss:
    """The policy loss that the options name, of rollouts of T steps."""
    gamma, entropy = options.gamma, options.entropy
    if options.algorithm == "reinforce":
        return reinforce(policy, gamma=gamma, baseline=options.baseline, entropy=entropy)
    make = functools.partial(ppo, clip=options.clip) if options.algorithm == "ppo" else actor_critic
    reward = per_step(gamma, steps)
    return make(policy, gamma=gamma, lambda_=options.lambda_, entropy=entropy, normalise=True, reward=reward)
