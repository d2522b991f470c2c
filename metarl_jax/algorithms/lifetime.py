"""Rewards and critics that read the whole history of an agent (Zheng et al. 2020, arXiv:1912.05500, §3).

A recurrent network reads every transition of the life, over the ends of episodes. Its memory belongs to the agent's
state, one for each environment. An agent is shared by its environments, and so is its history: the heads read the
memory of their own environment beside the mean of all.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.memories import make
from metarl_jax.core.networks import mlp
from metarl_jax.core.objective import AgentLoss
from metarl_jax.core.returns import Boundaries, gae
from metarl_jax.core.types import Agent, Array, Credit, Experience, Key, Record, Tree

Read = Callable[[Tree, Tree, Experience, Array], tuple[Array, Tree]]


class Reader(NamedTuple):
    """A network of what an agent lives."""

    init: Callable[[Key], Tree]
    blank: Callable[[], Tree]  # the memory of a newborn agent
    read: Read  # params, memory, seen [T, E], clock [T + 1] -> its answers, memory after the record


class Chronicle(NamedTuple):
    """What an agent remembers of its life."""

    age: Array  # [] int32 records read
    reward: Tree  # [E, ...] memory of the reward network
    critic: Tree  # [E, ...] memory of the lifetime critic


def clock(age: Array, steps: int, records: int) -> Array:
    """The share of the life that is over before each step of a record and after its last, [T + 1]; it has `records`."""
    return (age * steps + jnp.arange(steps + 1)) / (records * steps)


def transition_reward(environment: Environment, hidden: tuple[int, ...]) -> Reader:
    """r_φ(s, a, s') of each step, [T, E], bounded by ±1."""
    size, features = _transitions(environment)
    network = mlp(size, hidden, 1, head_scale=0.01)

    def read(params: Tree, memory: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        return jnp.tanh(network.apply(params, features(seen))[..., 0]), memory

    return Reader(network.init, lambda: (), read)


def history_reward(environment: Environment, envs: int, width: int, hidden: tuple[int, ...]) -> Reader:
    """r_φ of the history up to and including each step, [T, E], bounded by ±1."""
    memory = _remembered(environment, envs, width)
    head = mlp(memory.size + 2 * width, hidden, 1, head_scale=0.01)

    def read(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        inputs, readout, state = memory.unroll(params["memory"], state, seen, clock)
        answer = head.apply(params["head"], jnp.concatenate([_shared(readout)[1:], inputs], axis=-1))
        return jnp.tanh(answer[..., 0]), state

    return Reader(_both(memory.init, head.init), memory.blank, read)


def count_bonus(count: int, index: Callable[[Experience], Array], scale: float = 1.0) -> Reader:
    """The bonus φ / √n of a step to a place that all environments have visited n times in this life, [T, E].

    A reward by hand that reads the history (Strehl & Littman 2008). `index` numbers the places from 0 to `count` − 1,
    [T, E]; steps side by side count in their order.
    """

    def read(params: Tree, visits: Array, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        place = jax.nn.one_hot(index(seen), count)  # [T, E, S]
        so_far = visits + jnp.cumsum(place.reshape(-1, count), axis=0).reshape(place.shape)
        return params["scale"] / jnp.sqrt(jnp.sum(place * so_far, axis=-1)), so_far[-1, -1]

    return Reader(lambda key: {"scale": jnp.float32(scale)}, lambda: jnp.zeros(count), read)


def lifetime_critic(environment: Environment, envs: int, width: int, hidden: tuple[int, ...]) -> Reader:
    """V_φ of the history before each step and after the last, [T + 1, E]: the return from there to the life's end."""
    memory = _remembered(environment, envs, width)
    head = mlp(2 * width + 1, hidden, 1, head_scale=0.01)

    def read(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        _, readout, state = memory.unroll(params["memory"], state, seen, clock)
        features = jnp.concatenate([_shared(readout), _over(clock, readout)], axis=-1)
        return head.apply(params["head"], features)[..., 0], state

    return Reader(_both(memory.init, head.init), memory.blank, read)


def lifetime_loss(
    critic: Reader,
    outer: Loss,
    reward: Callable[[Experience], Array],
    records: int,
    gamma: Array | float,
    lambda_: Array | float,
    weight: Array | float,
) -> AgentLoss:
    """The policy loss with advantages of the lifetime return, and the error of the critic that estimates it.

    L(θ, φ) = −E[ π_θ / π_b · A_t ] + weight · ½ E[ (V_φ(h_t) − A_t − V(h_t))² ]

    Advantages and targets are data. The critic has parameters and a memory of its own, so that neither its error nor
    its targets move the reward network. The last of `records` ends the life; other records bootstrap from V_φ.
    """

    def loss(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        seen, memory = lived.seen, agent.state.memory
        now = clock(memory.age, len(seen.reward), records)
        value, _ = critic.read(meta_params["critic"], memory.critic, seen, now)
        data = jax.lax.stop_gradient(value)
        credit = lifetime_credit(reward(seen), data, memory.age + 1 >= records, gamma, lambda_)
        error = 0.5 * weighted_mean((value[:-1] - credit.target) ** 2, seen.weight)
        return outer.surrogate(agent.params, seen, credit) + weight * error

    return loss


def lifetime_credit(reward: Array, value: Array, ends: Array, gamma: Array | float, lambda_: Array | float) -> Credit:
    """Generalised advantages of the lifetime return [T, E], given the values [T + 1, E]; episodes do not cut it."""
    goes_on = jnp.ones_like(reward).at[-1].set(1.0 - ends)
    advantage = gae(reward, value[:-1], value[1:], Boundaries(goes_on, goes_on), gamma, lambda_)
    return Credit(advantage, value[:-1] + advantage)


class _Remembered(NamedTuple):
    """A recurrent network over transitions; its readout [T + 1, E, W] begins with that before the record."""

    init: Callable[[Key], Tree]
    blank: Callable[[], Tree]
    unroll: Callable[[Tree, Tree, Experience, Array], tuple[Array, Array, Tree]]  # -> inputs, readout, memory after
    size: int  # of the inputs


def _remembered(environment: Environment, envs: int, width: int) -> _Remembered:
    size, features = _transitions(environment)
    size += 4
    gru = make("gru", size, width)

    def unroll(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Array, Tree]:
        what = features(seen)
        ends = jnp.stack([seen.reward, seen.terminated, seen.truncated], axis=-1).astype(what.dtype)
        inputs = jnp.concatenate([what, ends, _over(clock[1:], what)], axis=-1)
        readout = gru.unroll(params, state, inputs, jnp.ones((*inputs.shape[:-1], 1), what.dtype))
        # The memory of a gated recurrent unit is its readout.
        return inputs, jnp.concatenate([state[0][None], readout]), (readout[-1],)

    return _Remembered(gru.init, lambda: gru.blank((envs,)), unroll, size)


def _transitions(environment: Environment) -> tuple[int, Callable[[Experience], Array]]:
    """The size of (s, a, s') as one vector, and that vector for each step of a record, [T, E, size]."""
    space = environment.action_space
    actions = space.n if isinstance(space, Discrete) else space.shape[0]

    def features(seen: Experience) -> Array:
        action = jax.nn.one_hot(seen.action, actions) if isinstance(space, Discrete) else seen.action
        return jnp.concatenate([seen.timestep.observation, action, seen.next_observation], axis=-1)

    return 2 * environment.observation_space.shape[0] + actions, features


def _shared(readout: Array) -> Array:
    """Each environment's readout beside the mean of all, [..., E, W] -> [..., E, 2 W]."""
    mean = jnp.mean(readout, axis=-2, keepdims=True)
    return jnp.concatenate([readout, jnp.broadcast_to(mean, readout.shape)], axis=-1)


def _over(clock: Array, like: Array) -> Array:
    """A number [T] for every environment of an array [T, E, ...], [T, E, 1]."""
    return jnp.broadcast_to(clock[:, None, None], (*like.shape[:-1], 1)).astype(like.dtype)


def _both(memory: Callable[[Key], Tree], head: Callable[[Key], Tree]) -> Callable[[Key], Tree]:
    def init(key: Key) -> Tree:
        memory_key, head_key = jax.random.split(key)
        return {"memory": memory(memory_key), "head": head(head_key)}

    return init
