"""What an agent gets in tasks it has never seen: by adaptation and by episode, the same quota in every task."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import map_tasks
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.lifetime import Lifetime, LifetimeState, begin_lifetime
from metarl_jax.core.policy import random_policy
from metarl_jax.core.rollout import Scene, opening, rollout
from metarl_jax.core.types import Array, Experience, Key, Tree

CHUNK = 256  # tasks evaluated side by side: bounds the memory of the record


class Curve(NamedTuple):
    """Per task, reported adaptation and episode: [N, P, episodes]."""

    returns: Array
    lengths: Array  # steps
    terminated: Array  # 1 where the episode terminated, 0 where the clock ended it


def evaluate(
    lifetime: Lifetime,
    meta_params: Tree,
    tasks: Tree,
    key: Key,
    adaptations: int,
    greedy: Array | bool = False,
    *,
    stride: int = 1,
    episodes: int | None = None,
    envs: int = 1,
    expected: bool = False,
) -> Curve:
    """Adapt to each of `tasks` [N, ...] and report after 0, stride, 2 stride ... adaptations · stride turns.

    Every report is a trial of its own: `episodes` whole episodes (the environment's quota unless given) with blank
    memory, from which the agent's parameters do not learn. The numbers are means over `envs` such trials. `greedy`
    acts by the mode in the report; what is learned from is always sampled. Task i uses the i-th key, so a task's
    result does not depend on the others. With `expected` a reward is what the action pays on average, where the
    environment says so: the same return on average, with less noise.
    """
    episodes = episodes or lifetime.environment.trial_episodes

    def adapt(state: LifetimeState, key: Key) -> tuple[LifetimeState, None]:
        _, state = adapt_once(lifetime, meta_params, state, key)
        return state, None

    def report(state: LifetimeState, key: Key) -> Curve:
        return trial(lifetime, state, key, episodes, envs, greedy, expected)[1]

    def turn(state: LifetimeState, key: Key) -> tuple[LifetimeState, Curve]:
        adapt_key, report_key = jax.random.split(key)
        state, _ = jax.lax.scan(adapt, state, jax.random.split(adapt_key, stride))
        return state, report(state, report_key)

    def one(task: Tree, key: Key) -> Curve:
        birth_key, first_key, life_key = jax.random.split(key, 3)
        state = begin_lifetime(lifetime, meta_params, task, birth_key)
        first = report(state, first_key)
        _, later = jax.lax.scan(turn, state, jax.random.split(life_key, adaptations))
        return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, later)

    total = jax.tree.leaves(tasks)[0].shape[0]
    chunk = lifetime.default_chunk() if adaptations or lifetime.learner.shared else None  # the newborn act alike
    return map_tasks(one, min(chunk or CHUNK, CHUNK), tasks, jax.random.split(key, total))


def adapt_once(
    lifetime: Lifetime, meta_params: Tree, state: LifetimeState, key: Key
) -> tuple[Experience, LifetimeState]:
    """Act for one rollout of the lifetime and adapt to it."""
    open_key, act_key, adapt_key = jax.random.split(key, 3)
    environment, policy = lifetime.environment, lifetime.policy
    scene = opening(environment, policy, state.task, open_key, lifetime.envs) if lifetime.fresh else state.scene
    scene, seen = rollout(
        environment, policy, state.agent.params, state.task, scene, act_key, lifetime.steps, lifetime.quota
    )
    agent = lifetime.learner.adapt(meta_params, state.agent, seen, adapt_key)
    return seen, state._replace(agent=agent, scene=scene)


def trial(
    lifetime: Lifetime,
    state: LifetimeState,
    key: Key,
    episodes: int,
    envs: int,
    greedy: Array | bool,
    expected: bool = False,
    hold: bool = False,
) -> tuple[Scene, Curve]:
    """A trial of whole episodes with the agent as it is, [episodes], and where it ends if it is to `hold` there."""
    environment, policy = lifetime.environment, lifetime.policy
    open_key, act_key = jax.random.split(key)
    scene = opening(environment, policy, state.task, open_key, envs)
    steps = episodes * environment.horizon
    how = (steps, episodes, greedy, hold)
    scene, seen = rollout(environment, policy, state.agent.params, state.task, scene, act_key, *how)
    if expected and not isinstance(seen.expected_reward, tuple):
        seen = seen._replace(reward=seen.expected_reward)
    return scene, by_episode(seen, episodes)


def by_episode(experience: Experience, episodes: int) -> Curve:
    """Sums over each of the first `episodes` episodes of a rollout [T, E], averaged over E."""
    done = experience.terminated | experience.truncated
    index = jnp.cumsum(done, axis=0) - done  # [T, E]
    member = jax.nn.one_hot(index, episodes) * experience.weight[..., None]  # [T, E, episodes]

    def total(x: Array) -> Array:
        return jnp.mean(jnp.einsum("te,tek->ek", x, member), axis=0)

    ones = jnp.ones_like(experience.reward)
    return Curve(total(experience.reward), total(ones), total(experience.terminated.astype(ones.dtype)))


def random_curve(environment: Environment, tasks: Tree, key: Key, episodes: int | None = None) -> Curve:
    """The curve of an agent that acts at random, [N, 1, episodes]."""
    policy = random_policy(environment)
    lifetime = Lifetime(environment, policy, frozen(policy.init), adaptations=0, envs=1, steps=1)
    return evaluate(lifetime, {}, tasks, key, adaptations=0, episodes=episodes)
