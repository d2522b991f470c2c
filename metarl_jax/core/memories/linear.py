"""A linear recurrence: all steps of a trial at once, by an associative scan.

    r, i = σ(W x);   a = exp(−8 softplus(Λ) r);   h_t = a_t ⊙ h_{t−1} + √(1 − a_t²) ⊙ (i_t ⊙ x_t)

the real-gated linear recurrent unit (De et al. 2024, Griffin, arXiv:2402.19427, eq. 1-4), after the LRU (Orvieto et al.
2023, arXiv:2303.06349) and S5. Resets inside the scan are those of Lu et al. 2023 (arXiv:2303.03982): a_t = 0 where the
memory must be forgotten. The readout is gated by the input and added to it.
"""

import jax
import jax.numpy as jnp
from jax import nn

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, layer_norm
from metarl_jax.core.types import Array, Key, Tree

SHARPNESS = 8.0  # c of eq. 4
SLOWEST, FASTEST = 0.9, 0.999  # initial range of a, at r = 1
PARALLEL = ("gpu", "cuda", "rocm", "tpu")  # where log T rounds over all steps are faster than T steps


def linear(width: int) -> Memory:
    """A block of the linear recurrence, [..., W] -> [..., W]."""
    norm = layer_norm(width)
    layers = {name: dense(width, width) for name in ("gate", "recall", "write", "leave")}

    def init(key: Key) -> Tree:
        keys = jax.random.split(key, len(layers) + 1)
        params = {name: layer.init(k) for (name, layer), k in zip(layers.items(), keys[1:], strict=True)}
        kept = jax.random.uniform(keys[0], (width,), minval=SLOWEST, maxval=FASTEST)
        rate = -jnp.log(kept) / SHARPNESS  # softplus(Λ)
        return params | {"decay": jnp.log(jnp.expm1(rate)), "norm": norm.init(key)}

    def write(params: Tree, normed: Array, keep: Array) -> tuple[Array, Array]:
        """The factor and the term that a step applies to the recurrence."""
        slow = nn.sigmoid(layers["recall"].apply(params["recall"], normed))
        log_a = -SHARPNESS * nn.softplus(params["decay"]) * slow
        added = nn.sigmoid(layers["write"].apply(params["write"], normed)) * normed
        return jnp.exp(log_a) * keep, jnp.sqrt(-jnp.expm1(2 * log_a)) * added

    def read(params: Tree, recurrence: Array, normed: Array) -> Array:
        gate = nn.gelu(layers["gate"].apply(params["gate"], normed))
        return layers["leave"].apply(params["leave"], recurrence * gate)

    def step(params: Tree, recurrence: Array, x: Array, keep: Array) -> tuple[Array, Array]:
        normed = norm.apply(params["norm"], x)
        kept, added = write(params, normed, keep)
        recurrence = kept * recurrence + added
        return recurrence, x + read(params, recurrence, normed)

    def unroll(params: Tree, recurrence: Array, x: Array, keep: Array) -> Array:
        normed = norm.apply(params["norm"], x)
        kept, added = write(params, normed, keep)
        return x + read(params, recur(kept, added.at[0].add(kept[0] * recurrence)), normed)

    return Memory(init, lambda leading: jnp.zeros((*leading, width)), step, unroll, width)


def recur(kept: Array, added: Array) -> Array:
    """h_t = kept_t h_{t−1} + added_t from h_0 = 0, [T, ...].

    In log T rounds on devices that compute many steps at once; on a CPU, whose cores one step keeps busy, step by step.
    """
    return in_parallel(kept, added) if jax.default_backend() in PARALLEL else in_sequence(kept, added)


def in_parallel(kept: Array, added: Array) -> Array:
    """By an associative scan: pairs (a, b) compose to (a₂ a₁, a₂ b₁ + b₂)."""

    def compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(compose, (kept, added))[1]


def in_sequence(kept: Array, added: Array) -> Array:
    """Step by step."""

    def step(memory: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        memory = now[0] * memory + now[1]
        return memory, memory

    return jax.lax.scan(step, jnp.zeros_like(added[0]), (kept, added))[1]
