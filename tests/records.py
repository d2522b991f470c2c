"""Records of experience, built by hand or drawn at random."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Experience, Timestep

STEPS, ENVS = 30, 4


def experience(observation: Any, action: Any, reward: Any, first: Any, **more: Any) -> Experience:
    """A record [T, E] in which no episode ends and every step counts unless told otherwise."""
    observation, action, reward = jnp.asarray(observation), jnp.asarray(action), jnp.asarray(reward)
    blank, never = jnp.zeros_like(reward), jnp.zeros(reward.shape, bool)
    flags = {"terminated": never, "truncated": never, "final": never}
    values = {"log_prob": blank, "value": blank, "next_value": blank, "weight": blank + 1, **flags, **more}
    timestep = Timestep(observation, action, blank, jnp.asarray(first))
    return Experience(
        timestep=timestep, action=action, reward=reward, next_observation=observation, memory=(), **values
    )


def record(reward: Any, terminated: Any, truncated: Any, **more: Any) -> Experience:
    """An experience [T, 1] with the fields that returns read."""
    reward, terminated, truncated = (jnp.asarray(x)[:, None] for x in (reward, terminated, truncated))
    reward, done = reward.astype(jnp.float32), terminated | truncated
    blank, first = jnp.zeros_like(reward), jnp.concatenate([jnp.ones((1, 1), bool), done[:-1]])
    ends = {"terminated": terminated, "truncated": truncated}
    return experience(blank[..., None], blank.astype(int), reward, first, **ends, **more)


def drawn(envs: int = ENVS, states: int = 0, seed: int = 0) -> tuple[Experience, Array]:
    """A record and returns to predict. Environments stop counting at different times; `states` are seen one-hot."""
    generator = np.random.default_rng(seed)
    if states:
        observation = np.eye(states)[generator.integers(states, size=(STEPS, envs))]
    else:
        observation = generator.normal([3.0, -1.0], size=(STEPS, envs, 2))
    first = generator.random((STEPS, envs)) < 0.1
    first[0] = True
    weight = (np.arange(STEPS)[:, None] < generator.integers(STEPS // 2, STEPS, envs)).astype(float)
    target = 5.0 + 2.0 * observation[..., 0] + generator.normal(size=(STEPS, envs))
    seen = experience(observation, np.zeros((STEPS, envs), int), target, first, weight=jnp.asarray(weight))
    return seen, jnp.asarray(target)
