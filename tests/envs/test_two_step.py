"""The two-step task: how a trial goes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.envs import make
from metarl_jax.envs.two_step import PLANETS, State, TwoStep, TwoStepTask

PAPER = TwoStepTask(jnp.array([0.8, 0.2]), jnp.array([0.9, 0.1]), jnp.float32(0.975))


@functools.cache
def steps(planet: int, action: int, n: int = 20_000) -> Any:
    state = State(jnp.int32(planet), jnp.int32(0), jnp.int32(0))
    keys = jax.random.split(jax.random.key(0), n)
    return jax.vmap(lambda key: TwoStep().step(key, state, jnp.int32(action), PAPER))(keys)


def test_the_first_step_travels_and_the_second_collects() -> None:
    travelled, collected = steps(PLANETS, 0), steps(1, 0)
    assert not np.any(travelled.reward)
    assert np.all(travelled.state.good == 0)
    assert np.all(travelled.state.trial == 0)
    assert abs(float(jnp.mean(travelled.state.planet == 0)) - 0.8) < 0.012
    assert abs(float(jnp.mean(collected.reward)) - 0.1) < 0.009
    assert abs(float(jnp.mean(collected.state.good)) - 0.025) < 0.005
    assert np.all(collected.state.planet == PLANETS)
    assert np.all(collected.state.trial == 1)


def test_a_game_terminates_after_its_trials() -> None:
    environment = TwoStep(trials=2)
    _, state = environment.reset(jax.random.key(0), PAPER)
    over = []
    for _ in range(4):
        step = environment.step(jax.random.key(1), state, jnp.int32(0), PAPER)
        state, over = step.state, [*over, bool(step.terminated)]
    assert over == [False, False, False, True]


def test_without_spread_the_tasks_are_those_of_the_paper() -> None:
    environment = TwoStep()
    draw = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "test")))
    tasks = draw(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_allclose(np.sort(tasks.first, axis=1), [[0.2, 0.8]] * 50, rtol=1e-5)
    assert 10 < np.sum(tasks.first[:, 0] > 0.5) < 40
    np.testing.assert_allclose(tasks.reward, [[0.9, 0.1]] * 50, rtol=1e-5)
    np.testing.assert_allclose(tasks.stay, 0.975, rtol=1e-5)


def test_spread_moves_every_number_within_reach_and_withholds_tasks() -> None:
    environment = TwoStep(spread=0.05)
    draw = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "test")))
    tasks = draw(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_allclose(np.sort(tasks.first, axis=1), [[0.2, 0.8]] * 200, atol=0.0501)
    np.testing.assert_allclose(tasks.reward, [[0.9, 0.1]] * 200, atol=0.0501)
    np.testing.assert_allclose(tasks.stay, 0.975, atol=0.01251)
    assert np.all(jax.vmap(environment.holds_out)(tasks))
    assert all(np.unique(leaf).size > 150 for leaf in tasks)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"spread is 0\.2; it must lie in \[0, 0\.05\]"):
        make("two_step", spread=0.2)
    with pytest.raises(ValueError, match="good planet first"):
        TwoStep().check_task(PAPER._replace(reward=[0.1, 0.9]))
