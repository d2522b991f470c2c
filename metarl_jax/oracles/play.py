"""One episode of a policy that knows the state and the task."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key, Step, Tree

Act = Callable[[Key, Tree, Tree], Array]  # (key, state, task) -> action


class Episode(NamedTuple):
    """The outcome of an episode."""

    total: Array  # [] the sum of its rewards
    steps: Array  # [] int32
    terminated: Array  # [] bool: the task ended it, not the time limit


def play(environment: Environment, act: Act, key: Key, task: Tree) -> Episode:
    """Play one episode of `task` to its end, at most `environment.horizon` steps; vmap over keys and tasks."""
    key, start_key = jax.random.split(key)
    _, start = environment.reset(start_key, task)

    def goes_on(carry: tuple[Tree, Episode, Array]) -> Array:
        return ~carry[2]

    def advance(carry: tuple[Tree, Episode, Array]) -> tuple[Tree, Episode, Array]:
        state, episode, _ = carry
        act_key, step_key = jax.random.split(jax.random.fold_in(key, episode.steps))
        step: Step = environment.step(step_key, state, act(act_key, state, task), task)
        episode = Episode(episode.total + step.reward, episode.steps + 1, step.terminated)
        return step.state, episode, step.terminated | step.truncated

    nothing = Episode(jnp.asarray(0.0, float), jnp.int32(0), jnp.array(False))
    played: tuple[Tree, Episode, Array] = jax.lax.while_loop(goes_on, advance, (start, nothing, jnp.array(False)))
    return played[1]
