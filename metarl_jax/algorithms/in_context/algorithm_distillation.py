"""Algorithm Distillation: predict how a learner goes on from its history (Laskin et al. 2022, arXiv:2210.14215)."""

import dataclasses
from typing import ClassVar, Literal

from metarl_jax.algorithms.base import Count
from metarl_jax.algorithms.in_context.student import Student
from metarl_jax.core.environment import Environment
from metarl_jax.core.imitation import Teacher, behaviour
from metarl_jax.core.life import World


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmDistillation(Student):
    """Learn to predict the next action of an algorithm that learns, from its history in a task.

    φ = a causal transformer. In a trial its own actions make up the history, so that it goes on as the algorithm would:
    it has learned to learn. The rollouts of all the source's environments drive its learning, and the student sees one
    of them; with a large stride it learns in fewer episodes than the source.

    Args:
        source: the algorithm whose learning is distilled.
    """

    name: ClassVar[str] = "algorithm_distillation"
    summary: ClassVar[str] = "a transformer that goes on learning as an algorithm does, from histories of its learning"

    source: Literal["policy_gradient", "q_learning"] = "policy_gradient"
    stride: Count = 10

    def source_world(self, environment: Environment) -> World:
        return self.learning(self.source, environment)

    def teacher(self, environment: Environment) -> Teacher:
        return behaviour
