"""Tasks of randomised physics, drawn inside a box of ranges or outside one of its sides."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key

Range = tuple[float, float]
Ranges = dict[str, Range]

GAP = 0.01  # distance of extrapolated numbers from the training range, as a share of the margin


def ends(ranges: Ranges) -> tuple[Array, Array]:
    """The lower and the upper ends, [n] each, in the order of `ranges`."""
    low, high = np.array(list(ranges.values()), np.float64).T
    return jnp.asarray(low, float), jnp.asarray(high, float)


def draw_inside(key: Key, ranges: Ranges) -> dict[str, Array]:
    """Every number uniform in its range, [] float32 by name."""
    low, high = ends(ranges)
    return by_name(ranges, low + (high - low) * jax.random.uniform(key, low.shape))


def draw_outside(key: Key, ranges: Ranges, wider: Ranges) -> dict[str, Array]:
    """Uniform in `wider`, except for one random number below or above its range, [] float32 by name.

    `wider` holds `ranges`, with room on at least one side of each.
    """
    (low, high), (least, most) = ends(ranges), ends({name: wider[name] for name in ranges})
    below, above = low - least, most - high
    lot, side, share, place = jax.random.uniform(key, (4 * low.size,)).reshape(4, -1)
    distance = GAP + (1.0 - GAP) * share
    beyond = jnp.where(side * (below + above) < below, low - below * distance, high + above * distance)
    return by_name(ranges, jnp.where(jnp.arange(low.size) == jnp.argmax(lot), beyond, least + (most - least) * place))


def is_outside(numbers: dict[str, Array], ranges: Ranges) -> Array:
    """Whether any of the numbers lies outside its range, [] bool."""
    low, high = ends(ranges)
    values = jnp.stack([numbers[name] for name in ranges])
    return jnp.any((values < low) | (values > high))


def by_name(ranges: Ranges, values: Array) -> dict[str, Array]:
    """The numbers of a vector [n] by the names of `ranges`."""
    return dict(zip(ranges, values, strict=True))
