"""The two-step task: the value of a belief against all histories and against play."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from envs.test_two_step import PAPER

from metarl_jax.envs.two_step import TwoStep, TwoStepTask
from metarl_jax.oracles import two_step


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
