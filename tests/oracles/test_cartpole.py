"""The linear-quadratic controller of CartPole."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from samples import draw, mean_and_error

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import CartPole
from metarl_jax.envs.cartpole import State, advance
from metarl_jax.oracles import cartpole


@functools.cache
def control(physics: Any, flip: bool, nominal: bool) -> tuple[float, float]:
    environment = CartPole(physics=physics, flip=flip, episodes=1)
    tasks, keys = draw(environment, 200), jax.random.split(jax.random.key(2), 200)

    def one(key: Key, task: Any) -> Array:
        believed = cartpole.nominal_task() if nominal else task
        return cartpole.control_return(environment, believed, key, task)

    return mean_and_error(jax.jit(jax.vmap(one))(keys, tasks))


def test_known_physics_balance_the_pole() -> None:
    assert control("mild", True, False)[0] == 500.0
    assert control("wide", True, False)[0] > 488.0  # 496.3 over 2,000 tasks


def test_nominal_physics_do_not_balance_the_pole() -> None:
    """Half of the tasks swap the actions, and what balances the one half topples the other."""
    mean, error = control("mild", True, True)
    assert mean + 5 * error < 400.0


def test_the_gain_solves_the_riccati_equation() -> None:
    task = CartPole(physics="wide").draw_task(jax.random.key(3), "train")

    def move(numbers: Array, force: Array) -> Array:
        return cartpole.vector(advance(State(*numbers, time=jnp.int32(0)), force, task))  # type: ignore[misc]

    a, b = (np.asarray(m, float) for m in jax.jacobian(move, argnums=(0, 1))(jnp.zeros(4), jnp.float32(0.0)))
    cost = np.diag(cartpole.STATE_COST)
    p = scipy.linalg.solve_discrete_are(a, b[:, None], cost, np.array([[cartpole.FORCE_COST]]))
    np.testing.assert_allclose(cartpole.feedback(task), b @ p @ a / (cartpole.FORCE_COST + b @ p @ b), rtol=1e-3)
