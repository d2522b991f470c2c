"""Causal attention over a window of the past, with a cache for acting.

A pre-norm block (Vaswani et al. 2017, arXiv:1706.03762) whose heads look back with a bias of −2^{−8 h/H} per step of
distance (ALiBi: Press et al. 2022, arXiv:2108.12409); the last head has no bias. Positions are distances, so a cache
may start anywhere. Forgotten steps leave the window.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, layer_norm, mlp, to_rank
from metarl_jax.core.types import Array, Key, Tree

HEADS = 4
BLOCK = 128  # most queries attended to together: bounds the memory of a replay


class Cache(NamedTuple):
    """The latest steps in a ring buffer: each replaces the oldest, so that no other entry moves."""

    keys: Array  # [..., H, C, D]
    values: Array  # [..., H, C, D]
    oldest: Array  # [...] int32 index of the oldest step in the ring
    age: Array  # [...] int32 number of latest steps that count


def attention(width: int, window: int, heads: int = HEADS) -> Memory:
    """A block of attention over the last `window` steps, the present one included, [..., W] -> [..., W].

    Raises:
        ValueError: `heads` does not divide `width`.
    """
    if width % heads:
        raise ValueError(f"width is {width} and attention has {heads} heads; choose a multiple of {heads}")
    size = width // heads
    norm, leave = layer_norm(width), dense(width, width)
    look, further = dense(width, 3 * width), mlp(width, (2 * width,), width, activation=jax.nn.gelu)

    def init(key: Key) -> Tree:
        keys = jax.random.split(key, 3)
        return {
            "look": look.init(keys[0]),
            "leave": leave.init(keys[1]),
            "further": further.init(keys[2]),
            "norm": norm.init(key),
            "norm_further": norm.init(key),
        }

    def blank(leading: tuple[int, ...], room: int = window) -> Cache:
        steps, clock = jnp.zeros((*leading, heads, room, size)), jnp.zeros(leading, jnp.int32)
        return Cache(steps, steps, clock, clock)

    def project(params: Tree, x: Array) -> Array:
        """Queries, keys and values [..., 3, H, D]."""
        looks = look.apply(params["look"], norm.apply(params["norm"], x))
        return looks.reshape(*x.shape[:-1], 3, heads, size)

    def read(params: Tree, x: Array, attended: Array) -> Array:
        x = x + leave.apply(params["leave"], attended.reshape(x.shape))
        return x + further.apply(params["further"], norm.apply(params["norm_further"], x))

    def step(params: Tree, cache: Cache, x: Array, keep: Array) -> tuple[Cache, Array]:
        query, key, value = jnp.moveaxis(project(params, x), -3, 0)  # [..., H, D]
        age = jnp.where(keep[..., 0] > 0, cache.age, 0) + 1
        distance = (cache.oldest[..., None] - _counted(window, cache.oldest.ndim)) % window  # [..., C]
        keys, values = _put(cache.keys, key, cache.oldest), _put(cache.values, value, cache.oldest)
        attended = _attend(query[..., None, :], keys, values, distance[..., None, :], age[..., None])
        return Cache(keys, values, (cache.oldest + 1) % window, age), read(params, x, attended[..., 0, :])

    def unroll(params: Tree, cache: Cache, x: Array, keep: Array) -> Array:
        query, key, value = jnp.moveaxis(project(params, x), (-3, 0), (0, -2))  # [..., H, T, D]
        keys, values = (
            jnp.concatenate([_in_order(old, cache.oldest), new], axis=-2)
            for old, new in ((cache.keys, key), (cache.values, value))
        )
        age = jnp.moveaxis(_ages(cache.age, keep[..., 0]), 0, -1)  # [..., T]
        return read(params, x, jnp.moveaxis(_in_blocks(query, keys, values, age, window), -2, 0))

    def trail(cache: Cache) -> tuple[Array, Array, Array]:
        newest = (cache.oldest - 1) % window
        return _take(cache.keys, newest), _take(cache.values, newest), cache.age

    def at(start: Cache, trail: tuple[Array, Array, Array], time: Array) -> Cache:
        def window_to(before: Array, added: Array) -> Array:
            whole = jnp.concatenate([_in_order(before, start.oldest), jnp.moveaxis(added, 0, -2)], axis=-2)
            return jax.vmap(lambda x, t: jax.lax.dynamic_slice_in_dim(x, t + 1, window, 1))(whole, time)

        keys, values, ages = trail
        age = ages[time, jnp.arange(time.shape[0])]
        return Cache(window_to(start.keys, keys), window_to(start.values, values), jnp.zeros_like(time), age)

    return Memory(init, blank, step, unroll, width, trail=trail, at=at, roomless=lambda leading: blank(leading, 0))


def _put(ring: Array, now: Array, place: Array) -> Array:
    """Write a step [..., H, D] at an index [...] of a ring [..., H, C, D]."""
    here = _counted(ring.shape[-2], place.ndim) == place[..., None]
    return jnp.where(here[..., None, :, None], now[..., None, :], ring)


def _take(ring: Array, place: Array) -> Array:
    """The step [..., H, D] at an index [...] of a ring [..., H, C, D]."""
    return jnp.take_along_axis(ring, place[..., None, None, None], axis=-2)[..., 0, :]


def _in_order(ring: Array, oldest: Array) -> Array:
    """The steps of a ring [..., H, C, D], oldest first."""
    room = ring.shape[-2]
    order = (oldest[..., None] + _counted(room, oldest.ndim)) % max(room, 1)  # [..., C]
    return jnp.take_along_axis(ring, order[..., None, :, None], axis=-2)


def _counted(count: int, leading: int) -> Array:
    """The numbers 0 ... C - 1 with leading axes of size 1, [..., C] int32."""
    return to_rank(jnp.arange(count, dtype=jnp.int32), leading + 1)


def _ages(before: Array, keep: Array) -> Array:
    """The number of steps that count at each of [T, ...], itself included."""
    clock = jnp.arange(keep.shape[0], dtype=jnp.int32).reshape((-1,) + (1,) * (keep.ndim - 1))
    began = jax.lax.cummax(jnp.where(keep > 0, -before, clock))
    return clock - began + 1


def _in_blocks(query: Array, keys: Array, values: Array, age: Array, window: int) -> Array:
    """Attention of the queries [..., H, T, D], which belong to the last T keys, in blocks."""
    steps, total = query.shape[-2], keys.shape[-2]

    def block(start: int) -> Array:
        stop = min(start + BLOCK, steps)
        begin, end = total - steps + start, total - steps + stop  # the keys of these queries
        first = max(0, begin - window + 1)
        places = jnp.arange(end, dtype=jnp.int32)
        distance = places[begin:, None] - places[None, first:]  # [Q, K]
        counted = jnp.minimum(age[..., start:stop], window)
        near = keys[..., first:end, :], values[..., first:end, :]
        return _attend(query[..., start:stop, :], *near, distance, counted)

    part = jax.checkpoint(block, static_argnums=0) if steps > BLOCK else block
    return jnp.concatenate([part(start) for start in range(0, steps, BLOCK)], axis=-2)


def _attend(query: Array, keys: Array, values: Array, distance: Array, age: Array) -> Array:
    """Softmax attention [..., H, Q, D] to keys [..., H, K, D] at a `distance` [..., Q, K] below the `age` [..., Q]."""
    heads = query.shape[-3]
    head = jnp.arange(1, heads + 1)
    slope = 2.0 ** (-8.0 * head.astype(float) / heads) * (head < heads).astype(float)
    score = jnp.einsum("...qd,...kd->...qk", query, keys) / query.shape[-1] ** 0.5
    distance = to_rank(distance[..., None, :, :], score.ndim)  # the same for all heads
    counts = (distance >= 0) & (distance < age[..., None, :, None])
    score = jnp.where(counts, score - to_rank(slope[:, None, None], score.ndim) * distance.astype(float), -jnp.inf)
    return jnp.einsum("...qk,...kd->...qd", jax.nn.softmax(score, axis=-1), values)
