"""Shared parts of the points in the plane, which walk toward hidden goals."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from metarl_jax.core.environment import Box, Episodic
from metarl_jax.core.types import Array, Key


class GoalTask(NamedTuple):
    """The position of the goal."""

    goal: Array  # [2]


class State(NamedTuple):
    """The position of the point."""

    position: Array  # [2]
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Plane(Episodic):
    """A point that moves by its action, clipped to +-`STRIDE` an axis, and observes its position."""

    Task: ClassVar[type] = GoalTask
    STRIDE: ClassVar[float]
    START: ClassVar[float] = 0.0  # the first position lies in +-START

    @property
    def observation_space(self) -> Box:
        reach = self.START + self.STRIDE * (self.steps + 1)  # one more for rounding errors
        return Box(-reach, reach, (2,))

    @property
    def action_space(self) -> Box:
        return Box(-self.STRIDE, self.STRIDE, (2,))

    def reset(self, key: Key, task: GoalTask) -> tuple[Array, State]:
        position = self.start(key)
        return position, State(position, jnp.int32(0))

    def start(self, key: Key) -> Array:
        """The first position of an episode, [2]."""
        return jnp.zeros(2)

    def move(self, state: State, action: Array) -> State:
        """The state one step later."""
        return State(state.position + jnp.clip(action, -self.STRIDE, self.STRIDE), state.time + 1)
