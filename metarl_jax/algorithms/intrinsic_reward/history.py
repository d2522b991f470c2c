"""Rewards that read what an agent lives, up to its whole history (Zheng et al. 2020, arXiv:1912.05500, §3).

A recurrent network reads every transition of the life, over the ends of episodes. Its memory belongs to the agent's
state, one for each environment. An agent is shared by its environments, and so is its history: the heads read the
memory of their own environment beside the mean of all.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.memories import make
from metarl_jax.core.networks import mlp
from metarl_jax.core.types import Array, Experience, Key, Tree

Read = Callable[[Tree, Tree, Experience, Array], tuple[Array, Tree]]


class Reader(NamedTuple):
    """A network of what an agent lives."""

    init: Callable[[Key], Tree]
    blank: Callable[[], Tree]  # the memory of a newborn agent
    read: Read  # params, memory, seen [T, E], clock [T + 1] -> its answers, memory after the record


def clock(age: Array, steps: int, records: int) -> Array:
    """The share of the life that is over before each step of a record and after its last, [T + 1]; it has `records`."""
    return (age * steps + jnp.arange(steps + 1, dtype=jnp.int32)).astype(float) / (records * steps)


def transition_reward(environment: Environment, hidden: tuple[int, ...]) -> Reader:
    """r_φ(s, a, s') of each step, [T, E], bounded by ±1."""
    size, features = _transitions(environment)
    network = mlp(size, hidden, 1, head_scale=0.01)

    def read(params: Tree, memory: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        return jnp.tanh(network.apply(params, features(seen))[..., 0]), memory

    return Reader(network.init, lambda: (), read)


def history_reward(environment: Environment, envs: int, width: int, hidden: tuple[int, ...], gain: float) -> Reader:
    """r_φ of the history up to and including each step, [T, E]: g r + tanh(network), where g, at first `gain`, is in φ.

    What the network adds is bounded by ±1.
    """
    memory = recurrence(environment, envs, width)
    head = mlp(memory.size + 2 * width, hidden, 1, head_scale=0.01)
    network = both(memory.init, head.init)

    def init(key: Key) -> Tree:
        return {**network(key), "gain": jnp.asarray(gain, float)}

    def read(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        inputs, readout, state = memory.unroll(params["memory"], state, seen, clock)
        answer = head.apply(params["head"], jnp.concatenate([shared(readout)[1:], inputs], axis=-1))
        return params["gain"] * seen.reward + jnp.tanh(answer[..., 0]), state

    return Reader(init, memory.blank, read)


def count_bonus(count: int, index: Callable[[Experience], Array], scale: float = 1.0) -> Reader:
    """The bonus φ / √n of a step to a place that all environments have visited n times in this life, [T, E].

    A reward by hand that reads the history (Strehl & Littman 2008). `index` numbers the places from 0 to `count` − 1,
    [T, E]; steps side by side count in their order.
    """

    def read(params: Tree, visits: Array, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        place = jax.nn.one_hot(index(seen), count)  # [T, E, S]
        so_far = visits + jnp.cumsum(place.reshape(-1, count), axis=0).reshape(place.shape)
        return params["scale"] / jnp.sqrt(jnp.sum(place * so_far, axis=-1)), so_far[-1, -1]

    return Reader(lambda key: {"scale": jnp.asarray(scale, float)}, lambda: jnp.zeros(count), read)


class Recurrence(NamedTuple):
    """A recurrent network over transitions; its readout [T + 1, E, W] begins with that before the record."""

    init: Callable[[Key], Tree]
    blank: Callable[[], Tree]
    unroll: Callable[[Tree, Tree, Experience, Array], tuple[Array, Array, Tree]]  # -> inputs, readout, memory after
    size: int  # of the inputs


def recurrence(environment: Environment, envs: int, width: int) -> Recurrence:
    """A gated recurrent unit that reads (s, a, s'), reward, ends of episodes and the clock."""
    size, features = _transitions(environment)
    size += 4
    gru = make("gru", size, width)

    def unroll(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Array, Tree]:
        what = features(seen)
        facts = (seen.reward, seen.terminated, seen.truncated)
        ends = jnp.stack([fact.astype(what.dtype) for fact in facts], axis=-1)
        inputs = jnp.concatenate([what, ends, over(clock[1:], what)], axis=-1)
        readout = gru.unroll(params, state, inputs, jnp.ones((*inputs.shape[:-1], 1), what.dtype))
        # The memory of a gated recurrent unit is its readout.
        return inputs, jnp.concatenate([state[0][None], readout]), (readout[-1],)

    return Recurrence(gru.init, lambda: gru.blank((envs,)), unroll, size)


def _transitions(environment: Environment) -> tuple[int, Callable[[Experience], Array]]:
    """The size of (s, a, s') as one vector, and that vector for each step of a record, [T, E, size]."""
    space = environment.action_space
    actions = space.n if isinstance(space, Discrete) else space.shape[0]

    def features(seen: Experience) -> Array:
        action = jax.nn.one_hot(seen.action, actions) if isinstance(space, Discrete) else seen.action
        return jnp.concatenate([seen.timestep.observation, action, seen.next_observation], axis=-1)

    return 2 * environment.observation_space.shape[0] + actions, features


def shared(readout: Array) -> Array:
    """Each environment's readout beside the mean of all, [..., E, W] -> [..., E, 2 W]."""
    mean = jnp.mean(readout, axis=-2, keepdims=True)
    return jnp.concatenate([readout, jnp.broadcast_to(mean, readout.shape)], axis=-1)


def over(clock: Array, like: Array) -> Array:
    """A number [T] for every environment of an array [T, E, ...], [T, E, 1]."""
    return jnp.broadcast_to(clock[:, None, None], (*like.shape[:-1], 1)).astype(like.dtype)


def both(memory: Callable[[Key], Tree], head: Callable[[Key], Tree]) -> Callable[[Key], Tree]:
    """The parameters of a memory and of the head that reads it."""

    def init(key: Key) -> Tree:
        memory_key, head_key = jax.random.split(key)
        return {"memory": memory(memory_key), "head": head(head_key)}

    return init
