"""A small recurrent network that turns the gradient of every parameter into its update (arXiv:2407.07082, §4)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.networks import mlp
from metarl_jax.core.types import Array, Key, Tree

SQUARES = 0.999  # decay of the running mean of squared gradients
ROOT = 1e-8  # added to that mean inside the root, which is then twice differentiable at a zero gradient
SMALL = 1e-3  # numbers below it are read linearly, larger ones by their logarithm
RANGE = 3.0  # the network changes a step size by a factor between e⁻³ and e³


class UpdateState(NamedTuple):
    """What the optimiser remembers of an agent with P parameters."""

    taken: Array  # [] updates since birth
    momenta: Array  # [M, P] running means of the gradient
    squares: Array  # [P] running mean of its square
    hidden: Tree  # [P, W] memory of the network


class UpdateNetwork(NamedTuple):
    """The optimiser and the initial parameters of its network."""

    init: Callable[[Key], Tree]
    optimiser: optax.GradientTransformationExtraArgs  # reads φ["optimiser"] from its argument `meta_params`


def update_network(
    width: int, momenta: tuple[float, ...], rate: Array | float, sweeps: int, updates: int
) -> UpdateNetwork:
    """The optimiser θ ← θ − rate · exp(3 tanh o₁) · (m̂ / √v̂ + o₂), with (o₁, o₂) the network's outputs.

    m̂ and v̂ are the bias-corrected running means of the gradient, with the first decay of `momenta`, and of its square.
    The outputs start near zero, so the newborn optimiser is nearly Adam. Every parameter has the same network, with a
    hidden state of its own. The network reads the parameter and its gradient on a logarithmic scale, all momenta in
    units of √v̂, the depth of the layer, whether it belongs to the critic, and the shares of the life and of the
    sweeps over a rollout that have passed.

    Args:
        width: W, units of the recurrence.
        momenta: decays of the running means.
        rate: step size where the network has no say.
        sweeps: updates on each rollout.
        updates: updates in a whole life.
    """
    inputs = len(momenta) + 6
    memory = make_memory("gru", inputs, width)
    head = mlp(width + inputs, (), 2, head_scale=0.01)

    def init(key: Key) -> Tree:
        memory_key, head_key = jax.random.split(key)
        return {"memory": memory.init(memory_key), "head": head.init(head_key)}

    def newborn(params: Tree) -> UpdateState:
        zeros = jnp.zeros_like(ravel_pytree(params)[0])
        return UpdateState(jnp.int32(0), jnp.stack([zeros] * len(momenta)), zeros, memory.blank(zeros.shape))

    def update(gradients: Tree, state: UpdateState, params: Any = None, **read: Any) -> tuple[Tree, UpdateState]:
        network = read["meta_params"]["optimiser"]
        (gradient, unravel), parameter = ravel_pytree(gradients), ravel_pytree(params)[0]
        decays = jnp.asarray(momenta, float)[:, None]
        running = decays * state.momenta + (1 - decays) * gradient[None]
        squares = SQUARES * state.squares + (1 - SQUARES) * gradient**2
        taken = state.taken + 1
        mean = running / (1 - decays ** taken.astype(float))
        scaled = mean / jnp.sqrt(squares / (1 - SQUARES ** taken.astype(float)) + ROOT)[None]  # [M, P]
        ages = jnp.stack([state.taken, state.taken % sweeps]).astype(float) / jnp.asarray([updates, sweeps], float)
        passed = jnp.minimum(ages, 1.0)
        here = jnp.concatenate([places(params), jnp.broadcast_to(passed, (gradient.size, 2))], axis=1)
        features = jnp.concatenate([logarithmic(jnp.stack([parameter, gradient])).T, scaled.T, here], axis=1)
        hidden, readout = memory.step(network["memory"], state.hidden, features, jnp.ones((gradient.size, 1)))
        gain, more = head.apply(network["head"], jnp.concatenate([readout, features], axis=1)).T
        step = -rate * jnp.exp(RANGE * jnp.tanh(gain)) * (scaled[0] + more)
        return unravel(step), UpdateState(taken, running, squares, hidden)

    return UpdateNetwork(init, optax.GradientTransformationExtraArgs(newborn, update))


def logarithmic(x: Array) -> Array:
    """A smooth sign(x) log |x|, 0 at 0 and about 1 at 1."""
    return jnp.arcsinh(x / SMALL) / jnp.arcsinh(1 / SMALL)


def places(params: Tree) -> Array:
    """The place of every parameter, [P, 2]: the depth of its layer, from 0 to 1 at the head, and 1 in the critic."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/").split("/") for path, _ in leaves]
    layers = [tuple(path[:-1]) for path in paths]

    def depth(layer: tuple[str, ...]) -> float:
        network = sorted({other for other in layers if other[:-1] == layer[:-1]}, key=_order)
        return network.index(layer) / (len(network) - 1) if len(network) > 1 else 1.0

    rows = [(depth(layer), float("critic" in layer)) for layer in layers]
    return jnp.concatenate(
        [jnp.broadcast_to(jnp.asarray(row), (leaf.size, 2)) for row, (_, leaf) in zip(rows, leaves, strict=True)]
    )


def _order(layer: tuple[str, ...]) -> tuple[bool, int, tuple[str, ...]]:
    """Layers in the order of their numbers, the head last."""
    return layer[-1:] == ("head",), len("/".join(layer)), layer
