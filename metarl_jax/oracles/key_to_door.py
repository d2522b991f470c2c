"""Key-to-Door with a known key and a known door."""

import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.key_to_door import KeyToDoor, KeyToDoorTask
from metarl_jax.envs.room import cells


def best_return(environment: KeyToDoor, task: KeyToDoorTask) -> Array:
    """The largest return of an episode with a known task, averaged over its start, [] float32.

    No walk takes the key before step max(|start - key|, 1) or opens the door sooner than |key - door| steps later, in
    the metric of rows plus columns; the straight walk attains both. Each pays 1 if it is within the time limit. O(1),
    or O(cells) where the start is random. In the published room any start, key and door are reached within 32 of the 50
    steps, so the value is 2.
    """
    starts = jnp.asarray(cells(environment.radius) if environment.random_start else [(0, 0)], jnp.int32)
    to_key = jnp.maximum(jnp.sum(jnp.abs(task.key[None] - starts), axis=-1), 1)
    to_door = to_key + jnp.sum(jnp.abs(task.door - task.key))
    in_time = jnp.stack([to_key, to_door]) <= environment.steps  # [2, starts]
    return jnp.sum(jnp.mean(in_time, axis=-1, dtype=float))


def reference_returns(environment: KeyToDoor, key: Key, task: KeyToDoorTask) -> Array:
    """The reference agent's expected return in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
