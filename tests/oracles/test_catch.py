"""The reference of Catch against the whole tree of games."""

import jax
import numpy as np
import pytest
from envs.test_catch import game

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import make
from metarl_jax.envs.catch import CatchTask, State
from metarl_jax.oracles import catch, reference
from metarl_jax.oracles.play import play

TREES = [game(0.3), game(-0.8, -1), game(0.5, 1, 1), game(0.4, -1, 0, 2), game(0.0, 1, 0, 2)]


@pytest.mark.parametrize("task", TREES)
def test_the_reference_is_the_best_of_the_whole_tree(task: CatchTask) -> None:
    """The same optimum by recursion over every game on a board of 4 rows and 5 columns, in plain numbers."""
    wind, controls, half_width, speed = (float(number) for number in task)
    rows, columns = 4, 5

    def value(row: int, ball: int, paddle: int) -> float:
        if row >= rows - 1:
            return 1.0 if abs(ball - paddle) <= half_width else -1.0
        worths = []
        for move in (-1, 0, 1):
            new = min(max(paddle + int(controls) * move, 0), columns - 1)
            blown = min(max(ball + (1 if wind > 0 else -1), 0), columns - 1)
            still, moved = value(row + int(speed), ball, new), value(row + int(speed), blown, new)
            worths.append(abs(wind) * moved + (1.0 - abs(wind)) * still)
        return max(worths)

    best = np.mean([value(0, ball, 2) for ball in range(columns)])
    environment = make("catch", rows=rows, columns=columns)
    np.testing.assert_allclose(jax.jit(lambda: catch.best_return(environment, task))(), best, atol=1e-6)


def test_the_reference_is_what_its_play_earns_and_others_earn_less() -> None:
    """Played 2,000 times each: the plan for the game itself, the plan for calm and straight controls, and chance."""
    environment, n = make("catch"), 2_000
    keys = jax.random.split(jax.random.key(0), n)
    tasks = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "train")))(keys)

    def follow(believed: CatchTask, key: Key, task: CatchTask) -> Array:
        _, best = catch.optimal_values(environment, believed)
        return play(environment, lambda key, state, task: best[state.row, state.ball, state.paddle], key, task).total

    def at_random(key: Key, state: State, task: CatchTask) -> Array:
        return jax.random.randint(key, (), 0, 3)

    known = jax.jit(jax.vmap(lambda key, task: follow(task, key, task)))(keys, tasks)
    nominal = jax.jit(jax.vmap(lambda key, task: follow(game(), key, task)))(keys, tasks)
    blind = jax.jit(jax.vmap(lambda key, task: play(environment, at_random, key, task).total))(keys, tasks)
    returns = reference(environment)
    assert returns is not None
    expected = returns(jax.random.key(0), tasks)
    assert expected.shape == (n, 10)
    assert abs(float(known.mean() - expected[:, 0].mean())) < 4 * float(known.std()) / np.sqrt(n)
    assert known.mean() > nominal.mean() + 0.5
    assert nominal.mean() > blind.mean() + 0.1
