"""Policies: pure functions from what was perceived to a distribution over actions, with or without memory."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.distributions import Distribution, distribution_of
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.networks import gru_cell, mlp
from metarl_jax.core.types import Array, Key, Output, Timestep, Tree


class Policy(NamedTuple):
    """A policy as data. Whoever acts and whoever replays calls the same functions, so memory resets agree.

    `apply` takes one timestep with any leading axes; `unroll` takes [T, ...] and is what a replay differentiates:
    one batched call where there is no memory, a scan over nothing but the recurrence where there is.
    """

    init: Callable[[Key], Tree]
    initial_memory: Callable[[tuple[int, ...]], Tree]  # leading axes -> memory
    apply: Callable[[Tree, Tree, Timestep], tuple[Tree, Output]]
    unroll: Callable[[Tree, Tree, Timestep], Output]
    distribution: Distribution
    critic: bool  # whether `value` means anything
    has_memory: bool = False
    forgets: bool = True  # memory restarts with each episode; otherwise it lasts the whole trial


def mlp_policy(
    environment: Environment,
    hidden: Sequence[int] = (64, 64),
    *,
    critic: bool = False,
    context: int = 0,
    activation: Callable[[Array], Array] = jnp.tanh,
    spread: float = 1.0,
) -> Policy:
    """A memoryless policy over the observation, with a separate critic of the same widths if asked for.

    `context` appends that many free parameters, zero at first, to the observation (CAVIA, arXiv:1810.03642, eq. 3).
    `spread` is the standard deviation of the first actions, in halves of their legal range.
    """
    distribution = distribution_of(environment.action_space)
    inputs = environment.observation_space.shape[0] + context
    actor = mlp(inputs, hidden, distribution.size, head_scale=0.01, activation=activation)
    value = mlp(inputs, hidden, 1, activation=activation)
    discrete = isinstance(environment.action_space, Discrete)

    def init(key: Key) -> Tree:
        actor_key, critic_key = jax.random.split(key)
        params = {"actor": actor.init(actor_key)}
        if critic:
            params["critic"] = value.init(critic_key)
        if context:
            params["context"] = jnp.zeros(context)
        if not discrete:
            params["log_std"] = jnp.full(distribution.size, _initial_log_std(environment) + math.log(spread))
        return params

    def perceive(params: Tree, timestep: Timestep) -> Array:
        observation = timestep.observation
        if not context:
            return observation
        shape = (*observation.shape[:-1], context)
        return jnp.concatenate([observation, jnp.broadcast_to(params["context"], shape)], axis=-1)

    def output(params: Tree, timestep: Timestep) -> Output:
        features = perceive(params, timestep)
        head = actor.apply(params["actor"], features)
        estimate = value.apply(params["critic"], features)[..., 0] if critic else jnp.zeros(features.shape[:-1])
        return Output(head if discrete else (head, jnp.broadcast_to(params["log_std"], head.shape)), estimate)

    return Policy(
        init=init,
        initial_memory=lambda shape: (),
        apply=lambda params, memory, timestep: (memory, output(params, timestep)),
        unroll=lambda params, memory, timesteps: output(params, timesteps),
        distribution=distribution,
        critic=critic,
    )


def gru_policy(
    environment: Environment, width: int = 64, hidden: Sequence[int] = (), *, forgets: bool = False
) -> Policy:
    """A recurrent actor-critic that perceives its last action, its last reward and the starts of episodes.

    The heads read the memory beside the inputs, so what is visible needs no detour through the recurrence.
    """
    distribution = distribution_of(environment.action_space)
    discrete = isinstance(environment.action_space, Discrete)
    inputs = environment.observation_space.shape[0] + distribution.size + 2
    cell = gru_cell(inputs, width)
    actor = mlp(width + inputs, hidden, distribution.size, head_scale=0.01)
    value = mlp(width + inputs, hidden, 1)

    def init(key: Key) -> Tree:
        cell_key, actor_key, critic_key = jax.random.split(key, 3)
        params = {"cell": cell.init(cell_key), "actor": actor.init(actor_key), "critic": value.init(critic_key)}
        return params if discrete else {**params, "log_std": jnp.full(distribution.size, _initial_log_std(environment))}

    def initial_memory(shape: tuple[int, ...]) -> Array:
        return jnp.zeros((*shape, width))

    def perceive(timestep: Timestep) -> Array:
        action = timestep.previous_action
        action = jax.nn.one_hot(action, distribution.size) if discrete else action
        acted = ~timestep.first[..., None] if forgets else jnp.ones_like(timestep.first)[..., None]
        last = jnp.concatenate([action * acted, (timestep.previous_reward[..., None]) * acted], axis=-1)
        return jnp.concatenate([timestep.observation, last, timestep.first[..., None].astype(last.dtype)], axis=-1)

    def recall(memory: Array, first: Array) -> Array:
        return jnp.where(first[..., None], 0.0, memory) if forgets else memory

    def read(params: Tree, memory: Array, features: Array) -> Output:
        both = jnp.concatenate([memory, features], axis=-1)
        head = actor.apply(params["actor"], both)
        estimate = value.apply(params["critic"], both)[..., 0]
        return Output(head if discrete else (head, jnp.broadcast_to(params["log_std"], head.shape)), estimate)

    def apply(params: Tree, memory: Array, timestep: Timestep) -> tuple[Array, Output]:
        features = perceive(timestep)
        gates = cell.project(params["cell"], features)
        memory = cell.advance(params["cell"], recall(memory, timestep.first), gates)
        return memory, read(params, memory, features)

    def unroll(params: Tree, memory: Array, timesteps: Timestep) -> Output:
        features = perceive(timesteps)  # [T, ..., I]
        gates = cell.project(params["cell"], features)

        keep = 1.0 - timesteps.first[..., None] if forgets else jnp.ones((*timesteps.first.shape, 1))
        memories = cell.unroll(params["cell"], memory, gates, keep)
        return read(params, memories, features)

    return Policy(init, initial_memory, apply, unroll, distribution, critic=True, has_memory=True, forgets=forgets)


def random_policy(environment: Environment) -> Policy:
    """Acts without looking: uniform over actions, or Gaussian on the scale of the legal ones. Has no parameters."""
    distribution = distribution_of(environment.action_space)
    zeros = jnp.zeros(distribution.size)
    discrete = isinstance(environment.action_space, Discrete)
    blind = zeros if discrete else (zeros, zeros + _initial_log_std(environment))

    def output(timestep: Timestep) -> Output:
        shape = timestep.first.shape
        return Output(jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, x.size)), blind), jnp.zeros(shape))

    return Policy(
        init=lambda key: {},
        initial_memory=lambda shape: (),
        apply=lambda params, memory, timestep: (memory, output(timestep)),
        unroll=lambda params, memory, timesteps: output(timesteps),
        distribution=distribution,
        critic=False,
    )


def _initial_log_std(environment: Environment) -> float:
    """Explore on the scale of the legal actions: a standard deviation of half their range."""
    space = environment.action_space
    assert not isinstance(space, Discrete)
    return math.log((space.high - space.low) / 2)
