"""Q-learning as the inner loop, with meta-learned initialisation, step size and exploration (Watkins & Dayan 1992)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Positive,
    Recipe,
    Size,
    Widths,
    improved,
    needs_discrete,
    rollout_steps,
)
from metarl_jax.core.checks import is_off
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner, gradient_learner, inner_optimiser, repeated
from metarl_jax.core.life import World
from metarl_jax.core.losses import Baseline, reinforce
from metarl_jax.core.policy import Policy
from metarl_jax.core.q_values import boltzmann_policy, q_learning
from metarl_jax.core.types import Key, Tree
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearning(Improved, Adapting):
    """Learn the initialisation, the step size and the temperature of Q-learning.

    φ = {params, log_temperature, log_rate}; θ = the Q-function and its temperature. The policy is Boltzmann's,
    π(a|s) ∝ exp(Q(s, a) / τ), through which the outer gradient reaches Q. Adaptation descends the one-step error

        θ ← θ − α ∇θ ½ E[ (Q_θ(s, a) − r − γ max_b Q_θ̄(s', b))² ],    θ̄ = θ, constant only in the inner gradient.

    Args:
        inner_lr: initial step size α.
        temperature: initial temperature τ.
        sweeps: temporal-difference steps on each rollout.
        baseline: subtracted from an environment's returns in the outer loss: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        hidden: widths of the Q-network; none for a function linear in the observation, a table if that is one-hot.
    """

    name: ClassVar[str] = "q_learning"
    summary: ClassVar[str] = "temporal-difference learning with learned initialisation, step size and exploration"

    adaptations: Size = 3
    inner_lr: Amount = 0.1
    temperature: Positive = 0.3
    sweeps: Count = 4
    baseline: Baseline = "fitted"
    hidden: Widths = (64,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if is_off(self.inner_lr):
            raise ValueError("inner_lr of q_learning is 0; its logarithm is meta-learned: choose a number above 0")

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment)

    def recipe(self, environment: Environment) -> Recipe:
        policy = boltzmann_policy(environment, self.hidden, self.temperature)
        steps, quota = rollout_steps(self, environment)
        world = World(environment, policy, q_learner(self, policy), self.envs, steps, quota)
        window = Window(world, self.adaptations, chunk=self.chunk or fitting_chunk(world))
        outer_loss = reinforce(policy, gamma=self.gamma, baseline=self.baseline)
        return improved(self, window, lambda remaining: outer_loss, negative_return(world, self.gamma))


def q_learner(options: QLearning, policy: Policy) -> Learner:
    """Birth at φ.params, adaptation by `sweeps` steps down the squared one-step error; the temperature stays."""

    def meta_init(key: Key) -> Tree:
        return {"params": policy.init(key), "log_rate": jnp.log(jnp.asarray(options.inner_lr, float))}

    def scale(meta_params: Tree, updates: Tree) -> Tree:
        return jax.tree.map(lambda update: jnp.exp(meta_params["log_rate"]) * update, updates)

    one_step = gradient_learner(
        policy,
        meta_init,
        lambda meta_params, key: meta_params["params"],
        lambda read: q_learning(policy, gamma=options.gamma),
        inner_optimiser("sgd", 1.0),  # the step size is φ's
        scale=scale,
        adapts=lambda path: "log_temperature" not in path,
    )
    return repeated(one_step, options.sweeps)
