"""The networks of the policies. Flax is used only in this file, which returns pure functions of a dict."""

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
    bias: bool

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        for i, width in enumerate(self.widths):
            hidden = nn.Dense(width, self.bias, param_dtype=float, kernel_init=orthogonal(2**0.5), name=f"hidden_{i}")
            inputs = self.activation(hidden(inputs))
        scaled = orthogonal(self.head_scale)
        return nn.Dense(self.outputs, self.bias, param_dtype=float, kernel_init=scaled, name="head")(inputs)


def mlp(
    inputs: int,
    widths: Sequence[int],
    outputs: int,
    head_scale: float = 1.0,
    activation: Callable[[Array], Array] = nn.tanh,
    bias: bool = True,
) -> Network:
    """A multi-layer perceptron [..., I] -> [..., O]; its last layer is called `head`."""
    return _pure(_MLP(tuple(widths), outputs, head_scale, activation, bias), inputs)


def dense(inputs: int, outputs: int) -> Network:
    """A linear layer [..., I] -> [..., O]."""
    return _pure(nn.Dense(outputs, param_dtype=float), inputs)


def layer_norm(width: int) -> Network:
    """Mean 0 and variance 1 over the last axis, then scaled and shifted (Ba et al. 2016, arXiv:1607.06450)."""
    return _pure(nn.LayerNorm(param_dtype=float), width)


def orthogonal(scale: float = 1.0) -> Callable[..., Array]:
    """An initialiser of scaled matrices with orthonormal columns (or rows), uniform over all such matrices.

    Gram-Schmidt on a Gaussian matrix, applied twice against rounding errors. LAPACK's QR of many networks at once can
    deadlock, as it waits for threads of the pool that it runs in.
    """

    def init(key: Key, shape: tuple[int, int], dtype: Any = float) -> Array:
        gaussian = jax.random.normal(key, (max(shape), min(shape)), dtype)
        columns = _orthonormal(_orthonormal(gaussian))
        return scale * (columns if shape[0] >= shape[1] else columns.T)

    return init


@jax.jit  # otherwise each network created outside of jit would compile the loop
def _orthonormal(x: Array) -> Array:
    """Orthonormalise the columns of x [R, C] in their order."""

    def step(k: Array, x: Array) -> Array:
        column = x[:, k] / jnp.linalg.norm(x[:, k])
        later = (jnp.arange(x.shape[1]) > k).astype(x.dtype)[None]
        return (x - later * jnp.outer(column, column @ x)).at[:, k].set(column)

    return jax.lax.fori_loop(0, x.shape[1], step, x)


def rowwise(function: Callable[[Array], Any], x: Array) -> Array:
    """Apply `function` to the rows [R, I] of x [..., I]. With one axis of rows gradients need no copies."""
    rows: Array = function(x.reshape(-1, x.shape[-1]))
    return rows.reshape(*x.shape[:-1], *rows.shape[1:])


def to_rank(x: Array, rank: int) -> Array:
    """The same array with leading axes of size 1."""
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def _pure(module: nn.Module, inputs: int) -> Network:
    return Network(
        init=lambda key: module.init(key, jnp.zeros((1, inputs)))["params"],
        apply=lambda params, x: rowwise(lambda rows: module.apply({"params": params}, rows), x),
    )
