"""Returns in held-out tasks by adaptation and by episode, with the same quota of episodes in every task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import map_tasks
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import Life, World, begin, draws, run
from metarl_jax.core.policy import random_policy
from metarl_jax.core.rollout import Scene, opening, rollout
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree
from metarl_jax.core.window import fitting_chunk

CHUNK = 256  # tasks evaluated side by side: bounds the memory of the record


class Curve(NamedTuple):
    """Results by task, report and episode: [N, P, episodes]."""

    returns: Array
    lengths: Array  # steps
    terminated: Array  # 1 where the episode terminated, 0 where it was truncated


def evaluate(
    world: World,
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

    Every report is a separate trial of `episodes` whole episodes (by default the environment's quota). It starts with
    blank memory, and the agent's parameters do not learn from it. The numbers are means over `envs` such trials. With
    `greedy` the reports act by the mode, while the experience for adaptation is always sampled. Task i uses the i-th
    key, so its result does not depend on the other tasks. With `expected` rewards are replaced by their expectation
    given the action, where the environment provides it: the expected return is unchanged, with less noise.
    """
    episodes = episodes or world.environment.trial_episodes

    def report(life: Life) -> Curve:
        return trial(world, life, episodes, envs, greedy, expected)[1]

    curves: Curve = lived(world, meta_params, tasks, key, report, adaptations, stride)
    return curves


def lived(
    world: World,
    meta_params: Tree,
    tasks: Tree,
    key: Key,
    report: Callable[[Life], Any],
    reports: int,
    stride: int = 1,
) -> Any:
    """The reports [N, reports + 1, ...] of newborn agents in `tasks` [N, ...]; task i uses the i-th key."""

    def one(task: Tree, key: Key) -> Any:
        return reported(world, meta_params, begin(world, meta_params, task, key), reports, report, stride)[1]

    total = jax.tree.leaves(tasks)[0].shape[0]
    chunk = fitting_chunk(world) if reports or world.learner.shared else None  # newborns share parameters
    return map_tasks(one, even_chunk(total, min(chunk or CHUNK, CHUNK)), tasks, jax.random.split(key, total))


def even_chunk(total: int, most: int) -> int:
    """How many of `total` tasks to evaluate side by side: at most `most`.

    If a number above half of that divides the total, it is taken. Tasks that are left over would be a second program,
    which takes as long to compile as the first.
    """
    return next((size for size in range(most, most // 2, -1) if total % size == 0), most)


def adapted(
    world: World, meta_params: Tree, task: Tree, key: Key, adaptations: int, episodes: int
) -> tuple[Agent, Scene, Curve]:
    """The agent of one life in one task, the scene in which its last trial ended, and its curve [K+1, episodes]."""

    def report(life: Life) -> tuple[Scene, Curve]:
        return trial(world, life, episodes, 1, False, hold=True)

    life = begin(world, meta_params, task, key)
    life, (scenes, curve) = reported(world, meta_params, life, adaptations, report)
    return life.agent, jax.tree.map(lambda x: x[-1], scenes), curve


def reported(
    world: World, meta_params: Tree, life: Life, reports: int, report: Callable[[Life], Any], stride: int = 1
) -> tuple[Life, Any]:
    """The life after `reports` times `stride` turns, and its reports [reports + 1]: at first and after each stride."""

    def stretch(life: Life, _: None) -> tuple[Life, Any]:
        life, _ = run(world, meta_params, life, stride)
        return life, report(life)

    first = report(life)
    life, later = jax.lax.scan(stretch, life, None, length=reports)
    return life, jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, later)


def trial(
    world: World,
    life: Life,
    episodes: int,
    envs: int,
    greedy: Array | bool,
    expected: bool = False,
    hold: bool = False,
) -> tuple[Scene, Curve]:
    """A trial of whole episodes without adaptation, [episodes], and the scene after it, where `hold` stops it."""
    scene, seen = played(world, life, episodes, envs, greedy, hold=hold)
    if expected and not isinstance(seen.expected_reward, tuple):
        seen = seen._replace(reward=seen.expected_reward)
    return scene, by_episode(seen, episodes)


def played(
    world: World,
    life: Life,
    episodes: int,
    envs: int = 1,
    greedy: Array | bool = False,
    *,
    hold: bool = False,
    states: bool = False,
) -> tuple[Scene, Experience]:
    """The scene after a trial without adaptation and its record [T, E, ...], with `states` for drawings."""
    environment, policy = world.environment, world.policy
    open_key, act_key = jax.random.split(draws(life).observe)
    scene = opening(environment, policy, life.task, open_key, envs)
    steps = episodes * environment.horizon
    how = (steps, episodes, greedy, hold, states)
    return rollout(environment, policy, life.agent.params, life.task, scene, act_key, *how)


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
    world = World(environment, policy, frozen(policy.init), envs=1, steps=1)
    return evaluate(world, {}, tasks, key, adaptations=0, episodes=episodes)
