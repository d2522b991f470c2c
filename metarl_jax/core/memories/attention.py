"""Causal attention over a window of the past, with a cache for acting.

A pre-norm block (Vaswani et al. 2017, arXiv:1706.03762) whose heads look back with a bias of −2^{−8 h/H} per step of
distance (ALiBi: Press et al. 2022, arXiv:2108.12409), the last with none. Positions are distances, so a cache may start
anywhere. What is to be forgotten leaves the window.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, layer_norm, mlp
from metarl_jax.core.types import Array, Key, Tree

HEADS = 4
BLOCK = 128  # queries side by side at most: bounds the memory of a replay


class Cache(NamedTuple):
    """The latest steps, the last one last."""

    keys: Array  # [..., C, H, D]
    values: Array  # [..., C, H, D]
    age: Array  # [...] int32 steps that count, from the last


def attention(inputs: int, width: int, window: int, heads: int = HEADS) -> Memory:
    """A block of attention over the last `window` steps, the present one included, [..., I] -> [..., W].

    Raises:
        ValueError: `heads` does not divide `width`.
    """
    if width % heads:
        raise ValueError(f"width is {width} and attention has {heads} heads; choose a multiple of {heads}")
    shape = (heads, width // heads)
    norm, enter, leave = layer_norm(width), dense(inputs, width), dense(width, width)
    look, further = dense(width, 3 * width), mlp(width, (2 * width,), width, activation=jax.nn.gelu)

    def init(key: Key) -> Tree:
        keys = jax.random.split(key, 4)
        return {
            "enter": enter.init(keys[0]),
            "look": look.init(keys[1]),
            "leave": leave.init(keys[2]),
            "further": further.init(keys[3]),
            "norm": norm.init(key),
            "norm_further": norm.init(key),
        }

    def blank(leading: tuple[int, ...]) -> Cache:
        nothing = jnp.zeros((*leading, window, *shape))
        return Cache(nothing, nothing, jnp.zeros(leading, jnp.int32))

    def project(params: Tree, inputs: Array) -> tuple[Array, Array, Array, Array]:
        """What passes by [..., W], and its queries, keys and values [..., H, D]."""
        entered = enter.apply(params["enter"], inputs)
        looks = jnp.split(look.apply(params["look"], norm.apply(params["norm"], entered)), 3, axis=-1)
        return entered, *(x.reshape(*x.shape[:-1], *shape) for x in looks)

    def read(params: Tree, entered: Array, attended: Array) -> Array:
        x = entered + leave.apply(params["leave"], attended.reshape(entered.shape))
        return x + further.apply(params["further"], norm.apply(params["norm_further"], x))

    def step(params: Tree, cache: Cache, inputs: Array, keep: Array) -> tuple[Cache, Array]:
        entered, query, key, value = project(params, inputs)
        age = jnp.where(keep[..., 0] > 0, cache.age, 0) + 1
        cache = Cache(_shift(cache.keys, key), _shift(cache.values, value), age)
        distance = jnp.arange(window)[::-1][None]  # [1, C]
        return cache, read(params, entered, _attend(query[..., None, :, :], cache.keys, cache.values, distance, age))

    def unroll(params: Tree, cache: Cache, inputs: Array, keep: Array) -> Array:
        entered, *new = project(params, inputs)
        query, key, value = (jnp.moveaxis(x, 0, -3) for x in new)  # [..., T, H, D]
        age = jnp.moveaxis(_ages(cache.age, keep[..., 0]), 0, -1)  # [..., T]
        keys, values = jnp.concatenate([cache.keys, key], -3), jnp.concatenate([cache.values, value], -3)
        attended = _in_blocks(query, keys, values, age, window)
        return read(params, entered, jnp.moveaxis(attended, -3, 0))

    def trail(cache: Cache) -> tuple[Array, Array, Array]:
        return cache.keys[..., -1, :, :], cache.values[..., -1, :, :], cache.age

    def at(start: Cache, trail: tuple[Array, Array, Array], time: Array) -> Cache:
        def window_to(before: Array, added: Array) -> Array:
            whole = jnp.concatenate([before, jnp.moveaxis(added, 0, 1)], axis=1)  # [E, C + T, H, D]
            return jax.vmap(lambda x, t: jax.lax.dynamic_slice_in_dim(x, t + 1, window))(whole, time)

        keys, values, ages = trail
        age = ages[time, jnp.arange(time.shape[0])]
        return Cache(window_to(start.keys, keys), window_to(start.values, values), age)

    return Memory(init, blank, step, unroll, width, trail=trail, at=at)


def _shift(past: Array, now: Array) -> Array:
    return jnp.concatenate([past[..., 1:, :, :], now[..., None, :, :]], axis=-3)


def _ages(before: Array, keep: Array) -> Array:
    """How many steps count after each of [T, ...], itself included."""
    clock = jnp.arange(keep.shape[0], dtype=jnp.int32).reshape((-1,) + (1,) * (keep.ndim - 1))
    began = jax.lax.cummax(jnp.where(keep > 0, -before, clock))
    return clock - began + 1


def _in_blocks(query: Array, keys: Array, values: Array, age: Array, window: int) -> Array:
    """Attention of the queries [..., T, H, D], the first of which is at key number `window`, some at a time."""
    steps = query.shape[-3]
    blocks = -(-steps // BLOCK)
    size = -(-steps // blocks)
    padding = blocks * size - steps
    query, keys, values = (_pad(x, padding, -3) for x in (query, keys, values))
    age = _pad(age, padding, -1, 1)  # what is padded looks at itself
    distance = window + jnp.arange(size)[:, None] - jnp.arange(window + size)[None]  # [B, C + B]

    def block(start: Array) -> Array:
        near = [jax.lax.dynamic_slice_in_dim(x, start, window + size, x.ndim - 3) for x in (keys, values)]
        own = jax.lax.dynamic_slice_in_dim(query, start, size, query.ndim - 3)
        counted = jax.lax.dynamic_slice_in_dim(age, start, size, age.ndim - 1)
        return _attend(own, near[0], near[1], distance, jnp.minimum(counted, window))

    if blocks == 1:
        return block(jnp.int32(0))
    attended = jax.lax.map(jax.checkpoint(block), jnp.arange(blocks) * size)  # [blocks, ..., B, H, D]
    attended = jnp.moveaxis(attended, 0, -4)
    return attended.reshape(*query.shape[:-3], blocks * size, *query.shape[-2:])[..., :steps, :, :]


def _pad(x: Array, count: int, axis: int, value: int = 0) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, count)
    return jnp.pad(x, widths, constant_values=value)


def _attend(query: Array, keys: Array, values: Array, distance: Array, age: Array) -> Array:
    """Softmax attention [..., Q, H, D] to the keys [..., K, H, D] at a `distance` [Q, K] below the `age` [..., Q]."""
    heads = query.shape[-2]
    slope = 2.0 ** (-8.0 * jnp.arange(1, heads + 1) / heads) * (jnp.arange(1, heads + 1) < heads)
    score = jnp.einsum("...qhd,...khd->...hqk", query, keys) / query.shape[-1] ** 0.5
    score = score - slope[:, None, None] * distance
    if age.ndim < query.ndim - 2:  # one query
        age = age[..., None]
    counts = (distance >= 0) & (distance < age[..., None])  # [..., Q, K]
    weight = jax.nn.softmax(jnp.where(counts[..., None, :, :], score, -jnp.inf), axis=-1)
    return jnp.einsum("...hqk,...khd->...qhd", weight, values)
