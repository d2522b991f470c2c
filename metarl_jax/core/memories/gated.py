"""Gated recurrences: the GRU and the LSTM, as one loop.

A recurrence has three parts. The contribution of the inputs to the gates needs no memory. The contribution of the
memory is h U. The rest is elementwise and a function of its own. A replay of many trials on a CPU repeats whole steps.
All others leave only the second part in the loop: the first one, and the gradients of the weights, are one product for
all steps on accelerators, and for a block of them on a CPU, where few trials would spend most of a step on reading and
writing these gradients.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import nn

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import orthogonal, rowwise, to_rank
from metarl_jax.core.types import Array, Key, Tree

LANES = 128  # environments whose arrays, in one step, stay in the cache of a CPU core
BLOCK = 20  # steps of a few environments, whose arrays do
State = tuple[Array, ...]  # the readout h [..., W] comes first
Gates = tuple[Array, ...]  # one array each: XLA for CPUs does not vectorise operations on slices
Combine = Callable[[Tree, State, Gates, Gates], State]  # elementwise parameters, state, gates from inputs, from h


class Cell(NamedTuple):
    """The elementwise part of a gated recurrence."""

    gates: tuple[str, ...]
    states: int  # number of arrays in a state
    combine: Combine
    own: Callable[[int], Tree]  # W -> the elementwise parameters
    bias: dict[str, float] = {}  # noqa: RUF012  initial biases other than 0


def gru(inputs: int, width: int) -> Memory:
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078, eq. 5-8; reset gate after the product).

    r, z = σ(W x + h U);   n = tanh(W x + r ⊙ (h U + b));   h' = (1 − z) ⊙ n + z ⊙ h
    """
    return _recurrence(Cell(("reset", "update", "candidate"), 1, _gru, lambda width: jnp.zeros(width)), inputs, width)


