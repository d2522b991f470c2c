"""Memories of the past behind one interface, so that a learner works with any of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key, Tree

LANES = 32  # environments whose arrays, over a whole trial, stay in the cache of a CPU core


def _of_time(start: Tree, trail: Tree, time: Array) -> Tree:
    """The memory after step `time` [E] from a trail [T, E, ...] that recorded it in full."""
    return jax.tree.map(lambda x: x[time, jnp.arange(time.shape[0])], trail)


class Memory(NamedTuple):
    """A memory as data. `keep` is 1, or 0 where everything before this input must be forgotten.

    `step` takes one input with any leading axes; `unroll` takes [T, ...] and is differentiated by a replay. `trail`
    records what a step adds to the memory, and `at` reconstructs from it the memory after any step, so that a cache
    need not be stored in full at every step.
    """

    init: Callable[[Key], Tree]
    blank: Callable[[tuple[int, ...]], Tree]  # leading axes -> a blank memory
    step: Callable[
        [Tree, Tree, Array, Array], tuple[Tree, Array]
    ]  # params, memory, [..., I], keep [..., 1] -> [..., W]
    unroll: Callable[[Tree, Tree, Array, Array], Array]  # params, memory, [T, ..., I], keep [T, ..., 1] -> [T, ..., W]
    width: int  # W, size of the readout
    sufficient: bool = False  # whether its readout and the current observation suffice for acting
    trail: Callable[[Tree], Tree] = lambda memory: memory  # memory after a step -> its record
    at: Callable[[Tree, Tree, Array], Tree] = _of_time  # memory at the start, trail [T, E, ...], time [E] -> memory
    roomless: Callable[[tuple[int, ...]], Tree] | None = None  # a blank memory without the capacity that acting needs
    lanes: int = LANES  # environments that are relived together on a CPU

    def newborn(self, leading: tuple[int, ...]) -> Tree:
        """The memory from which a trial without a past is unrolled."""
        return (self.roomless or self.blank)(leading)


def nothing() -> Memory:
    """The memory that remembers nothing: the policy is a function of the current observation."""

    def step(params: Tree, memory: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        return memory, inputs[..., :0]

    return Memory(
        init=lambda key: {},
        blank=lambda shape: (),
        step=step,
        unroll=lambda params, memory, inputs, keep: inputs[..., :0],
        width=0,
        sufficient=True,
    )


def recursive(blank: Callable[[tuple[int, ...]], Tree], step: Any, width: int) -> Memory:
    """A sufficient memory without parameters, defined by a `step` as in `Memory` but without parameters."""

    def unroll(params: Tree, memory: Tree, inputs: Array, keep: Array) -> Array:
        return jax.lax.scan(lambda memory, now: step(memory, *now), memory, (inputs, keep))[1]

    return Memory(lambda key: {}, blank, lambda params, *rest: step(*rest), unroll, width, sufficient=True)


def stack(layers: Sequence[Memory]) -> Memory:
    """Stacked memories: each reads the readout of the one below it."""
    if len(layers) == 1:
        return layers[0]

    def step(params: Tree, memory: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        after = []
        for layer, weights, own in zip(layers, params, memory, strict=True):
            own, inputs = layer.step(weights, own, inputs, keep)
            after.append(own)
        return after, inputs

    def unroll(params: Tree, memory: Tree, inputs: Array, keep: Array) -> Array:
        for layer, weights, own in zip(layers, params, memory, strict=True):
            inputs = layer.unroll(weights, own, inputs, keep)
        return inputs

    return _of_parts(layers, step, unroll, layers[-1].width)


def beside(parts: Sequence[Memory]) -> Memory:
    """Parallel memories: all read the same inputs, and their readouts are concatenated."""

    def step(params: Tree, memory: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        both = [part.step(w, own, inputs, keep) for part, w, own in zip(parts, params, memory, strict=True)]
        return [own for own, _ in both], jnp.concatenate([readout for _, readout in both], axis=-1)

    def unroll(params: Tree, memory: Tree, inputs: Array, keep: Array) -> Array:
        readout = [part.unroll(w, own, inputs, keep) for part, w, own in zip(parts, params, memory, strict=True)]
        return jnp.concatenate(readout, axis=-1)

    return _of_parts(parts, step, unroll, sum(part.width for part in parts))


def _of_parts(parts: Sequence[Memory], step: Any, unroll: Any, width: int) -> Memory:
    """A memory whose parameters, state and trail are lists with an entry for each part."""

    def each(method: str, *arguments: Tree) -> Tree:
        return [getattr(part, method)(*own) for part, *own in zip(parts, *arguments, strict=True)]

    return Memory(
        init=lambda key: each("init", jax.random.split(key, len(parts))),
        blank=lambda shape: each("blank", [shape] * len(parts)),
        step=step,
        unroll=unroll,
        width=width,
        trail=lambda memory: each("trail", memory),
        at=lambda start, trail, time: each("at", start, trail, [time] * len(parts)),
        roomless=lambda shape: each("newborn", [shape] * len(parts)),
        lanes=min(part.lanes for part in parts),
    )
