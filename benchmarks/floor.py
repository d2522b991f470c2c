"""The least time that a meta-step can take: its FLOPs, each kind over the rate that this kind reaches alone here.

A kind is a matrix product as it occurs: `forward` with its activation, `slope` back through a layer and the derivative
of its activation, `weights` for the gradient of a layer (inputs transposed times slopes). Rates are measured on all
devices at once, at the shapes of the workload, in the same process.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

REPEATS = 30  # products inside one call, so that dispatch does not count
TRIALS = 7


class Work(NamedTuple):
    """`flops` of one kind, and the product [rows, inputs] × [inputs, outputs] whose rate they could reach."""

    kind: str
    flops: float
    rows: int
    inputs: int
    outputs: int


def floor_seconds(work: list[Work], mesh: jax.sharding.Mesh | None) -> float:
    """Seconds that the work takes at the rates of its kinds, shared evenly by the devices."""
    return sum(w.flops / rate(w.kind, w.rows, w.inputs, w.outputs, mesh) for w in work)


@functools.cache
def rate(kind: str, rows: int, inputs: int, outputs: int, mesh: jax.sharding.Mesh | None) -> float:
    """FLOPs a second that all devices together reach on this product alone."""
    devices = 1 if mesh is None else mesh.size
    kernel = everywhere(KERNELS[kind], mesh)
    x = jnp.ones((devices, rows, inputs)) * 0.01
    y = jnp.ones((devices, rows, outputs)) * 0.01
    w = jnp.ones((devices, inputs, outputs)) * 0.01
    seconds = best_time(lambda: kernel(x, w, y))
    return devices * REPEATS * 2.0 * rows * inputs * outputs / seconds


def best_time(call: Callable[[], Any], trials: int = TRIALS) -> float:
    """The shortest of several timed calls, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(trials):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def everywhere(kernel: Callable[..., Any], mesh: jax.sharding.Mesh | None) -> Callable[..., Any]:
    if mesh is None:
        return jax.jit(jax.vmap(kernel))
    spec = jax.sharding.PartitionSpec("tasks")
    return jax.jit(
        jax.shard_map(
            lambda *xs: kernel(*[x[0] for x in xs])[None], mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    )


def _product(x: jax.Array, w: jax.Array, carry: jax.Array) -> jax.Array:
    """x w, each time anew: the smaller factor changes by what the last repeat put out."""
    nudge = 1e-9 * carry[0, 0]
    return (x + nudge) @ w if x.size < w.size else x @ (w + nudge)


def _forward(x: jax.Array, w: jax.Array, y: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, REPEATS, lambda i, carry: jnp.tanh(_product(x, w, carry)), y)


def _slope(x: jax.Array, w: jax.Array, y: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, REPEATS, lambda i, carry: _product(x, w, carry) * (1 - y**2), y)


def _weights(x: jax.Array, w: jax.Array, y: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, REPEATS, lambda i, carry: _product(x.T, y, carry), w)


KERNELS = {"forward": _forward, "slope": _slope, "weights": _weights}
