"""The best plan of a point in the plane."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Array
from metarl_jax.envs import make
from metarl_jax.envs.point import GoalTask, Plane
from metarl_jax.oracles import point
from metarl_jax.oracles.play import play


@pytest.mark.parametrize(
    ("environment", "goal"),
    [
        (make("point_robot", steps=3), (0.33, -0.25)),
        (dataclasses.replace(make("corners", steps=3), radius=0.5), (-0.9, 0.5)),
    ],
)
def test_going_straight_is_not_beaten_by_a_grid_of_plans(environment: Plane, goal: tuple[float, float]) -> None:
    """All plans of three moves of -1, -1/2, 0, 1/2 or 1 stride an axis, played in the environment."""
    task, key = GoalTask(jnp.array(goal)), jax.random.key(3)
    best = float(point.best_return(environment, key, task))
    strides = np.array(list(itertools.product([-1.0, -0.5, 0.0, 0.5, 1.0], repeat=6))).reshape(-1, 3, 2)

    def total(plan: Array) -> Array:
        return play(environment, lambda key, state, task: plan[state.time], key, task).total

    totals = jax.jit(jax.vmap(total))(jnp.asarray(environment.STRIDE * strides, jnp.float32))
    assert best >= float(totals.max()) - 1e-5
    assert best > 0.0
