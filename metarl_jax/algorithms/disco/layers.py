"""Layers with given weights, {"w": [I, O], "b": [O]}: those of the rule's network and of its agents."""

import jax
import jax.numpy as jnp

from metarl_jax.core.networks import rowwise
from metarl_jax.core.types import Array, Key, Tree

State = tuple[Array, Array]  # of an LSTM: hidden [..., H] and cell [..., H]


def layer(key: Key, inputs: int, outputs: int, scale: float | None = None) -> Tree:
    """A linear layer whose weights are normal with deviation `scale`, or else 1/√I, cut at two deviations."""
    weights = jax.random.truncated_normal(key, -2.0, 2.0, (inputs, outputs))
    return {"w": weights * (inputs**-0.5 if scale is None else scale), "b": jnp.zeros(outputs)}


def lstm(layer: Tree, state: State, inputs: Array) -> State:
    """One step of an LSTM; the gates in the order input, candidate, forget, output, the third with a bias of 1."""
    return lstm_gated(state[1], linear(layer, jnp.concatenate([inputs, state[0]], axis=-1)))


def lstm_gated(cell: Array, gates: Array) -> State:
    """The same from its gates [..., 4 H]: c' = σ(f + 1) c + σ(i) tanh(g), h' = σ(o) tanh(c')."""
    inner, candidate, forget, outer = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget + 1.0) * cell + jax.nn.sigmoid(inner) * jnp.tanh(candidate)
    return jax.nn.sigmoid(outer) * jnp.tanh(cell), cell


def linear(layer: Tree, x: Array) -> Array:
    """A linear layer [..., I] -> [..., O]."""
    return rowwise(lambda rows: rows @ layer["w"] + layer["b"][None], x)


def perceptron(layers: Tree, name: str, x: Array) -> Array:
    """Two layers of the same name with a rectifier between them."""
    return linear(layers[f"{name}_1"], jax.nn.relu(linear(layers[f"{name}_0"], x)))


def pooled(layer: Tree, x: Array) -> Array:
    """A rectified layer over actions [..., A, I] -> [..., A, O]; each sees the mean of all beside its own input."""
    mean = jnp.broadcast_to(jnp.mean(x, axis=-2, keepdims=True), x.shape)
    return jax.nn.relu(linear(layer, jnp.concatenate([x, mean], axis=-1)))
