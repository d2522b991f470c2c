"""The bound of Navigation, on published goals, as paid, and against a grid of plans."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from samples import draw, mean_and_error

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import Navigation
from metarl_jax.oracles import navigation, reference
from metarl_jax.oracles.play import play


def test_navigation_is_exact_on_the_published_goals() -> None:
    goals = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))
    returns = jax.vmap(lambda goal: navigation.best_return(Navigation(), Navigation.Task(goal)))(
        jnp.asarray(goals, float)
    )
    assert abs(float(returns.mean()) + 0.544) < 0.0005
    mean, error = mean_and_error(reference(Navigation())(jax.random.key(0), draw(Navigation(), 20_000))[:, 0])
    assert abs(mean + 0.510) < 4 * error + 0.0005


def test_navigation_bound_is_what_the_environment_pays() -> None:
    environment = Navigation()
    tasks = draw(environment, 50)

    def act(key: Key, state: Any, task: Any) -> Array:
        return task.goal - state.position

    played = jax.jit(jax.vmap(lambda task: play(environment, act, jax.random.key(0), task).total))(tasks)
    bound = jax.vmap(lambda task: navigation.best_return(environment, task))(tasks)
    np.testing.assert_allclose(played, bound, atol=1e-5)


def test_navigation_bound_is_not_beaten_by_a_grid_of_plans() -> None:
    """All plans of three moves of 0, .05 or .1 an axis, toward a goal three steps away."""
    environment, task = Navigation(steps=3), Navigation.Task(jnp.array([0.23, 0.14]))
    strides = np.array(list(itertools.product([0.0, 0.05, 0.1], repeat=6))).reshape(-1, 3, 2)
    distance = np.linalg.norm(np.cumsum(strides, axis=1) - np.asarray(task.goal), axis=-1)
    best = float(navigation.best_return(environment, task))
    assert best >= -distance.sum(axis=1).min() > best - 0.1
