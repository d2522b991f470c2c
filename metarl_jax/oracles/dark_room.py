"""Dark Room: the known goal, and bounds of the optimal search from below and from above."""

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.dark_room import DarkRoom, DarkRoomTask
from metarl_jax.envs.room import cells
from metarl_jax.oracles import hunt


def best_return(environment: DarkRoom, task: DarkRoomTask) -> Array:
    """The largest return of an episode with a known goal, [] float32, in O(1).

    No walk ends a step on a goal at distance d = |row| + |column| before step max(d, 1); the walk that goes straight
    there and stays does at every later step. A hard room pays only for the first of them.
    """
    distance = jnp.maximum(jnp.sum(jnp.abs(task.goal)), 1)
    return jnp.clip(environment.steps - distance + 1, 0, paying(environment)).astype(float)


def paying(environment: DarkRoom) -> int:
    """How many of an episode's steps on the goal pay, at most."""
    return 1 if environment.hard else environment.steps


def search(environment: DarkRoom) -> hunt.Hunt:
    """The search for a goal that may be anywhere in the room."""
    room = cells(environment.reach)
    return hunt.Hunt(room, (0, 0), room, environment.steps, environment.episodes, paying(environment))


def search_returns(environment: DarkRoom, width: int = 10) -> np.ndarray:
    """The exact expected return, episode by episode, of one good policy, [episodes].

    It searches along `hunt.good_walk` until it finds the goal and then goes straight there in every episode: a lower
    bound of the Bayes optimum. The time is proportional to `width`, and a larger one rarely finds a worse walk.
    """
    problem = search(environment)
    return hunt.paying_steps(problem, hunt.good_walk(problem, width))


def upper_bound(environment: DarkRoom) -> float:
    """An upper bound on the expected return of a trial without knowledge of the goal; see `hunt.best_walk`."""
    problem = search(environment)
    return hunt.bound(problem, problem.root) / len(problem.goals)


def reference_returns(environment: DarkRoom, key: Key, task: DarkRoomTask) -> Array:
    """The reference agent's return in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
