"""Memories: what carries the past forward. One interface, so that what learns in its memory does not know which."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key, Tree


def _of_time(start: Tree, trail: Tree, time: Array) -> Tree:
    """The memory after step `time` [E] of a trail [T, E, ...] that recorded it whole."""
    return jax.tree.map(lambda x: x[time, jnp.arange(time.shape[0])], trail)


class Memory(NamedTuple):
    """A memory as data. `keep` is 1, or 0 where all before this input is to be forgotten.

    `step` takes one input with any leading axes; `unroll` takes [T, ...] and is what a replay differentiates. What a
    step adds to a memory is recorded by `trail`, from which `at` makes the memory after any step again: a cache need
    not be stored whole at every step.
    """

    init: Callable[[Key], Tree]
    blank: Callable[[tuple[int, ...]], Tree]  # leading axes -> a memory of nothing
    step: Callable[
        [Tree, Tree, Array, Array], tuple[Tree, Array]
    ]  # params, memory, [..., I], keep [..., 1] -> [..., W]
    unroll: Callable[[Tree, Tree, Array, Array], Array]  # params, memory, [T, ..., I], keep [T, ..., 1] -> [T, ..., W]
    width: int  # W, of what is read from it
    sufficient: bool = False  # whether what it says and the present observation are all that matters for acting
    trail: Callable[[Tree], Tree] = lambda memory: memory  # after a step -> what is recorded of it
    at: Callable[[Tree, Tree, Array], Tree] = _of_time  # memory at the start, trail [T, E, ...], time [E] -> memory
    roomless: Callable[[tuple[int, ...]], Tree] | None = None  # a blank without the room that acting needs

    def newborn(self, leading: tuple[int, ...]) -> Tree:
        """What a trial that begins with a memory of nothing is unrolled from."""
        return (self.roomless or self.blank)(leading)


def nothing() -> Memory:
    """Remembers nothing: what is left of a policy is a function of the present."""

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
    """A sufficient memory without parameters, from its law alone: `step` as in `Memory`, but for the parameters."""

    def unroll(params: Tree, memory: Tree, inputs: Array, keep: Array) -> Array:
        return jax.lax.scan(lambda memory, now: step(memory, *now), memory, (inputs, keep))[1]

    return Memory(lambda key: {}, blank, lambda params, *rest: step(*rest), unroll, width, sufficient=True)


def stack(layers: Sequence[Memory]) -> Memory:
    """Memories upon each other: each reads what the one below it says."""
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
    """Memories next to each other: all read the same, and what they say is joined."""

    def step(params: Tree, memory: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        both = [part.step(w, own, inputs, keep) for part, w, own in zip(parts, params, memory, strict=True)]
        return [own for own, _ in both], jnp.concatenate([said for _, said in both], axis=-1)

    def unroll(params: Tree, memory: Tree, inputs: Array, keep: Array) -> Array:
        said = [part.unroll(w, own, inputs, keep) for part, w, own in zip(parts, params, memory, strict=True)]
        return jnp.concatenate(said, axis=-1)

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
    )
