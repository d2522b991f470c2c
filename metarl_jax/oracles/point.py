"""The exact optimum of the sparse points in the plane, PointRobot and Corners, when the goal is known."""

import jax

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.point import GoalTask, Plane, State
from metarl_jax.oracles.play import play


def straight(key: Key, state: State, task: GoalTask) -> Array:
    """The displacement to the goal as an action, which the environment clips, [2]."""
    return task.goal - state.position


def best_return(environment: Plane, key: Key, task: GoalTask) -> Array:
    """The largest return of an episode with a known goal and the start drawn by `key`, [] float32, in O(steps).

    After t steps straight to the goal, the distance along an axis is max(|g_i - x_i| - stride t, 0), and no policy can
    have less, so the straight walk minimises the distance at every step at once. The reward of a step falls with the
    distance and is never negative, and no goal ends an episode. Hence the reward of every step is the largest possible.
    """
    return play(environment, straight, key, task).total


def reference_returns(environment: Plane, key: Key, task: GoalTask) -> Array:
    """The reference agent's return in each episode of a trial, [episodes]."""
    keys = jax.random.split(key, environment.episodes)
    return jax.vmap(lambda key: best_return(environment, key, task))(keys)
