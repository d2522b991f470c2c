"""What the dark rooms share: a square room, seen only as the cell that one stands on."""

import dataclasses

from metarl_jax.core.types import Array
from metarl_jax.envs.grid import Grid, Place, see, walk

EXTRA = 1  # the rooms of the extrapolation split reach this many cells farther from the centre


@dataclasses.dataclass(frozen=True)
class Room(Grid):
    """A room of 2 `reach` + 1 cells a side. Places are row and column counted from its centre; a wall stops a move."""

    @property
    def reach(self) -> int:
        """How many cells the room of train and test reaches from its centre."""
        raise NotImplementedError

    @property
    def widest(self) -> int:
        """How many cells the largest room of any split reaches from its centre."""
        return self.reach + EXTRA

    @property
    def capacity(self) -> int:
        return 2 * self.widest + 1

    def observe(self, place: Array) -> Array:
        """Row and column, each one-hot over the largest room, [2 capacity] float32."""
        return see(place + self.widest, self.capacity)


def move(place: Array, action: Array, radius: Array) -> Array:
    """The place [2] int32 after a move in a room that reaches `radius` cells from its centre."""
    return walk(place + radius, action, 2 * radius + 1) - radius


def cells(radius: int, inner: int = -1) -> list[Place]:
    """The cells of a room, row by row, that are more than `inner` cells from its centre along an axis."""
    span = range(-radius, radius + 1)
    return [(row, column) for row in span for column in span if max(abs(row), abs(column)) > inner]
