"""Policies: pure functions from what was perceived to a distribution over actions, with or without memory."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.distributions import Distribution, distribution_of
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.memory import Memory, beside
from metarl_jax.core.networks import mlp
from metarl_jax.core.types import Array, Key, Output, Timestep, Tree


class Policy(NamedTuple):
    """A policy as data. Whoever acts and whoever replays calls the same functions, so memory resets agree.

    `apply` takes one timestep with any leading axes; `unroll` takes [T, ...] and is what a replay differentiates:
    one batched call where there is no memory, a loop over nothing but the recurrence where there is. Given None, it
    begins with a memory of nothing.
    """

    init: Callable[[Key], Tree]
    initial_memory: Callable[[tuple[int, ...]], Tree]  # leading axes -> memory
    apply: Callable[[Tree, Tree, Timestep], tuple[Tree, Output]]
    unroll: Callable[[Tree, Tree, Timestep], Output]
    distribution: Distribution
    critic: bool  # whether `value` means anything
    has_memory: bool = False
    trail: Callable[[Tree], Tree] = lambda memory: ()  # memory -> what is recorded of it after a step
    at: Callable[[Tree, Tree, Array], Tree] = lambda start, trail, time: ()  # start, trail [T, E, ...], [E] -> memory


def mlp_policy(
    environment: Environment,
    hidden: Sequence[int] = (64, 64),
    *,
    critic: bool = False,
    context: int = 0,
    activation: Callable[[Array], Array] = jnp.tanh,
    spread: Array | float = 1.0,
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
            params["log_std"] = _initial_log_std(environment) + jnp.log(jnp.asarray(spread, jnp.float32))
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


class Perception(NamedTuple):
    """What a memory is told: [observation, last action (one-hot), last reward, whether an episode begins]."""

    size: int
    features: Callable[[Timestep], Array]  # [...] -> [..., size]
    keep: Callable[[Timestep], Array]  # [...] -> [..., 1], 0 where the past is to be forgotten


def perception(environment: Environment, forgets: bool = False, told: int = 0) -> Perception:
    """The perception of an environment but for the last `told` numbers that it shows.

    One that `forgets` starts anew with each episode.
    """
    size, discrete = distribution_of(environment.action_space).size, isinstance(environment.action_space, Discrete)
    seen = environment.observation_space.shape[0] - told

    def keep(timestep: Timestep) -> Array:
        first = timestep.first[..., None]
        return 1.0 - first if forgets else jnp.ones(first.shape)

    def features(timestep: Timestep) -> Array:
        action, reward = timestep.previous_action, timestep.previous_reward[..., None]
        action = jax.nn.one_hot(action, size) if discrete else action
        last = jnp.concatenate([action, reward], axis=-1) * keep(timestep)
        first = timestep.first[..., None].astype(last.dtype)
        return jnp.concatenate([timestep.observation[..., :seen], last, first], axis=-1)

    return Perception(seen + size + 2, features, keep)


def memory_policy(
    environment: Environment,
    remember: Callable[[int], Memory],
    hidden: Sequence[int] = (),
    *,
    forgets: bool = False,
    separate: bool = False,
    told: int = 0,
    critic_hidden: Sequence[int] = (),
    critic_scale: float = 0.01,
) -> Policy:
    """An actor-critic with a memory of what its `Perception` tells.

    `remember` makes a memory of that many inputs. The heads read it beside the inputs, so that what is visible needs no
    detour through the memory; beside the observation alone, if the memory is `sufficient`. With `separate` the critic
    has a memory of its own. The last `told` numbers of an observation are for the critic's head alone. Its layers are
    `critic_hidden`, or else `hidden`. What a newborn critic makes of a memory would be the first credit, so the weights
    of its head begin at a small `critic_scale`.
    """
    distribution = distribution_of(environment.action_space)
    discrete = isinstance(environment.action_space, Discrete)
    perceive = perception(environment, forgets, told)
    memory = remember(perceive.size)
    width, sufficient = memory.width, memory.sufficient
    seen = environment.observation_space.shape[0] - told
    inputs = width + (seen if sufficient else perceive.size)
    memory = beside([memory, remember(perceive.size)]) if separate else memory
    actor = mlp(inputs, hidden, distribution.size, head_scale=0.01)
    value = mlp(inputs + told, critic_hidden or hidden, 1, head_scale=critic_scale)

    def init(key: Key) -> Tree:
        memory_key, actor_key, critic_key = jax.random.split(key, 3)
        params = {"memory": memory.init(memory_key), "actor": actor.init(actor_key), "critic": value.init(critic_key)}
        return params if discrete else {**params, "log_std": _initial_log_std(environment)}

    def read(params: Tree, said: Array, timestep: Timestep, features: Array) -> Output:
        visible = timestep.observation[..., :seen] if sufficient else features
        acting = jnp.concatenate([said[..., :width], visible], axis=-1)
        judging = jnp.concatenate([said[..., width:], visible], axis=-1) if separate else acting
        judging = jnp.concatenate([judging, timestep.observation[..., seen:]], axis=-1) if told else judging
        head = actor.apply(params["actor"], acting)
        estimate = value.apply(params["critic"], judging)[..., 0]
        return Output(head if discrete else (head, jnp.broadcast_to(params["log_std"], head.shape)), estimate)

    def apply(params: Tree, state: Tree, timestep: Timestep) -> tuple[Tree, Output]:
        features = perceive.features(timestep)
        state, said = memory.step(params["memory"], state, features, perceive.keep(timestep))
        return state, read(params, said, timestep, features)

    def unroll(params: Tree, state: Tree, timesteps: Timestep) -> Output:
        features = perceive.features(timesteps)  # [T, ..., I]
        state = memory.newborn(features.shape[1:-1]) if state is None else state
        said = memory.unroll(params["memory"], state, features, perceive.keep(timesteps))
        return read(params, said, timesteps, features)

    return Policy(
        init,
        memory.blank,
        apply,
        unroll,
        distribution,
        critic=True,
        has_memory=width > 0,
        trail=memory.trail,
        at=memory.at,
    )


def random_policy(environment: Environment) -> Policy:
    """Acts without looking: uniform over actions, or Gaussian on the scale of the legal ones. Has no parameters."""
    distribution = distribution_of(environment.action_space)
    zeros = jnp.zeros(distribution.size)
    discrete = isinstance(environment.action_space, Discrete)
    blind = zeros if discrete else (zeros, _initial_log_std(environment))

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


def _initial_log_std(environment: Environment) -> Array:
    """Explore on the scale of the legal actions, a standard deviation of half their range: [A]."""
    space = environment.action_space
    assert not isinstance(space, Discrete)
    return jnp.full(space.shape, math.log((space.high - space.low) / 2), jnp.float32)
