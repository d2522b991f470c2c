"""Distributions over actions, as functions of their parameters; any leading axes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Box, Discrete
from metarl_jax.core.types import Array, Key, Tree


class Distribution(NamedTuple):
    """A family of distributions: each function takes the parameters that the policy outputs."""

    size: int  # number of network outputs
    sample: Callable[[Key, Tree], Array]
    log_prob: Callable[[Tree, Array], Array]
    entropy: Callable[[Tree], Array]
    mode: Callable[[Tree], Array]
    divergence: Callable[[Tree, Tree], Array]  # KL(p ‖ q)


def distribution_of(space: Discrete | Box) -> Distribution:
    """The family that fits an action space: categorical, or diagonal Gaussian over vectors."""
    return categorical(space.n) if isinstance(space, Discrete) else diagonal_gaussian(space.shape[0])


def categorical(n: int) -> Distribution:
    """Categorical over n actions; the parameters are logits [..., n]."""

    def log_prob(logits: Array, action: Array) -> Array:
        chosen = jax.nn.one_hot(action, n, dtype=logits.dtype)  # a product, because gathers are slow to differentiate
        return jnp.sum(jax.nn.log_softmax(logits) * chosen, axis=-1)

    def entropy(logits: Array) -> Array:
        return -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=-1)

    def divergence(p: Array, q: Array) -> Array:
        return jnp.sum(jax.nn.softmax(p) * (jax.nn.log_softmax(p) - jax.nn.log_softmax(q)), axis=-1)

    return Distribution(
        size=n,
        sample=lambda key, logits: jax.random.categorical(key, logits).astype(jnp.int32),
        log_prob=log_prob,
        entropy=entropy,
        mode=lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        divergence=divergence,
    )


def diagonal_gaussian(size: int) -> Distribution:
    """Gaussian with independent coordinates; the parameters are (mean, log standard deviation), both [..., size]."""
    log_2pi = 1.8378770664093453

    def sample(key: Key, params: tuple[Array, Array]) -> Array:
        mean, log_std = params
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    def log_prob(params: tuple[Array, Array], action: Array) -> Array:
        mean, log_std = params
        standardised = (action - mean) * jnp.exp(-log_std)
        return -0.5 * jnp.sum(standardised**2 + 2 * log_std + log_2pi, axis=-1)

    def entropy(params: tuple[Array, Array]) -> Array:
        return jnp.sum(params[1] + 0.5 * (1 + log_2pi), axis=-1)

    def divergence(p: tuple[Array, Array], q: tuple[Array, Array]) -> Array:
        scaled = (jnp.exp(2 * p[1]) + (p[0] - q[0]) ** 2) * jnp.exp(-2 * q[1])
        return jnp.sum(q[1] - p[1] + 0.5 * (scaled - 1), axis=-1)

    return Distribution(size, sample, log_prob, entropy, lambda params: params[0], divergence)
