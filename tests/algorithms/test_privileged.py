"""The task in view of a policy or a critic."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.algorithms.privileged import with_task_in_view
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.envs import make as make_environment


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_task_in_view_lies_in_the_observation_space_and_differs_by_task(name: str) -> None:
    shown = with_task_in_view(make_environment(name))
    low, high, shape = shown.observation_space

    @jax.jit
    def first(key: Any) -> Any:
        task = shown.sample_task(key, "train")
        observation, state = shown.reset(jax.random.key(0), task)
        action = jnp.zeros(shown.action_space.shape, shown.action_space.dtype)
        return observation, shown.step(jax.random.key(1), state, action, task).observation

    seen = [first(key) for key in jax.random.split(jax.random.key(1), 8)]
    for observations in seen:
        for observation in observations:
            assert observation.shape == shape
            assert np.all((observation >= low - 1e-5) & (observation <= high + 1e-5))
    assert len({tuple(np.asarray(observation).tolist()) for observation, _ in seen}) > 1
