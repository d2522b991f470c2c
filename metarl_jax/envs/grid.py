"""Shared parts of the grid worlds: moves, places and observations."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.environment import Box, Discrete, Episodic, any_of
from metarl_jax.core.types import Array, Key

MOVES = ((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1))  # stay, up, right, down, left as (row, column)
STAY = 0
Place = tuple[int, int]  # row and column


@dataclasses.dataclass(frozen=True)
class Grid(Episodic):
    """A world of cells with the actions `MOVES`; the observation holds row and column, each one-hot."""

    @property
    def capacity(self) -> int:
        """Rows and columns of the largest grid of any split."""
        raise NotImplementedError

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (2 * self.capacity,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))


def walk(place: Array, action: Array, side: int | Array) -> Array:
    """The place [2] int32 after a move on a `side` x `side` grid; a move off the grid has no effect."""
    return jnp.clip(place + jnp.asarray(MOVES, jnp.int32)[action], 0, side - 1)


def see(place: Array, side: int) -> Array:
    """Row and column, each one-hot, [2 side] float32."""
    return jax.nn.one_hot(place, side).ravel()


def seen_at(observation: Array, side: int) -> Array:
    """The place [..., 2] int32 that an observation [..., 2 side] shows."""
    return jnp.argmax(observation.reshape(*observation.shape[:-1], 2, side), axis=-1).astype(jnp.int32)


def nearest_moves(landings: Array, goal: Array) -> Array:
    """The moves, of those that lead to the cells [..., 5, 2], after which the goal [2] is nearest, [..., 5]."""
    distance = jnp.sum(jnp.abs(landings - goal), axis=-1)
    return any_of(distance == jnp.min(distance, axis=-1, keepdims=True))


def cell(index: Array, side: int) -> Array:
    """The place [2] int32 of the cell `index`, counted row by row."""
    return jnp.stack([index // side, index % side]).astype(jnp.int32)


def pick(key: Key, places: Sequence[Place]) -> Array:
    """A uniformly random place, [2] int32."""
    return jnp.asarray(places, jnp.int32)[jax.random.randint(key, (), 0, len(places), jnp.int32)]


def landings(side: int) -> np.ndarray:
    """The cell that each move leads to from each cell, [5, side^2], cells counted row by row."""
    places = np.stack(np.divmod(np.arange(side**2), side), axis=-1)
    ahead = np.clip(places + np.asarray(MOVES)[:, None], 0, side - 1)
    return np.asarray(ahead[..., 0] * side + ahead[..., 1])
