"""Navigation."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.environment import Box
from metarl_jax.envs import make


def test_navigation_moves_then_rewards_then_ends() -> None:
    environment = make("navigation")
    task = environment.check_task({"goal": [0.15, -0.05]})
    _, state = environment.reset(jax.random.key(0), task)
    step = environment.step(jax.random.key(0), state, jnp.array([9.0, -0.05]), task)  # clipped to .1
    np.testing.assert_allclose(step.observation, [0.1, -0.05], rtol=1e-6)
    np.testing.assert_allclose(step.reward, -0.05, rtol=1e-5)
    assert not step.terminated
    step = environment.step(jax.random.key(0), step.state, jnp.array([0.045, 0.0]), task)
    np.testing.assert_allclose(step.reward, -0.005, rtol=1e-4)
    assert step.terminated
    assert not step.truncated
    assert isinstance(environment.action_space, Box)
