"""Points in the plane: their rewards, splits and options."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import draw

from metarl_jax.envs import make
from metarl_jax.envs.point import State as PointState


def test_the_point_robot_is_rewarded_only_near_its_goal() -> None:
    environment = make("point_robot")
    task = environment.check_task({"goal": [0.0, 1.0]})
    for place, reward in [((0.0, 0.79), 0.0), ((0.0, 0.81), 0.81), ((0.1, 1.0), 0.9), ((0.0, 1.0), 1.0)]:
        step = environment.step(jax.random.key(0), PointState(jnp.array(place), jnp.int32(18)), jnp.zeros(2), task)
        np.testing.assert_allclose(step.reward, reward, atol=1e-6)
        assert not step.terminated
        assert not step.truncated  # the 19th step
    assert environment.step(jax.random.key(0), step.state, jnp.zeros(2), task).truncated


def test_point_robot_splits_are_the_two_half_circles() -> None:
    for split, side in (("train", 1), ("test", 1), ("extrapolation", -1)):
        goals = draw(make("point_robot"), 100, split).goal  # type: ignore[arg-type]
        np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1.0, rtol=1e-5)
        assert np.all(side * goals[:, 1] >= 0)


def test_corners_pay_the_radius_minus_the_distance() -> None:
    environment = make("corners", radius=1.5)
    task = environment.check_task({"goal": [2.0, -2.0]})
    for place, reward in [((2.0, -2.0), 1.5), ((1.0, -2.0), 0.5), ((0.4, -2.0), 0.0), ((2.0, 2.0), 0.0)]:
        step = environment.step(jax.random.key(0), PointState(jnp.array(place), jnp.int32(0)), jnp.zeros(2), task)
        np.testing.assert_allclose(step.reward, reward, atol=1e-6)


def test_without_jitter_train_and_test_share_the_four_corners() -> None:
    environment = make("corners", jitter=0.0)
    for split in ("train", "test"):
        goals = np.asarray(draw(environment, 100, split).goal)  # type: ignore[arg-type]
        assert {tuple(goal) for goal in goals} == set(itertools.product((-2.0, 2.0), repeat=2))
    between = np.abs(draw(environment, 100, "extrapolation").goal)
    assert np.all(between.max(axis=1) == 2.0)
    assert np.all(between.min(axis=1) <= 1.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("corners", {"radius": 0.0}, r"radius is 0.0; it must lie in \(0, 2\]: choose radius=2"),
        ("corners", {"jitter": 0.6}, r"jitter is 0.6; it must lie in \[0, 0.5\]"),
        ("corners", {"jitter": math.nan}, "jitter is nan"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **options)