def lstm(inputs: int, width: int) -> Memory:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000, open at first).

    i, f, o = σ(W x + h U);   g = tanh(W x + h U);   c' = f ⊙ c + i ⊙ g;   h' = o ⊙ tanh(c')
    """
    cell = Cell(("input", "forget", "output", "candidate"), 2, _lstm, lambda width: (), {"forget": 1.0})
    return _recurrence(cell, inputs, width)


def _gru(bias: Array, state: State, gates: Gates, recalled: Gates) -> State:
    (memory,) = state
    reset, update = nn.sigmoid(gates[0] + recalled[0]), nn.sigmoid(gates[1] + recalled[1])
    candidate = jnp.tanh(gates[2] + reset * (recalled[2] + to_rank(bias, memory.ndim)))
    return (candidate + update * (memory - candidate),)


def _lstm(own: Tree, state: State, gates: Gates, recalled: Gates) -> State:
    inner, forget, outer, candidate = (gate + more for gate, more in zip(gates, recalled, strict=True))
    cell = nn.sigmoid(forget) * state[1] + nn.sigmoid(inner) * jnp.tanh(candidate)
    return nn.sigmoid(outer) * jnp.tanh(cell), cell


def _recurrence(cell: Cell, inputs: int, width: int) -> Memory:
    def init(key: Key) -> Tree:
        def gate(name: str, key: Key) -> Tree:
            input_key, recurrent_key = jax.random.split(key)
            return {
                "input": nn.initializers.lecun_normal()(input_key, (inputs, width)),
                "bias": jnp.zeros(width) + cell.bias.get(name, 0.0),
                "recurrent": orthogonal()(recurrent_key, (width, width)),
            }

        keys = jax.random.split(key, len(cell.gates))
        params = {name: gate(name, k) for name, k in zip(cell.gates, keys, strict=True)}
        return {"gates": params, "own": cell.own(width)}

    def project(params: Tree, x: Array) -> Gates:
        def gate(name: str) -> Array:
            weights = params["gates"][name]
            return rowwise(lambda rows: rows @ weights["input"] + weights["bias"][None], x)

        return tuple(gate(name) for name in cell.gates)

    def recurrent(params: Tree) -> Gates:
        return tuple(params["gates"][name]["recurrent"] for name in cell.gates)

    def step(params: Tree, state: State, x: Array, keep: Array) -> tuple[State, Array]:
        state = tuple(part * keep for part in state)
        recalled = tuple(state[0] @ u for u in recurrent(params))
        state = cell.combine(params["own"], state, project(params, x), recalled)
        return state, state[0]

    def stretch(params: Tree, state: State, x: Array, keep: Array) -> tuple[State, Array]:
        return gated_unroll(cell.combine, recurrent(params), params["own"], state, project(params, x), keep)

    def unroll(params: Tree, state: State, x: Array, keep: Array) -> Array:
        if jax.default_backend() != "cpu":
            return stretch(params, state, x, keep)[1]
        if 2 * keep[0].size < width:  # a step moves less for so few than for the gradients of the weights
            return blockwise(functools.partial(stretch, params), state, x, keep)
        return stepwise(functools.partial(step, params), state, x, keep)

    def blank(leading: tuple[int, ...]) -> State:
        return (jnp.zeros((*leading, width)),) * cell.states

    return Memory(init, blank, step, unroll, width, lanes=LANES)


def stepwise(step: Callable[..., tuple[State, Array]], state: State, x: Array, keep: Array) -> Array:
    """The readout after each step, [T, ..., W]: reverse mode records the states alone and repeats each step.

    For CPUs, where the arrays of one step stay in the cache, and moving those of all steps takes longer than computing
    them again.
    """
    repeated = jax.checkpoint(lambda state, now: step(state, *now), prevent_cse=False)
    return jax.lax.scan(repeated, state, (x, keep))[1]


def blockwise(stretch: Callable[..., tuple[State, Array]], state: State, x: Array, keep: Array) -> Array:
    """The readout after each step, [T, ..., W], by stretches of `BLOCK` steps, or of a few less where T demands it."""
    steps = len(x)
    count = -(-steps // BLOCK)
    missing = -steps % count  # steps after the last, which nothing reads

    def blocks(x: Array) -> Array:
        x = jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)])
        return x.reshape(count, -1, *x.shape[1:])

    readouts = jax.lax.scan(lambda state, now: stretch(state, *now), state, (blocks(x), blocks(keep)))[1]
    return readouts.reshape(-1, *readouts.shape[2:])[:steps]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated_unroll(combine: Combine, u: Gates, own: Tree, state: State, gates: Gates, keep: Array) -> tuple[State, Array]:
    """The last state, and the readout after each step, [T, ..., W].

    Reverse mode keeps only the necessary operations in the loop. The gates are elementwise, so their derivatives are
    arrays that are computed for all steps at once. A backward step multiplies a cotangent by them and by Uᵀ, and only
    the cotangents are recorded. The gradient of each U is one product over all steps. There is no forward mode.
    """
    return _forward(combine, u, own, state, gates, keep)[0]


def _forward(combine: Combine, u: Gates, own: Tree, state: State, gates: Gates, keep: Array) -> tuple[Any, Any]:
    def step(state: State, inputs: tuple[Gates, Array]) -> tuple[State, tuple[State, Gates]]:
        before = tuple(part * inputs[1] for part in state)
        recalled = tuple(before[0] @ weights for weights in u)
        after = combine(own, before, inputs[0], recalled)
        return after, (after, recalled)

    last, (states, recalled) = jax.lax.scan(step, state, (gates, keep))
    return (last, states[0]), (u, own, state, states, gates, recalled, keep)


def _backward(combine: Combine, saved: Any, cotangent: tuple[State, Array]) -> tuple[Gates, Tree, State, Gates, None]:
    u, own, state, states, gates, recalled, keep = saved
    before = tuple(
        jnp.concatenate([first[None], later[:-1]]) * keep for first, later in zip(state, states, strict=True)
    )
    vjp = jax.vjp(combine, own, before, gates, recalled)[1]
    blank = jax.tree.map(jnp.zeros_like, states)
    derivatives = [vjp((*blank[:i], jnp.ones_like(part), *blank[i + 1 :])) for i, part in enumerate(states)]
    by_before = [one[1] for one in derivatives]  # of each part of a state by each part of the previous, [T, ..., W]
    by_recalled = [one[3] for one in derivatives]
    transposed = tuple(weights.T for weights in u)

    def step(carried: State, inputs: Any) -> tuple[State, State]:
        incoming, keep, by_before, by_recalled = inputs
        carried = (carried[0] + incoming, *carried[1:])
        through = sum(d @ weights for d, weights in zip(_times(carried, by_recalled), transposed, strict=True))
        read, *rest = _times(carried, by_before)
        return tuple(part * keep for part in (read + through, *rest)), carried

    last, readouts = cotangent
    d_state, cotangents = jax.lax.scan(step, last, (readouts, keep, by_before, by_recalled), reverse=True)
    d_own, _, d_gates, d_recalled = vjp(cotangents)
    rows = before[0].reshape(-1, before[0].shape[-1]).T  # [W, T ...]
    d_u = tuple(rows @ d.reshape(-1, d.shape[-1]) for d in d_recalled)
    return d_u, d_own, d_state, d_gates, None


def _times(cotangent: State, derivatives: list[State]) -> State:
    """The cotangent times elementwise derivatives: Σ_i cotangent_i ⊙ derivatives_ij, for each j."""
    columns = zip(*derivatives, strict=True)
    return tuple(sum(c * by for c, by in zip(cotangent, column, strict=True)) for column in columns)


gated_unroll.defvjp(_forward, _backward)
