"""Pairs of inputs: a memory that reads the current input together with the one before it.

    x_t = W u_t + w ⊙ W u_{t−1}

An input u holds the outcome and the reward of the last action; the input before it holds the state in which that action
was taken. A recurrence writes, and attention looks up, functions of one x, so a reward can be bound to its state only
if x holds both. This is the convolution of Griffin (De et al. 2024, arXiv:2402.19427) and Primer (So et al. 2021,
arXiv:2109.08668), with a width of two steps and applied first.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, to_rank
from metarl_jax.core.types import Array, Key, Tree


class Pair(NamedTuple):
    """The state of a paired memory."""

    last: Array  # [..., W] W u of the last step
    inner: Tree


def paired(inner: Memory, inputs: int) -> Memory:
    """The memory `inner` of x, [..., I] -> [..., W]; its input and its readout have the same width."""
    width, layer = inner.width, dense(inputs, inner.width)

    def init(key: Key) -> Tree:
        enter_key, before_key, inner_key = jax.random.split(key, 3)
        before = 0.5 * jax.random.normal(before_key, (width,))
        return {"enter": layer.init(enter_key), "before": before, "inner": inner.init(inner_key)}

    def step(params: Tree, memory: Pair, inputs: Array, keep: Array) -> tuple[Pair, Array]:
        entered = layer.apply(params["enter"], inputs)
        both = entered + to_rank(params["before"], entered.ndim) * memory.last * keep
        own, readout = inner.step(params["inner"], memory.inner, both, keep)
        return Pair(entered, own), readout

    def unroll(params: Tree, memory: Pair, inputs: Array, keep: Array) -> Array:
        entered = layer.apply(params["enter"], inputs)
        last = jnp.concatenate([memory.last[None], entered[:-1]])
        both = entered + to_rank(params["before"], entered.ndim) * last * keep
        return inner.unroll(params["inner"], memory.inner, both, keep)

    def of(inner: Callable[[tuple[int, ...]], Tree]) -> Callable[[tuple[int, ...]], Pair]:
        return lambda leading: Pair(jnp.zeros((*leading, width)), inner(leading))

    def at(start: Pair, trail: Pair, time: Array) -> Pair:
        return Pair(trail.last[time, jnp.arange(time.shape[0])], inner.at(start.inner, trail.inner, time))

    return Memory(
        init,
        of(inner.blank),
        step,
        unroll,
        width,
        trail=lambda memory: Pair(memory.last, inner.trail(memory.inner)),
        at=at,
        roomless=of(inner.newborn),
    )
