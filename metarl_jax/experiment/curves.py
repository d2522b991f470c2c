"""Adaptation curves on held-out tasks: of a trained learner, and of one that starts from scratch."""

from collections.abc import Callable

import jax
import numpy as np

from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import Curve, evaluate, lived, played, random_curve
from metarl_jax.core.life import Life, World
from metarl_jax.core.once import once
from metarl_jax.core.types import Array, Key, Split, Tree
from metarl_jax.experiment.config import recipe_of
from metarl_jax.experiment.memory import check_program

SCRATCH = "policy_gradient"
Schedule = tuple[int, int]  # reports after the first, and adaptations between two of them


def adaptation_curve(
    world: World,
    meta_params: Tree,
    tasks: Tree,
    key: Key,
    schedule: Schedule,
    *,
    greedy: bool = False,
    episodes: int | None = None,
    expected: bool = False,
) -> Curve:
    """The returns of agents that adapt to `tasks` [N, ...]: NumPy arrays [N, reports + 1, episodes]; see `evaluate`."""
    program = _compiled(world, schedule, episodes, expected)
    check_program(program, meta_params, tasks, key, greedy)
    return on_host(program(meta_params, tasks, key, greedy))


@once
def _compiled(world: World, schedule: Schedule, episodes: int | None, expected: bool) -> Callable[..., Curve]:
    """One program for sampled and greedy reports."""
    reports, stride = schedule

    @jax.jit
    def run(meta_params: Tree, tasks: Tree, key: Key, greedy: Array) -> Curve:
        return evaluate(
            world, meta_params, tasks, key, reports, greedy, stride=stride, episodes=episodes, expected=expected
        )

    return run


def step_rewards(world: World, meta_params: Tree, tasks: Tree, key: Key) -> np.ndarray:
    """The reward of each step of the first trial of newborn agents, [N, T]; they live as in `adaptation_curve`."""
    return np.asarray(_stepwise(world)(meta_params, tasks, key), np.float64)


@once
def _stepwise(world: World) -> Callable[[Tree, Tree, Key], Array]:
    def report(life: Life) -> Array:
        seen = played(world, life, world.environment.trial_episodes)[1]
        return (seen.reward * seen.weight)[:, 0]  # E = 1

    return jax.jit(lambda meta_params, tasks, key: lived(world, meta_params, tasks, key, report, 0)[:, 0])


def scratch_curve(environment: Environment, world: World, tasks: Tree, key: Key, schedule: Schedule) -> Curve:
    """The curve of a fresh network that learns each task by policy gradients from the same amount of experience.

    For comparison with a learner that adapts, it adapts as often and to rollouts of the same size. For comparison with
    a learner that learns in its memory, it adapts after each episode of the trial, and the return of episode e is that
    after e - 1 adaptations.
    """
    scratch = recipe_of(ALGORITHMS[SCRATCH](), environment).window.world
    if not world.learner.shared:
        same = {name: getattr(world, name) for name in ("envs", "steps", "quota", "fresh")}
        return adaptation_curve(scratch._replace(**same), {}, tasks, key, schedule)
    by_episode = scratch._replace(envs=world.envs, steps=environment.horizon, quota=1)
    curve = adaptation_curve(by_episode, {}, tasks, key, (environment.trial_episodes - 1, 1), episodes=1)
    return jax.tree.map(lambda field: np.swapaxes(field, 1, 2), curve)


def blind_curve(environment: Environment, tasks: Tree, key: Key) -> Curve:
    """The curve of an agent that acts at random, NumPy arrays [N, 1, episodes]."""
    return on_host(_blind(environment)(tasks, key))


@once
def _blind(environment: Environment) -> Callable[[Tree, Key], Curve]:
    return jax.jit(lambda tasks, key: random_curve(environment, tasks, key))


@once
def sampler(environment: Environment, split: Split) -> Callable[[Array], Tree]:
    """Tasks [N, ...] of a split, from keys [N]."""
    return jax.jit(jax.vmap(lambda key: environment.sample_task(key, split)))


def on_host(curve: Curve) -> Curve:
    """A curve as NumPy arrays."""
    return jax.tree.map(lambda field: np.asarray(field, np.float64), curve)
