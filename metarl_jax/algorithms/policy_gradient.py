"""Policy gradients from scratch: no meta-learning, every task anew. The baseline row of every table."""

import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import optax

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner, inner_optimiser
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Baseline, Loss, actor_critic, per_step, ppo, reinforce
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyGradient(Algorithm):
    """Learn each task from a random network, by REINFORCE, actor-critic or PPO.

    φ is empty: there is nothing to meta-learn, and a meta-step only advances the lives of N agents in N tasks.

    Args:
        algorithm: the policy loss.
        baseline: what REINFORCE subtracts from the returns of an environment: a linear regression on all environments
            (fitted), or on the others alone (leave_one_out), which leaves the expected gradient unchanged.
        inner_lr: step size of the inner Adam.
        epochs: gradient steps on each rollout.
        lifespan: meta-steps before an agent is reborn in another task.
        hidden: widths of the policy's and the critic's layers.
    """

    name: ClassVar[str] = "policy_gradient"
    summary: ClassVar[str] = "no meta-learning: every task from scratch, by REINFORCE, actor-critic or PPO"

    algorithm: Literal["reinforce", "actor_critic", "ppo"] = "ppo"
    baseline: Baseline = "fitted"
    inner_lr: float = 3e-3
    epochs: int = 4
    lifespan: int = 100
    hidden: tuple[int, ...] = (64, 64)
    lambda_: float = 0.95
    entropy: float = 0.01
    clip: float = 0.2

    @property
    def lives(self) -> int:
        return self.lifespan

    @property
    def schedule(self) -> tuple[int, int]:
        return 10, max(1, self.lifespan * self.adaptations // 10)

    def refuses(self, environment: Environment) -> str | None:
        if self.estimator == "evolution":
            return "it has no meta-parameters for evolution to improve; choose estimator=backprop, or another algorithm"
        return None

    def lifetime(self, environment: Environment) -> Lifetime:
        policy = mlp_policy(environment, self.hidden, critic=self.algorithm != "reinforce")
        steps, quota = self.rollout_steps(environment)
        loss = self._policy_loss(policy, steps)
        learner = scratch_learner(policy, loss, inner_optimiser("adam", self.inner_lr), self.epochs)
        return Lifetime(environment, policy, learner, self.adaptations, self.envs, steps, quota)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return self._policy_loss(lifetime.policy, lifetime.steps)

    def _policy_loss(self, policy: Policy, steps: int) -> Loss:
        if self.algorithm == "reinforce":
            return reinforce(policy, gamma=self.gamma, baseline=self.baseline, entropy=self.entropy)
        reward = per_step(self.gamma, steps)
        make_loss = functools.partial(ppo, clip=self.clip) if self.algorithm == "ppo" else actor_critic
        return make_loss(
            policy,
            gamma=self.gamma,
            lambda_=self.lambda_,
            entropy=self.entropy,
            normalise=True,
            reward=reward,
        )


def scratch_learner(policy: Policy, loss: Loss, optimiser: optax.GradientTransformation, epochs: int) -> Learner:
    """Birth as a random network, adaptation by `epochs` optimiser steps on the credited rollout."""

    def birth(meta_params: Tree, key: Key) -> Agent:
        params = policy.init(key)
        return Agent(params, optimiser.init(params))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        seen = loss.credited(revalue(policy, agent.params, seen))

        def improve(agent: Agent, _: None) -> tuple[Agent, None]:
            slope = jax.grad(loss.surrogate)(agent.params, seen)
            updates, state = optimiser.update(slope, agent.state, agent.params)
            return Agent(optax.apply_updates(agent.params, updates), state), None

        return jax.lax.scan(improve, agent, None, length=epochs)[0]

    return Learner(lambda key: {}, birth, adapt)
