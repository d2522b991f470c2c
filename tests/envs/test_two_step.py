"""The two-step task: how a trial goes, and the value of a belief against all histories and against play."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.envs import make
from metarl_jax.envs.two_step import PLANETS, State, TwoStep, TwoStepTask
from metarl_jax.oracles import two_step

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


def test_without_spread_the_games_are_the_papers() -> None:
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


def test_belief_optimum_is_the_best_of_all_histories() -> None:
    """Odds that do not add up to 1, so that the planets teach unequally; every history of four trials."""
    task = TwoStepTask(np.array([0.7, 0.4]), np.array([0.95, 0.4]), np.float64(0.85))
    value = jax.jit(lambda: two_step.belief_value(TwoStep(trials=4), jax.tree.map(jnp.float32, task)))()
    assert tree_value(np.array([0.5, 0.5]), 4, task) == pytest.approx(float(value), abs=2e-4)


def tree_value(joint: np.ndarray, left: int, task: Any) -> float:
    """The optimum over the tree; `joint` [2] weighs which planet is good with what has been seen."""
    if left == 0:
        return 0.0
    swap = np.array([[task.stay, 1 - task.stay], [1 - task.stay, task.stay]])
    worth = []
    for planet in range(2):
        odds = task.reward if planet == 0 else task.reward[::-1]  # by which planet is good
        paid, unpaid = joint * odds, joint * (1 - odds)
        ahead = [tree_value(seen @ swap, left - 1, task) for seen in (paid, unpaid)]
        worth.append(float(paid.sum()) + ahead[0] + ahead[1])
    return max(float(first) * worth[0] + (1 - float(first)) * worth[1] for first in task.first)


def test_belief_optimum_is_what_the_filter_earns() -> None:
    """With the paper's odds both planets teach alike, so to go for the likelier reward is optimal."""
    environment, keys = TwoStep(), jax.random.split(jax.random.key(0), 4_000)

    def both(key: Any) -> tuple[Any, Any]:
        blind = two_step.filter_return(environment, key, PAPER)
        return blind, two_step.filter_return(environment, key, PAPER, sees=True)

    filtering, seeing = (np.asarray(x, float) for x in jax.jit(jax.vmap(both))(keys))
    value = float(jax.jit(lambda: two_step.belief_value(environment, PAPER))())
    assert abs(filtering.mean() - value) < 4 * filtering.std() / np.sqrt(4_000)
    assert abs(seeing.mean() - 74.0) < 4 * seeing.std() / np.sqrt(4_000)  # .8 x .9 + .2 x .1 a trial
    assert value == pytest.approx(70.585, abs=0.01)
