"""The car: its road, tyres and wheels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.envs import driving as car
from metarl_jax.envs import make
from metarl_jax.oracles import driving


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
