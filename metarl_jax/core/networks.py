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

    `project(params, inputs [..., I]) -> gates` needs no memory; `advance(params, memory [..., W], gates) -> memory`.
    """

    init: Callable[[Key], Tree]
    project: Callable[[Tree, Array], Array]
    advance: Callable[[Tree, Array, Array], Array]
    width: int


def gru_cell(inputs: int, width: int) -> RecurrentCell:
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078, eq. 5-8; reset gate after the product).

        r, z = σ(W x + U h);   n = tanh(W x + r ⊙ (U h + b));   h' = (1 − z) ⊙ n + z ⊙ h
    """

    def init(key: Key) -> Tree:
        input_key, recurrent_key = jax.random.split(key)
        blocks = [nn.initializers.orthogonal()(k, (width, width)) for k in jax.random.split(recurrent_key, 3)]
        return {
            "input": nn.initializers.lecun_normal()(input_key, (inputs, 3 * width)),
            "input_bias": jnp.zeros(3 * width),
            "recurrent": jnp.concatenate(blocks, axis=1),
            "recurrent_bias": jnp.zeros(width),
        }

    def project(params: Tree, x: Array) -> Array:
        return x @ params["input"] + params["input_bias"]

    def advance(params: Tree, memory: Array, gates: Array) -> Array:
        recurrent = memory @ params["recurrent"]
        reset, update = jnp.split(nn.sigmoid(gates[..., : 2 * width] + recurrent[..., : 2 * width]), 2, axis=-1)
        candidate = gates[..., 2 * width :] + reset * (recurrent[..., 2 * width :] + params["recurrent_bias"])
        return (1 - update) * jnp.tanh(candidate) + update * memory

    return RecurrentCell(init, project, advance, width)
