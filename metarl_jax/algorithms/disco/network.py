"""The network of Disco103: what an agent should predict, from what it did (Oh et al. 2025, 10.1038/s41586-025-09761-x).

Own code after github.com/google-deepmind/disco_rl, disco_rl/networks/meta_nets.py and update_rules/disco.py.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.disco.layers import State, linear, lstm, perceptron, pooled
from metarl_jax.algorithms.disco.reading import Reading
from metarl_jax.algorithms.disco.weights import HIDDEN, LIFETIME
from metarl_jax.core.losses import weighted_mean
from metarl_jax.core.networks import to_rank
from metarl_jax.core.types import Array, Tree


class Targets(NamedTuple):
    """What the agent should predict, as logits."""

    policy: Array  # [T, E, A]
    y: Array  # [T, E, M]
    z: Array  # [T, E, M] given the action taken


def newborn() -> State:
    """The memory of a lifetime in which nothing has been learned yet."""
    return jnp.zeros(LIFETIME), jnp.zeros(LIFETIME)


def propose(rule: Tree, memory: State, reading: Reading) -> tuple[Targets, State]:
    """The targets of an update, and the memory of the lifetime after it.

    An LSTM runs backwards through each episode and so sees what followed each step. Its output is scaled by a function
    of the lifetime's memory, an LSTM that makes one step an update.
    """
    layers = rule["rollout"]
    features, of_actions = features_of(layers, reading)
    hidden = _backwards(layers["recurrence"], features, reading.edges.trace)
    hidden = hidden * to_rank(linear(layers["gain"], memory[0]), hidden.ndim)
    across = jnp.broadcast_to(hidden[..., None, :], (*of_actions.shape[:-1], HIDDEN))
    mixed = pooled(layers["policy_0"], jnp.concatenate([across, of_actions], axis=-1))
    targets = Targets(
        policy=linear(layers["policy_1"], mixed)[..., 0],
        y=linear(layers["y"], hidden),
        z=linear(layers["z"], hidden),
    )
    summary = linear(layers["summary"], hidden)
    return targets, _later(rule["lifetime"], memory, reading, summary, targets.y)


def _later(layers: Tree, memory: State, reading: Reading, summary: Array, y: Array) -> State:
    """The memory of the lifetime after one more update, of which it sees the mean over all steps."""
    features, _ = features_of(layers, reading)
    goal = perceptron(layers, "y", jax.nn.softmax(y))
    inputs = linear(layers["input"], jnp.concatenate([features, summary, goal], axis=-1))
    mean = jax.vmap(weighted_mean, (-1, None))(inputs, reading.weight)
    return lstm(layers["recurrence"], memory, mean)


def features_of(layers: Tree, reading: Reading) -> tuple[Array, Array]:
    """The features of steps [T, E, 27] and of actions [T, E, A, 2]."""
    worth, now, after = reading.worth, reading.now, reading.after
    z, next_z, slow_z, slow_next_z = (
        perceptron(layers, "z", view.z) for view in (now, after, reading.slow_now, reading.slow_after)
    )  # [T, E, A, 1]

    def taken(x: Array) -> Array:
        return jnp.sum(x * reading.action[..., None], axis=-2)

    def expected(policy: Array, x: Array) -> Array:
        return jnp.sum(x * policy[..., None], axis=-2)

    def over_actions(x: Array, following: Array) -> list[Array]:
        means = [expected(now.policy, x), expected(after.policy, following)]
        return [taken(x), *means, jnp.max(x, axis=-2), jnp.max(following, axis=-2)]

    of_actions = _embedded(layers, reading, z, slow_z)
    odds = taken(jnp.stack([now.policy, reading.behaviour, reading.slow_now.policy], axis=-1))  # [T, E, 3]
    numbers = [
        signed_log(reading.reward),
        reading.edges.bootstrap,
        signed_log(worth.value),
        signed_log(worth.next_value),
        signed_log(worth.advantage),
        worth.normalised_advantage,
    ]
    views = (now, after, reading.slow_now, reading.slow_after)
    features = [
        odds[..., :2],
        jnp.stack(numbers, axis=-1),
        odds[..., 2:],
        *(perceptron(layers, "y", view.y) for view in views),
        *over_actions(z, next_z),
        *over_actions(slow_z, slow_next_z),
        jnp.mean(of_actions, axis=-2),
        taken(of_actions),
    ]
    return jnp.concatenate(features, axis=-1), of_actions


def _embedded(layers: Tree, reading: Reading, z: Array, slow_z: Array) -> Array:
    """The features of the actions [T, E, A, 2]; the actions see one another's mean."""
    worth = reading.worth
    odds = jnp.stack([reading.now.policy, reading.behaviour, reading.slow_now.policy], axis=-1)
    numbers = [signed_log(worth.q), signed_log(worth.q_advantage), worth.normalised_q_advantage, reading.action]
    features = jnp.concatenate([odds, z, slow_z, jnp.stack(numbers, axis=-1)], axis=-1)  # [T, E, A, 9]
    return pooled(layers["action_1"], pooled(layers["action_0"], features))


def _backwards(layer: Tree, features: Array, trace: Array) -> Array:
    """The LSTM's output [T, E, H] from the last step to the first, forgetting at the ends of episodes."""

    def step(state: State, inputs: Any) -> tuple[State, Array]:
        features, keep = inputs
        state = lstm(layer, (state[0] * keep, state[1] * keep), features)
        return state, state[0]

    blank = jnp.zeros((*features.shape[1:-1], HIDDEN), features.dtype)
    return jax.lax.scan(step, (blank, blank), (features, trace[..., None]), reverse=True)[1]


def signed_log(x: Array) -> Array:
    """Sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))
