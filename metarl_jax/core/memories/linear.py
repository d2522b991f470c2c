"""A linear recurrence: all steps of a trial at once, by an associative scan.

    x_t = W u_t + w ⊙ W u_{t−1};   r, i = σ(W x);   a = exp(−8 softplus(Λ) r)
    h_t = a_t ⊙ h_{t−1} + √(1 − a_t²) ⊙ (i_t ⊙ x_t)

the real-gated linear recurrent unit (De et al. 2024, Griffin, arXiv:2402.19427, eq. 1-4), after the LRU (Orvieto et al.
2023, arXiv:2303.06349) and S5, whose resets inside the scan are those of Lu et al. 2023 (arXiv:2303.03982): where a
memory is to be forgotten, a_t = 0. What is read is gated by the input and added to it.

An input u tells what the last action led to and paid, the one before it where that action was taken. What is written is
a function of x alone, so x has both: Griffin's temporal convolution, of two steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import nn

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, layer_norm
from metarl_jax.core.types import Array, Key, Tree

SHARPNESS = 8.0  # c of eq. 4
SLOWEST, FASTEST = 0.9, 0.999  # a at first, where r = 1
PARALLEL = ("gpu", "cuda", "rocm", "tpu")  # where log T rounds over all steps beat T rounds over one


class State(NamedTuple):
    """What a step leaves behind."""

    recurrence: Array  # [..., W]
    last: Array  # [..., W] W u of the step


def linear(inputs: int, width: int) -> Memory:
    """A block of the linear recurrence, [..., I] -> [..., W]."""
    norm = layer_norm(width)
    layers = {
        "enter": dense(inputs, width),
        "gate": dense(width, width),
        "recall": dense(width, width),
        "write": dense(width, width),
        "leave": dense(width, width),
    }

    def init(key: Key) -> Tree:
        keys = jax.random.split(key, len(layers) + 2)
        params = {name: layer.init(k) for (name, layer), k in zip(layers.items(), keys[2:], strict=True)}
        kept = jax.random.uniform(keys[0], (width,), minval=SLOWEST, maxval=FASTEST)
        rate = -jnp.log(kept) / SHARPNESS  # softplus(Λ)
        before = 0.5 * jax.random.normal(keys[1], (width,))
        return params | {"decay": jnp.log(jnp.expm1(rate)), "norm": norm.init(key), "before": before}

    def enter(params: Tree, x: Array) -> Array:
        return layers["enter"].apply(params["enter"], x)

    def write(params: Tree, entered: Array, last: Array, keep: Array) -> tuple[Array, Array, Array]:
        """What a step multiplies the recurrence by, what it adds, and what passes by."""
        both = entered + params["before"] * last * keep
        normed = norm.apply(params["norm"], both)
        slow = nn.sigmoid(layers["recall"].apply(params["recall"], normed))
        log_a = -SHARPNESS * nn.softplus(params["decay"]) * slow
        added = nn.sigmoid(layers["write"].apply(params["write"], normed)) * normed
        return jnp.exp(log_a) * keep, jnp.sqrt(-jnp.expm1(2 * log_a)) * added, both

    def read(params: Tree, recurrence: Array, both: Array) -> Array:
        gate = nn.gelu(layers["gate"].apply(params["gate"], norm.apply(params["norm"], both)))
        return both + layers["leave"].apply(params["leave"], recurrence * gate)

    def step(params: Tree, memory: State, x: Array, keep: Array) -> tuple[State, Array]:
        entered = enter(params, x)
        kept, added, both = write(params, entered, memory.last, keep)
        recurrence = kept * memory.recurrence + added
        return State(recurrence, entered), read(params, recurrence, both)

    def unroll(params: Tree, memory: State, x: Array, keep: Array) -> Array:
        entered = enter(params, x)
        last = jnp.concatenate([memory.last[None], entered[:-1]])
        kept, added, both = write(params, entered, last, keep)
        return read(params, recur(kept, added.at[0].add(kept[0] * memory.recurrence)), both)

    def blank(leading: tuple[int, ...]) -> State:
        return State(jnp.zeros((*leading, width)), jnp.zeros((*leading, width)))

    return Memory(init, blank, step, unroll, width)


def recur(kept: Array, added: Array) -> Array:
    """h_t = kept_t h_{t−1} + added_t from h_0 = 0, [T, ...].

    Where a device computes many steps at once, in log T rounds; on a CPU, whose cores are busy with one, step by step.
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
