"""References: every environment has the one that it names, and knowing the physics pays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import draw, mean_and_error

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key
from metarl_jax.envs import ENVIRONMENTS, make
from metarl_jax.oracles import driving, pendulum, reacher, reference
from metarl_jax.oracles.play import play


def at_random(environment: Environment) -> Callable[[Key, Any, Any], Array]:
    space: Any = environment.action_space
    return lambda key, state, task: jax.random.uniform(key, space.shape, minval=space.low, maxval=space.high)


REFERENCES: list[tuple[str, Any, float]] = [
    ("pendulum", pendulum, 200.0),
    ("reacher", reacher, 15.0),
    ("driving", driving, 3.0),
]


@pytest.mark.parametrize(("name", "oracle", "margin"), REFERENCES)
def test_knowing_the_physics_beats_nominal_physics_and_chance(name: str, oracle: Any, margin: float) -> None:
    """In order: at random, the same controller for nominal physics, the reference."""
    environment, n = make(name), 100
    tasks, keys = draw(environment, n, "train"), jax.random.split(jax.random.key(2), n)

    def rows(key: Key, task: Any) -> tuple[Array, Array, Array]:
        nominal = oracle.control_return(environment, oracle.nominal_task(), key, task)
        known = oracle.control_return(environment, task, key, task)
        return play(environment, at_random(environment), key, task).total, nominal, known

    blind, nominal, known = jax.jit(jax.vmap(rows))(keys, tasks)
    gain, error = mean_and_error(known - nominal)
    assert gain > max(margin, 3 * error)
    gain, error = mean_and_error(known - blind)
    assert gain > max(margin, 5 * error)


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_environment_has_the_reference_it_names(name: str) -> None:
    environment = make(name)
    returns = reference(environment)
    assert environment.reference is not None
    assert returns is not None
    values = returns(jax.random.key(0), draw(environment, 3))
    assert values.shape == (3, environment.trial_episodes)
    assert values.dtype == jnp.float32
    assert np.all(np.isfinite(values))


def test_an_environment_without_a_reference_has_none() -> None:
    assert reference(Environment()) is None
