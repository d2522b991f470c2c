"""Gated recurrences: the GRU and the LSTM, and the one loop that both are.

A recurrence is split in three. What the inputs say to the gates needs no memory: a replay makes it for a whole trial in
one product. What the memory says to them, h U, is the only product inside the loop. All else is elementwise, and a
function of its own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import nn

from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import orthogonal, rowwise
from metarl_jax.core.types import Array, Key, Tree

State = tuple[Array, ...]  # what is read, h [..., W], comes first
Gates = tuple[Array, ...]  # an array each: sliced out of one product, XLA for CPUs does not vectorise what follows
Combine = Callable[[Tree, State, Gates, Gates], State]  # elementwise parameters, state, from the inputs, from h


class Cell(NamedTuple):
    """An elementwise law of gates."""

    gates: tuple[str, ...]
    states: int  # arrays of a state
    combine: Combine
    own: Callable[[int], Tree]  # W -> the elementwise parameters
    bias: dict[str, float] = {}  # noqa: RUF012  where a gate does not start at 0


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
    candidate = jnp.tanh(gates[2] + reset * (recalled[2] + bias))
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
            return rowwise(lambda rows: rows @ weights["input"] + weights["bias"], x)

        return tuple(gate(name) for name in cell.gates)

    def recurrent(params: Tree) -> Gates:
        return tuple(params["gates"][name]["recurrent"] for name in cell.gates)

    def step(params: Tree, state: State, x: Array, keep: Array) -> tuple[State, Array]:
        state = tuple(part * keep for part in state)
        recalled = tuple(state[0] @ u for u in recurrent(params))
        state = cell.combine(params["own"], state, project(params, x), recalled)
        return state, state[0]

    def unroll(params: Tree, state: State, x: Array, keep: Array) -> Array:
        return gated_unroll(cell.combine, recurrent(params), params["own"], state, project(params, x), keep)

    return Memory(init, lambda shape: (jnp.zeros((*shape, width)),) * cell.states, step, unroll, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated_unroll(combine: Combine, u: Gates, own: Tree, state: State, gates: Gates, keep: Array) -> Array:
    """What is read after each step, [T, ..., W].

    Its reverse leaves in the loop what must be there. The law of the gates is elementwise, so its derivatives are
    arrays that all steps make at once; a step back multiplies a slope by them and by Uᵀ, and nothing but the slopes is
    recorded. The gradients of U are one product a gate over all steps. It has no forward mode.
    """
    return _forward(combine, u, own, state, gates, keep)[0]


def _forward(combine: Combine, u: Gates, own: Tree, state: State, gates: Gates, keep: Array) -> tuple[Array, Any]:
    def step(state: State, inputs: tuple[Gates, Array]) -> tuple[State, tuple[State, Gates]]:
        before = tuple(part * inputs[1] for part in state)
        recalled = tuple(before[0] @ weights for weights in u)
        after = combine(own, before, inputs[0], recalled)
        return after, (after, recalled)

    _, (states, recalled) = jax.lax.scan(step, state, (gates, keep))
    return states[0], (u, own, state, states, gates, recalled, keep)


def _backward(combine: Combine, saved: Any, cotangent: Array) -> tuple[Gates, Tree, State, Gates, None]:
    u, own, state, states, gates, recalled, keep = saved
    before = tuple(
        jnp.concatenate([first[None], later[:-1]]) * keep for first, later in zip(state, states, strict=True)
    )
    pull = jax.vjp(combine, own, before, gates, recalled)[1]
    blank = jax.tree.map(jnp.zeros_like, states)
    slopes = [pull((*blank[:i], jnp.ones_like(part), *blank[i + 1 :])) for i, part in enumerate(states)]
    by_before = [one[1] for one in slopes]  # of each part of a state, by each part of the one before, [T, ..., W]
    by_recalled = [one[3] for one in slopes]
    transposed = tuple(weights.T for weights in u)

    def step(slope: State, inputs: Any) -> tuple[State, State]:
        incoming, keep, by_before, by_recalled = inputs
        slope = (slope[0] + incoming, *slope[1:])
        through = sum(d @ weights for d, weights in zip(_times(slope, by_recalled), transposed, strict=True))
        read, *rest = _times(slope, by_before)
        return tuple(part * keep for part in (read + through, *rest)), slope

    start = jax.tree.map(jnp.zeros_like, state)
    slope, totals = jax.lax.scan(step, start, (cotangent, keep, by_before, by_recalled), reverse=True)
    d_own, _, d_gates, d_recalled = pull(totals)
    rows = before[0].reshape(-1, before[0].shape[-1]).T  # [W, T ...]
    d_u = tuple(rows @ d.reshape(-1, d.shape[-1]) for d in d_recalled)
    return d_u, d_own, slope, d_gates, None


def _times(slope: State, slopes: list[State]) -> State:
    """A slope carried through elementwise derivatives: Σ_i slope_i ⊙ slopes_ij, for each j."""
    return tuple(sum(s * by for s, by in zip(slope, column, strict=True)) for column in zip(*slopes, strict=True))


gated_unroll.defvjp(_forward, _backward)
