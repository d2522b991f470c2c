"""Control environments: their physics against Gymnasium and the conservation laws, their references against others."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs import driving as car
from metarl_jax.envs import make
from metarl_jax.envs import pendulum as rod
from metarl_jax.envs import reacher as arm
from metarl_jax.envs.point import GoalTask, Plane
from metarl_jax.envs.point import State as PointState
from metarl_jax.oracles import driving, pendulum, point, reacher
from metarl_jax.oracles.play import play


def draw(environment: Environment, n: int, split: Split = "train") -> Any:
    return jax.jit(jax.vmap(lambda key: environment.sample_task(key, split)))(jax.random.split(jax.random.key(1), n))


def mean_and_error(values: Array) -> tuple[float, float]:
    sample = np.asarray(values, float)
    return float(sample.mean()), float(sample.std() / np.sqrt(sample.size))


def at_random(environment: Environment) -> Callable[[Key, Any, Any], Array]:
    space: Any = environment.action_space
    return lambda key, state, task: jax.random.uniform(key, space.shape, minval=space.low, maxval=space.high)


# Points in the plane.


def test_the_point_robot_is_paid_near_its_goal_alone() -> None:
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


def test_corners_pay_what_the_distance_leaves_of_the_radius() -> None:
    environment = make("corners", radius=1.5)
    task = environment.check_task({"goal": [2.0, -2.0]})
    for place, reward in [((2.0, -2.0), 1.5), ((1.0, -2.0), 0.5), ((0.4, -2.0), 0.0), ((2.0, 2.0), 0.0)]:
        step = environment.step(jax.random.key(0), PointState(jnp.array(place), jnp.int32(0)), jnp.zeros(2), task)
        np.testing.assert_allclose(step.reward, reward, atol=1e-6)


def test_corners_without_jitter_are_the_four_that_all_but_extrapolation_share() -> None:
    environment = make("corners", jitter=0.0)
    for split in ("train", "test"):
        goals = np.asarray(draw(environment, 100, split).goal)  # type: ignore[arg-type]
        assert {tuple(goal) for goal in goals} == set(itertools.product((-2.0, 2.0), repeat=2))
    between = np.abs(draw(environment, 100, "extrapolation").goal)
    assert np.all(between.max(axis=1) == 2.0)
    assert np.all(between.min(axis=1) <= 1.0)


@pytest.mark.parametrize(
    ("environment", "goal"),
    [
        (make("point_robot", steps=3), (0.33, -0.25)),
        (dataclasses.replace(make("corners", steps=3), radius=0.5), (-0.9, 0.5)),
    ],
)
def test_straight_on_is_not_beaten_by_a_grid_of_plans(environment: Plane, goal: tuple[float, float]) -> None:
    """All plans of three moves of -1, -1/2, 0, 1/2 or 1 stride an axis, played in the environment."""
    task, key = GoalTask(jnp.array(goal)), jax.random.key(3)
    best = float(point.best_return(environment, key, task))
    strides = np.array(list(itertools.product([-1.0, -0.5, 0.0, 0.5, 1.0], repeat=6))).reshape(-1, 3, 2)

    def total(plan: Array) -> Array:
        return play(environment, lambda key, state, task: plan[state.time], key, task).total

    totals = jax.jit(jax.vmap(total))(jnp.asarray(environment.STRIDE * strides, jnp.float32))
    assert best >= float(totals.max()) - 1e-5
    assert best > 0.0


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


# The pendulum.


def test_the_standard_pendulum_is_gymnasiums() -> None:
    """Step by step along a path of theirs, each step from their state."""
    theirs, ours = gymnasium.make("Pendulum-v1", disable_env_checker=True), make("pendulum")
    theirs.reset(seed=0)
    inner: Any = theirs.unwrapped
    step, task = jax.jit(ours.step), pendulum.nominal_task()
    actions = np.random.default_rng(0).uniform(-3.0, 3.0, (200, 1)).astype(np.float32)  # past the bounds, too
    for i, action in enumerate(actions):
        angle, speed = inner.state
        angle = (angle + math.pi) % (2.0 * math.pi) - math.pi
        observation, reward, _, truncated, _ = theirs.step(action)
        result = step(jax.random.key(0), rod.State(jnp.float32(angle), jnp.float32(speed), jnp.int32(i)), action, task)
        np.testing.assert_allclose(result.observation, observation, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.reward, reward, rtol=1e-5, atol=1e-6)
        assert bool(result.truncated) == truncated == (i == 199)
        assert not result.terminated
    theirs.close()


def test_friction_and_gain_act_on_the_joint() -> None:
    """A rod at rest above its pivot: I speed = step (gain torque - friction speed), I = m l^2 / 3."""
    task = rod.PendulumTask(*(jnp.float32(x) for x in (10.0, 0.6, 1.0, -1.5, 0.1)))
    turning = rod.advance(rod.State(jnp.float32(0.0), jnp.float32(2.0), jnp.int32(0)), jnp.float32(1.0), task)
    np.testing.assert_allclose(turning.speed, 2.0 + 0.05 * (-1.5 - 0.1 * 2.0) / 0.2, rtol=1e-6)


def test_the_pendulum_controller_is_near_the_best_on_a_grid() -> None:
    environment, task = make("pendulum"), pendulum.nominal_task()
    keys = jax.random.split(jax.random.key(2), 100)
    value = jax.jit(lambda: pendulum.cost_to_go(task, cells=61))()
    best = jax.jit(jax.vmap(lambda key: play(environment, pendulum.greedy(value), key, task).total))(keys)
    quick = jax.jit(jax.vmap(lambda key: pendulum.control_return(environment, task, key, task)))(keys)
    assert (
        1.15 * float(best.mean()) < float(quick.mean()) < float(best.mean())
    )  # costs: -140.4 and -151 over 500 starts


# The arm.


def still_arm(**numbers: Any) -> arm.ReacherTask:
    body = {"length": [0.6, 0.4], "mass": [0.7, 1.3], "gain": [1.0, 1.0], "friction": [0.0, 0.0]} | numbers
    return arm.ReacherTask(**{name: jnp.array(value) for name, value in body.items()})


ANGLE, SPEED = jnp.array([0.4, -1.1]), jnp.array([1.5, -2.5])


def energy(angle: Array, speed: Array, task: arm.ReacherTask) -> Array:
    return speed @ arm.apply(arm.mass_matrix(angle, task), speed) / 2.0


def test_the_mass_matrix_gives_the_energy_of_a_thousand_small_masses() -> None:
    task, share = still_arm(), (jnp.arange(1000) + 0.5) / 1000

    def places(angle: Array) -> Array:
        elbow = task.length[0] * jnp.stack([jnp.cos(angle[0]), jnp.sin(angle[0])])
        return jnp.stack([share[:, None] * elbow, elbow + share[:, None] * (arm.tip(angle, task) - elbow)])

    velocity = jax.jvp(places, (ANGLE,), (SPEED,))[1]  # [2, 1000, 2]
    kinetic = jnp.sum(task.mass * jnp.mean(jnp.sum(velocity**2, axis=-1), axis=-1)) / 2.0
    np.testing.assert_allclose(energy(ANGLE, SPEED, task), kinetic, rtol=1e-4)


def test_a_free_arm_keeps_its_energy_and_its_angular_momentum() -> None:
    """Without torque and friction both stay, but for an error of the order of the step."""
    task = still_arm()

    def drift(step: float) -> np.ndarray:
        def forward(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            return arm.advance(*carry, jnp.zeros(2), task, step)

        end = jax.jit(lambda: jax.lax.fori_loop(0, round(1.0 / step), forward, (ANGLE, SPEED)))()
        laws = [
            (energy(angle, speed, task), arm.apply(arm.mass_matrix(angle, task), speed)[0])
            for angle, speed in ((ANGLE, SPEED), end)
        ]
        return np.abs(np.diff(np.array(laws), axis=0)[0] / np.array(laws)[0])

    assert np.all(drift(0.0005) < 0.005)
    assert np.all(drift(0.0005) < 0.6 * drift(0.001) + 1e-4)


def test_friction_stops_the_arm_and_torque_is_work() -> None:
    task = still_arm(friction=[0.2, 0.2])
    angle, speed, lost = ANGLE, SPEED, 0.0
    for _ in range(10):
        before = energy(angle, speed, task)
        angle, speed = arm.advance(angle, speed, jnp.zeros(2), task, 0.01)
        assert energy(angle, speed, task) < before
    angle, speed, step = ANGLE, jnp.zeros(2), 1e-3
    torque = jnp.array([1.0, -0.5])
    for _ in range(50):
        new, speed = arm.advance(angle, speed, torque, still_arm(), step)
        angle, lost = new, lost + float(torque @ (new - angle))
    np.testing.assert_allclose(energy(angle, speed, still_arm()), lost, rtol=0.05)


def test_extrapolation_breaks_one_joint() -> None:
    gain = np.abs(draw(make("reacher"), 200, "extrapolation").gain)
    assert np.all(np.sum(gain <= arm.BROKEN, axis=1) == 1)
    assert 60 < np.sum(gain[:, 0] <= arm.BROKEN) < 140
    assert np.abs(draw(make("reacher"), 200).gain).min() >= 0.6


def test_the_arm_stops_at_its_target() -> None:
    """Played by hand on the nominal body: the tip is at the target in the end, at rest."""
    environment, task = make("reacher"), reacher.nominal_task()
    _, state = environment.reset(jax.random.key(5), task)
    goal, step, drive = reacher.plans(state, task)[0], jax.jit(environment.step), jax.jit(reacher.drive)
    for _ in range(50):
        state = step(jax.random.key(0), state, drive(state, goal, task), task).state
    assert float(jnp.linalg.norm(arm.tip(state.angle, task) - arm.tip(state.target, task))) < 0.02
    assert float(jnp.abs(state.speed).max()) < 0.2


def test_all_plans_of_the_arm_reach_the_target() -> None:
    environment = make("reacher")
    task = jax.tree.map(lambda leaf: leaf[0], draw(environment, 1))
    _, state = environment.reset(jax.random.key(5), task)
    goals = reacher.plans(state, task)
    reached = jax.vmap(lambda goal: arm.tip(goal, task))(goals)
    np.testing.assert_allclose(reached, jnp.broadcast_to(arm.tip(state.target, task), (8, 2)), atol=1e-5)
    assert len(np.unique(np.round(goals, 4), axis=0)) == 8


# The car.


def on_the_road(bend: float, **numbers: float) -> car.State:
    """A car on a road of constant curvature `bend`."""
    road = car.Road(*(jnp.zeros(car.WAVES).at[0].set(x) for x in (bend, 0.0, math.pi / 2)))
    values = {"distance": 0.0, "offset": 0.0, "heading": 0.0, "wheels": 0.0, "command": 0.0} | numbers
    return car.State(road, **{name: jnp.float32(x) for name, x in values.items()}, time=jnp.int32(0))


@pytest.mark.parametrize("offset", [-0.8, 0.0, 0.8])
def test_a_car_on_a_concentric_circle_stays_there(offset: float) -> None:
    """The circle at `offset` inside a road of radius 1 / bend has the curvature bend / (1 - bend offset)."""
    task, bend = driving.nominal_task()._replace(gain=jnp.float32(1.5)), 0.02
    limit = float(car.grip_limit(task))
    inner = bend / (1.0 - bend * offset)
    wheels = math.atan(float(task.wheelbase) * limit * math.atanh(inner / limit))
    state = on_the_road(bend, offset=offset, wheels=wheels)
    for _ in range(20):
        state = car.advance(state, jnp.float32(wheels / (1.5 * car.STEER)), task)
    np.testing.assert_allclose(state.offset, offset, atol=1e-4)
    np.testing.assert_allclose(state.heading, 0.0, atol=1e-5)
    np.testing.assert_allclose(state.distance, 20 * 0.1 * 11.0 / (1.0 - bend * offset), rtol=1e-4)


def test_tyres_bear_what_their_grip_allows() -> None:
    task = driving.nominal_task()
    wheels = jnp.linspace(-0.4, 0.4, 101)
    force = task.speed**2 * car.driven(wheels, task)
    assert float(jnp.abs(force).max()) < 0.8 * car.GRAVITY
    slow = task._replace(speed=jnp.float32(0.5))  # far from the limit the wheels alone decide
    np.testing.assert_allclose(car.driven(wheels, slow), jnp.tan(wheels) / 2.7, rtol=1e-3)


def test_wheels_follow_with_the_lag_to_gain_and_trim() -> None:
    task = driving.nominal_task()._replace(
        gain=jnp.float32(0.5), trim=jnp.float32(0.01), lag=jnp.float32(0.2), speed=jnp.float32(5.0)
    )
    state = on_the_road(0.0)
    for _ in range(2):  # one time constant
        state = car.advance(state, jnp.float32(1.0), task)
    np.testing.assert_allclose(state.wheels, (0.5 * car.STEER + 0.01) * (1.0 - math.exp(-1.0)), rtol=1e-5)


@pytest.mark.parametrize(
    ("numbers", "over"), [({"offset": 0.99}, False), ({"offset": 1.01}, True), ({"heading": -1.2}, True)]
)
def test_an_episode_ends_off_the_road(numbers: dict[str, float], over: bool) -> None:
    step = make("driving").step(jax.random.key(0), on_the_road(0.0, **numbers), jnp.zeros(1), driving.nominal_task())
    assert bool(step.terminated) == over
    np.testing.assert_allclose(step.reward, 1.0 / (1.0 + (float(step.state.offset) / 0.2) ** 2), rtol=1e-5)


# References.

REFERENCES: list[tuple[str, Any, float]] = [
    ("pendulum", pendulum, 200.0),
    ("reacher", reacher, 15.0),
    ("driving", driving, 3.0),
]


@pytest.mark.parametrize(("name", "oracle", "margin"), REFERENCES)
def test_knowing_the_physics_is_worth_something(name: str, oracle: Any, margin: float) -> None:
    """In order: at random, the same controller for nominal physics, the reference."""
    environment, n = make(name), 100
    tasks, keys = draw(environment, n), jax.random.split(jax.random.key(2), n)

    def rows(key: Key, task: Any) -> tuple[Array, Array, Array]:
        nominal = oracle.control_return(environment, oracle.nominal_task(), key, task)
        known = oracle.control_return(environment, task, key, task)
        return play(environment, at_random(environment), key, task).total, nominal, known

    blind, nominal, known = jax.jit(jax.vmap(rows))(keys, tasks)
    gain, error = mean_and_error(known - nominal)
    assert gain > max(margin, 3 * error)
    gain, error = mean_and_error(known - blind)
    assert gain > max(margin, 5 * error)
