"""What the grid worlds share: moves, places, and how a place is seen."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array

MOVES = ((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1))  # stay, up, right, down, left as (row, column)
STAY = 0


def walk(place: Array, action: Array, side: int) -> Array:
    """The place [2] int32 after a move on a `side` x `side` grid; a move off the grid stays."""
    return jnp.clip(place + jnp.asarray(MOVES)[action], 0, side - 1)


def see(place: Array, side: int) -> Array:
    """Row and column, each one-hot, [2 side] float32."""
    return jax.nn.one_hot(place, side).ravel()


def cell(index: Array, side: int) -> Array:
    """The place [2] of the cell `index`, counted row by row, int32."""
    return jnp.stack([index // side, index % side]).astype(jnp.int32)
