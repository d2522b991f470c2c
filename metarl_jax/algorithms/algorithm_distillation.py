"""Algorithm Distillation: predict how a learner goes on from its history (Laskin et al. 2022, arXiv:2210.14215)."""

import dataclasses
from typing import Any, ClassVar, Literal

from metarl_jax.algorithms.base import (
    Algorithm,
    Amount,
    Count,
    MetaLearned,
    Positive,
    Recipe,
    Size,
    Widths,
    adam,
    needs_discrete,
)
from metarl_jax.algorithms.policy_gradient import PolicyGradient
from metarl_jax.algorithms.q_learning import QLearning
from metarl_jax.core.backprop import Passes
from metarl_jax.core.environment import Environment
from metarl_jax.core.imitation import Teacher, behaviour, imitate, independent
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.memories.attention import HEADS
from metarl_jax.core.policy import Policy, memory_policy
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student(MetaLearned):
    """Options of a causal transformer that reads histories of a source and acts in context.

    A life of the source is as many histories as it has environments. A history is `rollouts` rollouts of one of them,
    each `stride` adaptations after the last, laid end to end.

    Args:
        envs: E, parallel environments of the source.
        steps: T, steps of a rollout, in a stream that continues; 0 for a whole episode.
        rollouts: rollouts in a history; 0 for as many as a trial of the environment holds.
        stride: adaptations of the source from one rollout of a history to the next. Episodes of a trial are few: the
            larger the stride, the more of the source's learning they show.
        lifespan: histories in a life of the source, one after another.
        inner_lr: step size of the source.
        sweeps: gradient steps of the source on each rollout.
        temperature: Boltzmann's of Q-learning, or the weight of the entropy bonus of policy gradients.
        hidden: widths of the source's layers.
        width: units of the transformer.
        layers: layers of the transformer.
        epochs: passes over a batch of histories.
        minibatches: minibatches of lives in each pass.
    """

    tasks: Count = 64
    envs: Count = 8
    steps: Size = 0
    rollouts: Size = 0
    stride: Count = 1
    lifespan: Count = 1
    inner_lr: Amount = 0.01
    sweeps: Count = 4
    temperature: Positive = 0.01
    hidden: Widths = (32,)
    width: Count = 64
    layers: Count = 2
    epochs: Count = 1
    minibatches: Count = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % HEADS:
            rule = f"attention has {HEADS} heads: choose {-(-self.width // HEADS) * HEADS}"
            raise ValueError(f"width of {self.name} is {self.width}; {rule}")

    @property
    def passes(self) -> Passes:
        """Passes over a batch of histories."""
        return Passes(self.epochs, self.minibatches)

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment)

    def source_world(self, environment: Environment) -> World:
        """The world that the source lives in."""
        raise NotImplementedError

    def teacher(self, environment: Environment) -> Teacher:
        """Whose actions the student predicts."""
        raise NotImplementedError

    def recipe(self, environment: Environment) -> Recipe:
        policy, steps = self.policy(environment), self.steps or environment.horizon
        student = World(environment, policy, frozen(policy.init), envs=1, steps=self.context(environment))
        source = self.source_world(environment)
        learner = independent(source.learner, policy.init)
        world = source._replace(learner=learner, steps=steps, quota=None, fresh=not self.steps)
        turns = (student.steps // steps - 1) * self.stride
        window = Window(world, turns, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        update = imitate(window, student, self.teacher(environment), adam(self), self.passes, self.stride)
        return Recipe(window, update, self.lifespan, judge=student)

    def context(self, environment: Environment) -> int:
        """The steps of a history."""
        steps = self.steps or environment.horizon
        return steps * (self.rollouts or -(-environment.horizon * environment.trial_episodes // steps))

    def policy(self, environment: Environment, *, forgets: bool = False) -> Policy:
        """The student, which looks back over a history; with `forgets` its memory is erased after each episode."""
        window = self.context(environment)
        return memory_policy(
            environment,
            lambda inputs: make_memory("attention", inputs, self.width, self.layers, window),
            forgets=forgets,
            critic=False,
        )

    def learning(self, source: str, environment: Environment) -> World:
        """The world of a source that learns."""
        common: dict[str, Any] = {
            name: getattr(self, name) for name in ("envs", "steps", "gamma", "inner_lr", "hidden")
        }
        learner: Algorithm
        if source == "q_learning":
            learner = QLearning(**common, sweeps=self.sweeps, temperature=self.temperature)
        else:
            learner = PolicyGradient(**common, epochs=self.sweeps, entropy=self.temperature)
        return learner.recipe(environment).world


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
