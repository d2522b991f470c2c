"""The optimal return on a grid of known objects."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.grid import landings
from metarl_jax.envs.objects import Objects, ObjectsTask


def best_return(environment: Objects, task: ObjectsTask) -> Array:
    """The largest expected return of an episode with a known task, [] float32.

    Backward induction over the cell and the presence of the n objects, with an axis of size 2 for each object:
    V_h = max over moves of pay + (1 - P(end)) E V_{h-1}, with the expectation over which missing objects return. By
    Bellman's principle nothing does better. O(steps width^2 2^n).
    """
    n, moves = len(environment.kinds), landings(environment.width)
    returns = jnp.zeros(n) if task.returns is None else task.returns

    def backup(value: Array, _: None) -> tuple[Array, None]:
        worth = come_back(value, returns)
        for i in range(n):  # objects are in different cells
            after = come_back(value[task.place[i]][None], returns.at[i].set(0.0))[0]
            taken = task.pay[i] + (1.0 - task.ends[i]) * jnp.take(after, 0, axis=i)
            worth = worth.at[(task.place[i], *[slice(None)] * i, 1)].set(taken)
        return jnp.max(worth[moves], axis=0), None

    nothing = jnp.zeros((environment.width**2, *[2] * n))
    value: Array = jax.lax.scan(backup, nothing, None, length=environment.horizon)[0]
    return value[(environment.centre, *[1] * n)]


def come_back(value: Array, returns: Array) -> Array:
    """The expected value [cells, 2, ..., 2] one step later: a missing object comes back with its probability [n]."""
    for i in range(returns.size):
        missing, there = (jnp.take(value, index, axis=i + 1) for index in (0, 1))
        value = jnp.stack([missing + returns[i] * (there - missing), there], axis=i + 1)
    return value


def reference_returns(environment: Objects, key: Key, task: ObjectsTask) -> Array:
    """The expected return of the best policy that knows the task, in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
