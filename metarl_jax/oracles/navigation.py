"""The exact optimum of the navigation task when the goal is known."""

import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.navigation import TOLERANCE, Navigation
from metarl_jax.envs.point import GoalTask


def best_return(environment: Navigation, task: GoalTask) -> Array:
    """The largest return of an episode with a known goal g, [] float32, in O(steps).

    After t steps straight to the goal, the distance along an axis is max(|g_i| - .1 t, 0), and no policy can have less.
    So the straight walk minimises the cost of every step at once, and it is within the tolerance no later than any
    other policy, after which there are no costs. Hence R = -sum over t of |max(|g| - .1 t, 0)|, up to the first t
    within the tolerance.
    """
    t = jnp.arange(1, environment.steps + 1, dtype=float)[:, None]
    left = jnp.maximum(jnp.abs(task.goal)[None] - environment.STRIDE * t, 0.0)  # [T, 2]
    arrived = jnp.all(left < TOLERANCE, axis=-1).astype(jnp.int32)
    ended_before = jnp.cumsum(arrived, dtype=jnp.int32) - arrived > 0
    return -jnp.sum(jnp.linalg.norm(left, axis=-1), where=~ended_before)


def reference_returns(environment: Navigation, key: Key, task: GoalTask) -> Array:
    """The reference agent's return in each episode of a trial, [episodes]."""
    return jnp.full(environment.trial_episodes, best_return(environment, task))
