"""The networks behind the policies. Flax stays inside this file: what leaves it are pure functions of a dict."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key, Tree


class Network(NamedTuple):
    """A pure pair: `init(key) -> params` and `apply(params, inputs) -> outputs`."""

    init: Callable[[Key], Tree]
    apply: Callable[..., Any]


class _MLP(nn.Module):
    widths: Sequence[int]
    outputs: int
    head_scale: float
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        for i, width in enumerate(self.widths):
            hidden = nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5), name=f"hidden_{i}")
            inputs = self.activation(hidden(inputs))
        head_init = nn.initializers.orthogonal(self.head_scale) if self.head_scale else nn.initializers.zeros
        return nn.Dense(self.outputs, kernel_init=head_init, name="head")(inputs)


def mlp(
    inputs: int,
    widths: Sequence[int],
    outputs: int,
    head_scale: float = 1.0,
    activation: Callable[[Array], Array] = nn.tanh,
) -> Network:
    """A multi-layer perceptron [..., I] -> [..., O]; its last layer is called `head`."""
    module = _MLP(tuple(widths), outputs, head_scale, activation)
    return Network(
        init=lambda key: module.init(key, jnp.zeros((1, inputs)))["params"],
        apply=lambda params, x: module.apply({"params": params}, x),
    )


class RecurrentCell(NamedTuple):
    """A recurrence in two halves, so that a replay projects a whole trial in one product.

    `project` needs no memory; `advance` is one step, `unroll` all of them, with the memory multiplied by `keep`
    (0 forgets) before each.
    """

    init: Callable[[Key], Tree]
    project: Callable[[Tree, Array], Tree]  # params, inputs [..., I] -> gates
    advance: Callable[[Tree, Array, Tree], Array]  # params, memory [..., W], gates -> memory
    unroll: Callable[[Tree, Array, Tree, Array], Array]  # params, memory, gates [T, ...], keep [T, ..., 1] -> [T, ...]
    width: int


GATES = ("reset", "update", "candidate")


def gru_cell(inputs: int, width: int) -> RecurrentCell:
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078, eq. 5-8; reset gate after the product).

        r, z = σ(W x + U h);   n = tanh(W x + r ⊙ (U h + b));   h' = (1 − z) ⊙ n + z ⊙ h

    The three gates are arrays of their own: sliced out of one product, XLA for CPUs does not vectorise what follows.
    """

    def init(key: Key) -> Tree:
        def gate(key: Key) -> Tree:
            input_key, recurrent_key = jax.random.split(key)
            return {
                "input": nn.initializers.lecun_normal()(input_key, (inputs, width)),
                "bias": jnp.zeros(width),
                "recurrent": nn.initializers.orthogonal()(recurrent_key, (width, width)),
            }

        params = {name: gate(k) for name, k in zip(GATES, jax.random.split(key, len(GATES)), strict=True)}
        params["candidate"]["recurrent_bias"] = jnp.zeros(width)
        return params

    def project(params: Tree, x: Array) -> tuple[Array, ...]:
        return tuple(x @ params[name]["input"] + params[name]["bias"] for name in GATES)

    def advance(params: Tree, memory: Array, gates: Tree) -> Array:
        return _gru_step(_recurrent(params), memory, gates)[0]

    def unroll(params: Tree, memory: Array, gates: Tree, keep: Array) -> Array:
        return gru_unroll(_recurrent(params), memory, gates, keep)

    return RecurrentCell(init, project, advance, unroll, width)


class _Recurrent(NamedTuple):
    """The parameters inside the recurrence."""

    reset: Array  # [W, W]
    update: Array  # [W, W]
    candidate: Array  # [W, W]
    bias: Array  # [W]


def _recurrent(params: Tree) -> _Recurrent:
    reset, update, candidate = (params[name]["recurrent"] for name in GATES)
    return _Recurrent(reset, update, candidate, params["candidate"]["recurrent_bias"])


def _gru_step(u: _Recurrent, memory: Array, gates: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    """One step: the new memory, and r, z, n and U h + b, from which the derivative is made."""
    reset = nn.sigmoid(gates[0] + memory @ u.reset)
    update = nn.sigmoid(gates[1] + memory @ u.update)
    recalled = memory @ u.candidate + u.bias
    candidate = jnp.tanh(gates[2] + reset * recalled)
    return candidate + update * (memory - candidate), (reset, update, candidate, recalled)


@jax.custom_vjp
def gru_unroll(u: _Recurrent, memory: Array, gates: tuple[Array, ...], keep: Array) -> Array:
    """The memories [T, ..., W] after each step.

    Its reverse is written out, so that the gradients of U are three products over all steps at the end instead of
    three small ones a step. It has no forward mode.
    """
    return _gru_forward(u, memory, gates, keep)[0]


def _gru_forward(u: _Recurrent, memory: Array, gates: tuple[Array, ...], keep: Array) -> tuple[Array, Any]:
    def step(memory: Array, inputs: tuple[Any, Array]) -> tuple[Array, tuple[Array, tuple[Array, ...]]]:
        after, inside = _gru_step(u, memory * inputs[1], inputs[0])
        return after, (after, inside)

    _, (memories, inside) = jax.lax.scan(step, memory, (gates, keep))
    return memories, (u, memory, memories, inside, keep)


def _gru_backward(saved: Any, cotangent: Array) -> tuple[_Recurrent, Array, tuple[Array, ...], None]:
    u, memory, memories, inside, keep = saved
    before = jnp.concatenate([memory[None], memories[:-1]]) * keep
    transposed = jax.tree.map(jnp.transpose, u)

    def step(slope: Array, inputs: tuple[Any, ...]) -> tuple[Array, tuple[Array, ...]]:
        incoming, before, (reset, update, candidate, recalled), keep = inputs
        slope = slope + incoming
        d_candidate = slope * (1 - update) * (1 - candidate**2)
        d_update = slope * (before - candidate) * update * (1 - update)
        d_reset = d_candidate * recalled * reset * (1 - reset)
        d_recalled = d_candidate * reset
        through = d_reset @ transposed.reset + d_update @ transposed.update + d_recalled @ transposed.candidate
        return (slope * update + through) * keep, (d_reset, d_update, d_candidate, d_recalled)

    inputs = (cotangent, before, inside, keep)
    slope, (d_reset, d_update, d_candidate, d_recalled) = jax.lax.scan(
        step, jnp.zeros_like(memory), inputs, reverse=True
    )
    rows = before.reshape(-1, before.shape[-1]).T  # [W, T ...]
    reset, update, candidate = (rows @ d.reshape(-1, d.shape[-1]) for d in (d_reset, d_update, d_recalled))
    bias = jnp.sum(d_recalled.reshape(-1, d_recalled.shape[-1]), axis=0)
    return _Recurrent(reset, update, candidate, bias), slope, (d_reset, d_update, d_candidate), None


gru_unroll.defvjp(_gru_forward, _gru_backward)
