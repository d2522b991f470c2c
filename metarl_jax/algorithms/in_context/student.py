"""What the students of histories share: a causal transformer, and sources that live for it to read."""

import dataclasses
from typing import Any

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
from metarl_jax.core.imitation import Teacher, imitate, independent
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.memories.attention import HEADS
from metarl_jax.core.policy import Policy, memory_policy
from metarl_jax.core.window import Window, fitting_chunk

PARTS = 10  # rollouts in a trial that is a single episode


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student(MetaLearned):
    """Options of a causal transformer that reads histories of a source and acts in context.

    A life of the source is as many histories as it has environments. A history is `rollouts` rollouts of one of them,
    each `stride` adaptations after the last, laid end to end.

    Args:
        envs: E, parallel environments of the source.
        steps: T, steps of a rollout, in a stream that continues; 0 for a whole episode, or for a tenth of a trial that
            is a single episode.
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
        if self.context(environment) == self.rollout_steps(environment):
            return "a history of one rollout shows no learning: choose more rollouts, or fewer steps of each"
        return needs_discrete(environment)

    def source_world(self, environment: Environment) -> World:
        """The world that the source lives in."""
        raise NotImplementedError

    def teacher(self, environment: Environment) -> Teacher:
        """Whose actions the student predicts."""
        raise NotImplementedError

    def recipe(self, environment: Environment) -> Recipe:
        policy, steps = self.policy(environment), self.rollout_steps(environment)
        student = World(environment, policy, frozen(policy.init), envs=1, steps=self.context(environment))
        source = self.source_world(environment)
        learner = independent(source.learner, policy.init)
        fresh = self.of_whole_episodes(environment)
        world = source._replace(learner=learner, steps=steps, quota=None, fresh=fresh)
        turns = (student.steps // steps - 1) * self.stride
        window = Window(world, turns, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        update = imitate(window, student, self.teacher(environment), adam(self), self.passes, self.stride)
        return Recipe(window, update, self.lifespan, judge=student)

    def of_whole_episodes(self, environment: Environment) -> bool:
        """Whether each rollout begins with an episode; otherwise it continues the last one."""
        return not self.steps and environment.trial_episodes > 1

    def rollout_steps(self, environment: Environment) -> int:
        """The steps of a rollout."""
        whole = self.of_whole_episodes(environment)
        return self.steps or (environment.horizon if whole else -(-environment.horizon // PARTS))

    def context(self, environment: Environment) -> int:
        """The steps of a history."""
        steps = self.rollout_steps(environment)
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
        steps = self.rollout_steps(environment)
        own = {name: getattr(self, name) for name in ("envs", "gamma", "inner_lr", "hidden")}
        common: dict[str, Any] = own | {"steps": steps}
        learner: Algorithm
        if source == "q_learning":
            learner = QLearning(**common, sweeps=self.sweeps, temperature=self.temperature)
        else:
            learner = PolicyGradient(**common, epochs=self.sweeps, entropy=self.temperature)
        return learner.recipe(environment).world
