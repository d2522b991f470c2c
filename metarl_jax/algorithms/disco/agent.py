"""The agent that Disco103 teaches: a policy, two predictions whose meaning the rule gives, and action values.

Own code after github.com/google-deepmind/disco_rl, disco_rl/networks/nets.py and action_models.py.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.disco.layers import layer, linear, lstm_gated, perceptron
from metarl_jax.algorithms.disco.values import BINS
from metarl_jax.algorithms.disco.weights import PREDICTION
from metarl_jax.core.distributions import distribution_of
from metarl_jax.core.environment import Environment
from metarl_jax.core.networks import to_rank
from metarl_jax.core.policy import Policy, memoryless
from metarl_jax.core.types import Array, Key, Output, Timestep, Tree

HEAD_SCALE = 0.01  # of the initial weights of policy and y


class Heads(NamedTuple):
    """The outputs of an agent, as logits."""

    policy: Array  # [..., A]
    y: Array  # [..., M]
    z: Array  # [..., A, M] given each action
    next_policy: Array  # [..., A, A] the policy after each action
    q: Array  # [..., A, BINS] the value of each action


def disco_policy(environment: Environment, hidden: Sequence[int], width: int) -> Policy:
    """A memoryless policy with the predictions that the rule teaches.

    The policy and y are linear in a torso. One step of an LSTM from a function of the torso, with an action as its
    input, leads to the predictions that are given that action (as in MuZero and Muesli).
    """
    distribution = distribution_of(environment.action_space)
    actions = distribution.size
    sizes = (environment.observation_space.shape[0], *hidden)
    outputs = {"z": PREDICTION, "next_policy": actions, "q": BINS}

    def init(key: Key) -> Tree:
        torso_key, *keys = jax.random.split(key, 5 + 2 * len(outputs))
        torso = [layer(k, *pair) for k, pair in zip(_keys(torso_key, hidden), itertools.pairwise(sizes), strict=True)]
        params = {
            "torso": torso,
            "actor": layer(keys[0], sizes[-1], actions, HEAD_SCALE),
            "y": layer(keys[1], sizes[-1], PREDICTION, HEAD_SCALE),
            "cell": layer(keys[2], sizes[-1], width),
            "transition": layer(keys[3], actions + width, 4 * width),
        }
        for i, (name, size) in enumerate(outputs.items()):
            params[f"{name}_0"] = layer(keys[4 + 2 * i], width, width)
            params[f"{name}_1"] = layer(keys[5 + 2 * i], width, size)
        return params

    def output(params: Tree, timestep: Timestep) -> Output:
        torso = timestep.observation
        for i, weights in enumerate(params["torso"]):
            torso = linear(weights, jax.nn.relu(torso) if i else torso)
        after = _after_each_action(params, torso, actions)
        given = (perceptron(params, name, after) for name in outputs)
        heads = Heads(linear(params["actor"], torso), linear(params["y"], torso), *given)
        return Output(heads.policy, jnp.zeros(torso.shape[:-1]), heads)

    return memoryless(init, output, distribution, predicts=True)


def _after_each_action(params: Tree, torso: Array, actions: int) -> Array:
    """The state [..., A, W] of the agent's model after each action."""
    cell = linear(params["cell"], torso)
    transition = params["transition"]
    recalled = linear({"w": transition["w"][actions:], "b": transition["b"]}, jnp.tanh(cell))
    each = to_rank(transition["w"][:actions], recalled.ndim + 1)
    gates = recalled[..., None, :] + each  # the product with every one-hot action
    return lstm_gated(cell[..., None, :], gates)[0]


def _keys(key: Key, hidden: Sequence[int]) -> list[Key]:
    return list(jax.random.split(key, len(hidden))) if hidden else []
