"""The arm against the laws of mechanics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from samples import draw

from metarl_jax.core.types import Array
from metarl_jax.envs import make
from metarl_jax.envs import reacher as arm


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
    assert np.abs(draw(make("reacher"), 200, "train").gain).min() >= 0.6
