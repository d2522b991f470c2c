"""Shared parts of the dark rooms: a square room in which only the own position is observed."""

import dataclasses

from metarl_jax.core.types import Array
from metarl_jax.envs.grid import Grid, Place, see, walk

EXTRA = 1  # additional radius of the rooms in the extrapolation split


@dataclasses.dataclass(frozen=True)
class Room(Grid):
    """A room of 2 `reach` + 1 cells a side. Places are counted from its centre; moves into a wall have no effect."""

    @property
    def reach(self) -> int:
        """The radius, in cells, of the room of train and test."""
        raise NotImplementedError

    @property
    def widest(self) -> int:
        """The radius, in cells, of the largest room of any split."""
        return self.reach + EXTRA

    @property
    def capacity(self) -> int:
        return 2 * self.widest + 1

    def observe(self, place: Array) -> Array:
        """Row and column, each one-hot over the largest room, [2 capacity] float32."""
        return see(place + self.widest, self.capacity)


def move(place: Array, action: Array, radius: Array) -> Array:
    """The place [2] int32 after a move in a room of that radius."""
    return walk(place + radius, action, 2 * radius + 1) - radius


def cells(radius: int, inner: int = -1) -> list[Place]:
    """The cells of a room, row by row, that are more than `inner` cells from its centre along an axis."""
    span = range(-radius, radius + 1)
    return [(row, column) for row in span for column in span if max(abs(row), abs(column)) > inner]
