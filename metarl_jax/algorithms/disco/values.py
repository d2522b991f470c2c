"""Categorical action values, their Retrace returns, and the running moments that normalise advantages.

Own code after github.com/google-deepmind/disco_rl, disco_rl/value_fns/value_utils.py and utils.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.losses import weighted_mean
from metarl_jax.core.networks import to_rank
from metarl_jax.core.returns import discounted_returns
from metarl_jax.core.types import Array

MOST = 300  # largest value in the squashed units of the bins
BINS = 2 * MOST + 1
SLOPE = 1e-3  # of the squashing far from 0
DECAY = 0.99  # of the running moments


def squash(x: Array) -> Array:
    """h(x) = sign(x) (√(|x| + 1) − 1) + ε x (Pohlen et al. 2018, arXiv:1805.11593)."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + SLOPE * x


def unsquash(x: Array) -> Array:
    """The inverse of `squash`."""
    root = jnp.sqrt(1.0 + 4.0 * SLOPE * (SLOPE + 1.0 + jnp.abs(x)))
    return jnp.sign(x) * (((root - 1.0) / (2.0 * SLOPE)) ** 2 - 1.0)


def bins(dtype: jnp.dtype) -> Array:
    """The values of the bins, the whole numbers of −300 to 300."""
    return jnp.arange(-MOST, MOST + 1).astype(dtype)


def mean_value(logits: Array) -> Array:
    """The value [...] that logits [..., BINS] stand for."""
    return unsquash(jax.nn.softmax(logits) @ bins(logits.dtype))


def two_hot(value: Array) -> Array:
    """The probabilities [..., BINS] of the two bins next to a squashed value, whose mean is that value."""
    place = jnp.clip(squash(value), -MOST, MOST)
    return jnp.maximum(0.0, 1.0 - jnp.abs(place[..., None] - to_rank(bins(value.dtype), place.ndim + 1)))


def retrace(reward: Array, q: Array, next_value: Array, ratio: Array, trace: Array, gamma: Array | float) -> Array:
    """Returns G [T, E] of the actions taken (Munos et al. 2016, arXiv:1606.02647).

        G_t = r_t + γ (V(s_{t+1}) + c_{t+1} (G_{t+1} − Q(s_{t+1}, a_{t+1})))

    `next_value` is 0 where the episode terminated, `ratio` is c, and `trace` is 0 at every end of an episode.
    """
    later = jnp.concatenate([ratio[1:], jnp.zeros_like(ratio[:1])])
    return q + discounted_returns(reward + gamma * next_value - q, gamma * trace * later)


class Moments(NamedTuple):
    """Running moments since birth."""

    mean: Array  # [] sums that decay
    square: Array
    unseen: Array  # [] the share of these sums that is still their initial 0


def unseen() -> Moments:
    """The moments of nothing."""
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.ones(()))


def updated(moments: Moments, x: Array, weight: Array) -> Moments:
    """The moments after one more batch [T, E]."""
    batch = Moments(weighted_mean(x, weight), weighted_mean(x**2, weight), jnp.zeros_like(moments.unseen))
    return jax.tree.map(lambda old, new: DECAY * old + (1.0 - DECAY) * new, moments, batch)


def normalised(moments: Moments, x: Array) -> Array:
    """X with mean 0 and deviation 1 by these moments."""
    seen = 1.0 - moments.unseen
    mean = moments.mean / seen
    variance = jnp.maximum(moments.square / seen - mean**2, 0.0)
    return (x - mean) / (jnp.sqrt(variance + 1e-12) + 1e-6)
