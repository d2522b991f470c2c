"""Walks through environments, action by action."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Step


@functools.partial(jax.jit, static_argnums=0)
def perform(environment: Environment, task: Any, actions: Array) -> Step:
    """The steps of an episode that takes these actions [T], played on over its end."""
    _, start = environment.reset(jax.random.key(0), task)

    def step(state: Any, action: Array) -> tuple[Any, Step]:
        step = environment.step(jax.random.key(0), state, action, task)
        return step.state, step

    return jax.lax.scan(step, start, actions)[1]


def act(environment: Environment, numbers: dict[str, Any], *actions: int) -> Step:
    return perform(environment, environment.check_task(numbers), jnp.array(actions))


def walk_through(environment: Any, task: Any, actions: list[int], seed: int = 0) -> list[Step]:
    _, state = environment.reset(jax.random.key(seed), task)
    steps = []
    for i, action in enumerate(actions):
        steps.append(environment.step(jax.random.key(seed + i), state, jnp.int32(action), task))
        state = steps[-1].state
    return steps
