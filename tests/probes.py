"""Environments so small that the value of everything in them is known."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.types import Array, Key, Split, Step


@dataclasses.dataclass(frozen=True)
class Probe(Environment):
    """Two actions, nothing to see, one episode a trial, and no task that is held out."""

    @property
    def observation_space(self) -> Box:
        return Box(1.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def trial_episodes(self) -> int:
        return 1

    @property
    def withholds(self) -> bool:
        return False


class Nothing(NamedTuple):
    """The only task of a family."""

    pay: Array  # [] what a step earns


@dataclasses.dataclass(frozen=True)
class Twin(Probe):
    """Two steps that earn 1 each; then the episode is terminated by the task or truncated by the clock.

    V(0) = 1 + γ and V(1) = 1 where the episode terminates; V = 1 / (1 − γ) everywhere where it is truncated.
    """

    name: ClassVar[str] = "twin"
    Task: ClassVar[type] = Nothing

    ends: Literal["terminated", "truncated"] = "terminated"

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (2,))

    @property
    def horizon(self) -> int:
        return 2

    def reset(self, key: Key, task: Nothing) -> tuple[Array, Array]:
        return jnp.array([1.0, 0.0]), jnp.int32(0)

    def step(self, key: Key, state: Array, action: Array, task: Nothing) -> Step:
        over, no = state == 1, jnp.array(False)
        terminated, truncated = (over, no) if self.ends == "terminated" else (no, over)
        return Step(jax.nn.one_hot((state + 1) % 2, 2), state + 1, task.pay, terminated, truncated, {})

    def draw_task(self, key: Key, split: Split) -> Nothing:
        return Nothing(jnp.float32(1.0))


class Hidden(NamedTuple):
    """Which of the two actions pays."""

    good: Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Secret(Probe):
    """One action an episode, two episodes a trial. One of the actions earns 1; the first reward reveals which.

    An agent that learns gets 1/2 on average and then 1; one that does not gets 1/2 in every episode.
    """

    name: ClassVar[str] = "secret"
    summary: ClassVar[str] = "one of two actions pays"
    Task: ClassVar[type] = Hidden

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"good": (0, 1)}

    @property
    def horizon(self) -> int:
        return 1

    @property
    def trial_episodes(self) -> int:
        return 2

    def reset(self, key: Key, task: Hidden) -> tuple[Array, Array]:
        return jnp.ones(1), jnp.int32(0)

    def step(self, key: Key, state: Array, action: Array, task: Hidden) -> Step:
        reward = jnp.float32(action == task.good)
        return Step(jnp.ones(1), state, reward, jnp.array(True), jnp.array(False), {})

    def draw_task(self, key: Key, split: Split) -> Hidden:
        return Hidden(jax.random.bernoulli(key).astype(jnp.int32))


LEARNERS: dict[str, dict[str, Any]] = {  # that find the secret in 150 meta-steps
    "rl2": {"tasks": 64, "width": 8, "meta_lr": 1e-2, "entropy": 0.0},
    "maml": {"tasks": 8, "envs": 8, "hidden": (), "inner_lr": 3.0, "meta_lr": 1e-2},
    "q_learning": {"tasks": 8, "envs": 8, "hidden": (), "adaptations": 1, "meta_lr": 5e-2},
}


@dataclasses.dataclass(frozen=True)
class Line(Probe):
    """Go (1) or stay (0), for at most `clock` steps an episode; there is nothing to see.

    arrival: after `goal` steps forward the episode terminates and pays 1, and nothing else does. survival: every step
    pays 1, and to stay terminates the episode. late: every step from the `goal`-th on pays 1.
    """

    name: ClassVar[str] = "line"
    Task: ClassVar[type] = Nothing

    pays: Literal["arrival", "survival", "late"] = "arrival"
    goal: int = 4
    clock: int = 20

    @property
    def horizon(self) -> int:
        return self.clock

    def reset(self, key: Key, task: Nothing) -> tuple[Array, tuple[Array, Array]]:
        return jnp.ones(1), (jnp.int32(0), jnp.int32(0))

    def step(self, key: Key, state: tuple[Array, Array], action: Array, task: Nothing) -> Step:
        place, time = state[0] + action, state[1] + 1
        if self.pays == "arrival":
            terminated = place >= self.goal
            reward = jnp.float32(terminated)
        else:
            terminated = (action == 0) & (self.pays == "survival")
            reward = jnp.float32(1.0) if self.pays == "survival" else jnp.float32(time > self.goal)
        return Step(jnp.ones(1), (place, time), reward, terminated, ~terminated & (time >= self.clock), {})

    def draw_task(self, key: Key, split: Split) -> Nothing:
        return Nothing(jnp.float32(1.0))


@dataclasses.dataclass(frozen=True)
class OneTask(Line):
    """A family of one task, which leaves one of its splits empty."""

    test: bool = False

    @property
    def withholds(self) -> bool:
        return True

    def holds_out(self, task: Nothing) -> Array:
        return jnp.array(self.test)
