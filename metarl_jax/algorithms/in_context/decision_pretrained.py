"""Decision-Pretrained Transformer: predict the best action from any history (Lee et al. 2023, arXiv:2306.14892)."""

import dataclasses
from typing import ClassVar, Literal

from metarl_jax.algorithms.in_context.student import Student
from metarl_jax.core.environment import Environment
from metarl_jax.core.imitation import Teacher
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.policy import random_policy
from metarl_jax.core.returns import episode_time
from metarl_jax.core.types import Array, Experience, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionPretrained(Student):
    """Learn to predict the best action of a task, from the history of another agent in it.

    φ = a causal transformer. At every step it predicts what an agent that knows the task would do there. Its
    distribution over actions is the posterior one, so that acting by it is much like posterior sampling.

    Args:
        source: whose histories it reads: those of random actions, or of an algorithm that learns.
    """

    name: ClassVar[str] = "decision_pretrained"
    summary: ClassVar[str] = "a transformer that infers the best action of a task from any history in it"

    source: Literal["random", "policy_gradient", "q_learning"] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "random" and self.stride > 1:
            raise ValueError(f"stride of {self.name} is {self.stride}; random actions never adapt: choose stride=1")

    def refuses(self, environment: Environment) -> str | None:
        if environment.expert() is None:
            return "its best actions are not known: choose algorithm_distillation"
        if not self.of_whole_episodes(environment) and (self.stride > 1 or self.lifespan > 1):
            return (
                "the time in an episode would be unknown: choose stride=1 and lifespan=1, or rollouts of whole episodes"
            )
        return super().refuses(environment)

    def source_world(self, environment: Environment) -> World:
        if self.source != "random":
            return self.learning(self.source, environment)
        policy = random_policy(environment)
        return World(environment, policy, frozen(policy.init), self.envs, 1)

    def teacher(self, environment: Environment) -> Teacher:
        expert = environment.expert()
        assert expert is not None

        def best(task: Tree, history: Experience) -> Array:
            return expert(task, history.timestep.observation, episode_time(history.timestep.first))

        return best
