"""A classical rule from scratch in every task, without meta-learning: the baseline of every table."""

import dataclasses
from typing import ClassVar

from metarl_jax.algorithms.base import Amount, Count, Recipe, Size, rollout_steps
from metarl_jax.algorithms.rules import Ruled
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import gradient_learner, inner_optimiser
from metarl_jax.core.life import World
from metarl_jax.core.objective import final
from metarl_jax.core.update import watch
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyGradient(Ruled):
    """Learn each task from a random network by a classical rule.

    φ is empty, and a meta-step only advances the lives of N agents in N tasks.

    Args:
        adaptations: K, adaptations of an agent in a meta-step.
        inner_lr: step size of the inner Adam.
        epochs: gradient steps on each rollout.
        lifespan: meta-steps before an agent is reborn in another task.
    """

    name: ClassVar[str] = "policy_gradient"
    summary: ClassVar[str] = "no meta-learning: every task from scratch, by policy gradients or Q-learning"

    adaptations: Size = 1
    inner_lr: Amount = 3e-3
    epochs: Count = 4
    lifespan: Count = 100

    def recipe(self, environment: Environment) -> Recipe:
        steps, quota = rollout_steps(self, environment)
        policy, loss = self.ruled(environment, steps)
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
        return Recipe(window, watch(window), self.lifespan, lambda step: final(loss))
