"""Samples of tasks and of what is earned in them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs.grid import Place
from metarl_jax.oracles.play import play


def draw(environment: Environment, n: int, split: Split | None = None, seed: int = 1) -> Any:
    """Tasks of a split; of the whole law of training, held-out tasks among them, where none is named."""
    sample = environment.draw_task if split is None else environment.sample_task
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.jit(jax.vmap(lambda key: sample(key, split or "train")))(keys)


@functools.cache
def drawn(environment: Environment, split: Split, n: int = 2_000) -> Any:
    return draw(environment, n, split)


def distinct(places: Array) -> set[Place]:
    return {(int(row), int(column)) for row, column in np.asarray(places)}


def mean_and_error(values: Array) -> tuple[float, float]:
    sample = np.asarray(values, float)
    return float(sample.mean()), float(sample.std() / np.sqrt(sample.size))


Plan = tuple[float, np.ndarray]  # the best return, and the actions by time and situation


def assert_pays(environment: Environment, task: Any, plan: Plan, situation: Any, n: int = 20_000) -> None:
    """The actions of the plan earn its value, within four standard errors over `n` episodes."""
    value, actions = plan[0], jnp.asarray(plan[1])

    def act(key: Key, state: Any, task: Any) -> Array:
        return actions[(state.time, *situation(state))]

    keys = jax.random.split(jax.random.key(2), n)
    total = np.asarray(jax.jit(jax.vmap(lambda key: play(environment, act, key, task).total))(keys))
    assert abs(total.mean() - value) < 4 * total.std() / np.sqrt(n)
