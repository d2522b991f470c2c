"""Policies: pure functions from timesteps to distributions over actions, with or without memory."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.distributions import Distribution, distribution_of
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.memory import LANES, Memory, beside
from metarl_jax.core.networks import mlp
from metarl_jax.core.types import Array, Key, Output, Timestep, Tree


class Policy(NamedTuple):
    """A policy as data. Acting and replaying call the same functions, so memory resets agree.

    `apply` takes one timestep with any leading axes; `unroll` takes [T, ...] and is differentiated by a replay. It is
    one batched call for a policy without memory, and a loop over only the recurrence for a policy with memory. With
    None in place of the memory, it starts from a blank one.
    """

    init: Callable[[Key], Tree]
    initial_memory: Callable[[tuple[int, ...]], Tree]  # leading axes -> memory
    apply: Callable[[Tree, Tree, Timestep], tuple[Tree, Output]]
    unroll: Callable[[Tree, Tree, Timestep], Output]
    distribution: Distribution
    critic: bool  # whether `value` is an estimate
    predicts: bool = False  # whether `prediction` is there
    has_memory: bool = False
    trail: Callable[[Tree], Tree] = lambda memory: ()  # memory after a step -> its record
    at: Callable[[Tree, Tree, Array], Tree] = lambda start, trail, time: ()  # start, trail [T, E, ...], [E] -> memory
    lanes: int = LANES  # environments that are relived together on a CPU


def memoryless(
    init: Callable[[Key], Tree],
    output: Callable[[Tree, Timestep], Output],
    distribution: Distribution,
    *,
    critic: bool = False,
    predicts: bool = False,
) -> Policy:
    """The policy whose `output` is a function of its parameters and the timestep alone, with any leading axes."""
    return Policy(
        init=init,
        initial_memory=lambda shape: (),
        apply=lambda params, memory, timestep: (memory, output(params, timestep)),
        unroll=lambda params, memory, timesteps: output(params, timesteps),
        distribution=distribution,
        critic=critic,
        predicts=predicts,
    )


def mlp_policy(
    environment: Environment,
    hidden: Sequence[int] = (64, 64),
    *,
    critic: bool = False,
    context: int = 0,
    prediction: int = 0,
    activation: Callable[[Array], Array] = jnp.tanh,
    spread: Array | float = 1.0,
) -> Policy:
    """A memoryless policy over the observation, with a separate critic of the same widths if asked for.

    `context` appends that many free parameters, zero at first, to the observation (CAVIA, arXiv:1810.03642, eq. 3).
    `prediction` is the size M of a vector that a further network of the same widths predicts for a rule.
    `spread` is the standard deviation of the initial actions, in units of half their legal range.
    """
    distribution = distribution_of(environment.action_space)
    inputs = environment.observation_space.shape[0] + context
    actor = mlp(inputs, hidden, distribution.size, head_scale=0.01, activation=activation)
    value = mlp(inputs, hidden, 1, activation=activation)
    predictor = mlp(inputs, hidden, prediction, activation=activation)
    discrete = isinstance(environment.action_space, Discrete)

    def init(key: Key) -> Tree:
        actor_key, critic_key = jax.random.split(key)
        params = {"actor": actor.init(actor_key)}
        if critic:
            params["critic"] = value.init(critic_key)
        if prediction:
            params["prediction"] = predictor.init(jax.random.fold_in(critic_key, 1))
        if context:
            params["context"] = jnp.zeros(context)
        if not discrete:
            params["log_std"] = _initial_log_std(environment) + jnp.log(jnp.asarray(spread, float))
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
        predicted = predictor.apply(params["prediction"], features) if prediction else ()
        acting = head if discrete else (head, jnp.broadcast_to(params["log_std"], head.shape))
        return Output(acting, estimate, predicted)

    return memoryless(init, output, distribution, critic=critic, predicts=prediction > 0)


class Perception(NamedTuple):
    """The inputs of a memory: [observation, last action (one-hot), last reward, whether an episode begins]."""

    size: int
    features: Callable[[Timestep], Array]  # [...] -> [..., size]
    keep: Callable[[Timestep], Array]  # [...] -> [..., 1], 0 where the past must be forgotten


def perception(environment: Environment, forgets: bool = False, privileged: int = 0) -> Perception:
    """The perception of an environment without the last `privileged` numbers of its observation.

    With `forgets`, the memory is erased at the start of each episode.
    """
    size, discrete = distribution_of(environment.action_space).size, isinstance(environment.action_space, Discrete)
    seen = environment.observation_space.shape[0] - privileged

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
    privileged: int = 0,
    critic_hidden: Sequence[int] = (),
    critic_scale: float = 0.01,
    critic: bool = True,
) -> Policy:
    """An actor-critic, or without `critic` an actor, with a memory of its `Perception`.

    `remember` makes a memory with the given number of inputs. The heads read the memory together with its inputs, so
    that visible information need not pass through the memory; with a `sufficient` memory they read only the observation
    besides. With `separate` the critic has its own memory. Only the critic's head sees the last `privileged` numbers of
    an observation. Its layers are `critic_hidden`, or `hidden` if that is empty. The newborn critic's values enter the
    first advantages, so the weights of its head start at the small scale `critic_scale`.
    """
    distribution = distribution_of(environment.action_space)
    discrete = isinstance(environment.action_space, Discrete)
    perceive = perception(environment, forgets, privileged)
    memory = remember(perceive.size)
    width, sufficient = memory.width, memory.sufficient
    seen = environment.observation_space.shape[0] - privileged
    inputs = width + (seen if sufficient else perceive.size)
    memory = beside([memory, remember(perceive.size)]) if separate else memory
    actor = mlp(inputs, hidden, distribution.size, head_scale=0.01)
    value = mlp(inputs + privileged, critic_hidden or hidden, 1, head_scale=critic_scale)

    def init(key: Key) -> Tree:
        memory_key, actor_key, critic_key = jax.random.split(key, 3)
        params = {"memory": memory.init(memory_key), "actor": actor.init(actor_key)}
        params = {**params, "critic": value.init(critic_key)} if critic else params
        return params if discrete else {**params, "log_std": _initial_log_std(environment)}

    def read(params: Tree, readout: Array, timestep: Timestep, features: Array) -> Output:
        visible = timestep.observation[..., :seen] if sufficient else features
        acting = jnp.concatenate([readout[..., :width], visible], axis=-1)
        judging = jnp.concatenate([readout[..., width:], visible], axis=-1) if separate else acting
        judging = jnp.concatenate([judging, timestep.observation[..., seen:]], axis=-1) if privileged else judging
        head = actor.apply(params["actor"], acting)
        estimate = value.apply(params["critic"], judging)[..., 0] if critic else jnp.zeros(head.shape[:-1])
        return Output(head if discrete else (head, jnp.broadcast_to(params["log_std"], head.shape)), estimate)

    def apply(params: Tree, state: Tree, timestep: Timestep) -> tuple[Tree, Output]:
        features = perceive.features(timestep)
        state, readout = memory.step(params["memory"], state, features, perceive.keep(timestep))
        return state, read(params, readout, timestep, features)

    def unroll(params: Tree, state: Tree, timesteps: Timestep) -> Output:
        features = perceive.features(timesteps)  # [T, ..., I]
        state = memory.newborn(features.shape[1:-1]) if state is None else state
        readout = memory.unroll(params["memory"], state, features, perceive.keep(timesteps))
        return read(params, readout, timesteps, features)

    return Policy(
        init,
        memory.blank,
        apply,
        unroll,
        distribution,
        critic=critic,
        has_memory=width > 0,
        trail=memory.trail,
        at=memory.at,
        lanes=memory.lanes,
    )


def random_policy(environment: Environment) -> Policy:
    """A policy without parameters that ignores observations: uniform, or Gaussian on the scale of legal actions."""
    distribution = distribution_of(environment.action_space)
    zeros = jnp.zeros(distribution.size)
    discrete = isinstance(environment.action_space, Discrete)
    blind = zeros if discrete else (zeros, _initial_log_std(environment))

    def output(params: Tree, timestep: Timestep) -> Output:
        shape = timestep.first.shape
        return Output(jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, x.size)), blind), jnp.zeros(shape))

    return memoryless(lambda key: {}, output, distribution)


def _initial_log_std(environment: Environment) -> Array:
    """The initial log standard deviation [A]: half the legal range of the actions."""
    space = environment.action_space
    assert not isinstance(space, Discrete)
    return jnp.full(space.shape, math.log((space.high - space.low) / 2), float)
