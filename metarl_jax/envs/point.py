"""Shared parts of the points in the plane, which walk toward hidden goals."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.drawing import Disc, Drawing, Episode, Line, Shape
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
    ROOM: ClassVar[float] = 1.0  # a drawing shows at least +-ROOM

    @property
    def observation_space(self) -> Box:
        reach = self.START + self.STRIDE * (self.steps + 1)  # one more for rounding errors
        return Box(-reach, reach, (2,))

    @property
    def action_space(self) -> Box:
        return Box(-self.STRIDE, self.STRIDE, (2,))

    @property
    def paying(self) -> float:
        """The distance to the goal within which a step earns more than elsewhere; 0 where every step nearer does."""
        return 0.0

    def reset(self, key: Key, task: GoalTask) -> tuple[Array, State]:
        position = self.start(key)
        return position, State(position, jnp.int32(0))

    def start(self, key: Key) -> Array:
        """The first position of an episode, [2]."""
        return jnp.zeros(2)

    def draw(self, task: GoalTask, episode: Episode) -> Drawing:
        """Draw the goal with the region that pays, the trail, and the straight path to the goal."""
        trail = episode.state.position
        reach = 1.15 * max(self.ROOM, float(np.max(np.abs(trail))), float(np.max(np.abs(task.goal))))
        size = 0.03 * self.ROOM
        axes = [
            Line([(-reach * x, -reach * y), (reach * x, reach * y)], "faint", size / 4) for x, y in ((1, 0), (0, 1))
        ]
        region = Disc(task.goal, self.paying, "goal", opacity=0.15)
        straight = Line([trail[0], task.goal], "reference", size / 2)
        background: list[Shape] = [region, *axes, straight, Disc(task.goal, 1.5 * size, "goal")]
        frames: list[list[Shape]] = [
            [Line(trail[: time + 1], "visited", size), Disc(trail[time], size, "agent")] for time in range(len(trail))
        ]
        return Drawing((-reach, -reach, reach, reach), background, frames)

    def move(self, state: State, action: Array) -> State:
        """The state one step later."""
        return State(state.position + jnp.clip(action, -self.STRIDE, self.STRIDE), state.time + 1)
