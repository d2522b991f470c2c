"""The pendulum against Gymnasium's and against mechanics."""

import math
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.envs import make
from metarl_jax.envs import pendulum as rod
from metarl_jax.oracles import pendulum


def test_the_standard_pendulum_equals_gymnasiums() -> None:
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
