"""Slot machines: what dependent arms share, exact optima against brute force and published regret, players' ranks."""

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import Bandit, make
from metarl_jax.envs.two_arm import GAP, MISS, TwoArm
from metarl_jax.oracles import bandit


def draw(law: Any, split: Any, n: int = 200) -> np.ndarray:
    environment = TwoArm(law=law)
    keys = jax.random.split(jax.random.key(1), n)
    return np.asarray(jax.vmap(lambda key: environment.sample_task(key, split).mean)(keys))


@pytest.mark.parametrize(("law", "worse"), [("easy", 0.1), ("medium", 0.25), ("hard", 0.4)])
def test_a_two_task_law_has_its_two_tasks_in_either_split(law: str, worse: float) -> None:
    for split in ("train", "test"):
        means = draw(law, split)
        np.testing.assert_allclose(np.sort(means, axis=1), [[worse, 1.0 - worse]] * 200, rtol=1e-6)
        assert 60 < np.sum(means[:, 0] < 0.5) < 140


def test_arms_add_up_to_one_until_extrapolation_breaks_it() -> None:
    np.testing.assert_allclose(draw("uniform", "train").sum(axis=1), 1.0, rtol=1e-6)
    means = draw("uniform", "extrapolation")
    total = means.sum(axis=1)
    assert np.all(np.abs(total - 1.0) > MISS - 1e-6)
    assert 50 < np.sum(total < 1.0) < 150
    np.testing.assert_allclose(np.abs(np.diff(means, axis=1)), GAP, atol=1e-6)


@pytest.mark.parametrize("environment", [Bandit(pulls=4, clock=True), TwoArm(pulls=4, clock=True)])
def test_the_clock_tells_the_share_of_pulls_done(environment: Any) -> None:
    key = jax.random.key(3)
    task = environment.sample_task(key, "train")
    seen, state = environment.reset(key, task)
    shares = [float(seen[0])]
    for _ in range(4):
        step = environment.step(key, state, jnp.int32(0), task)
        shares, state = [*shares, float(step.observation[0])], step.state
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert float(Bandit(pulls=4).reset(key, task)[0][0]) == 1.0  # no clock, a constant


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown law 'esay'.*did you mean 'easy'"):
        make("two_arm", law="esay")


# Exact optima. Regret is what the better arm would have paid more, on average over the law.

KNOWN_ARMS = {"easy": 90.0, "medium": 75.0, "hard": 60.0, "uniform": 75.0}


@pytest.mark.parametrize(("law", "regret"), [("easy", 0.625), ("medium", 1.0), ("hard", 2.312), ("uniform", 1.221)])
def test_bayes_regret_of_dependent_arms(law: str, regret: float) -> None:
    assert abs(KNOWN_ARMS[law] - bandit.dependent_value(law, 100) - regret) < 6e-4


def test_bayes_regret_of_independent_arms() -> None:
    assert abs(200.0 / 3.0 - bandit.two_arms_value(100) - 1.748) < 6e-4


@pytest.mark.parametrize("pulls", [1, 2, 7])
def test_two_ways_to_the_optimum_of_two_arms(pulls: int) -> None:
    assert bandit.two_arms_value(pulls) == pytest.approx(bandit.bayes_value(2, pulls), rel=1e-12)


@pytest.mark.parametrize("law", ["easy", "hard"])
def test_dependent_optimum_is_the_best_of_all_histories(law: str) -> None:
    worse = Fraction(str(bandit.WORSE[law]))
    best = tree_value({worse: Fraction(1, 2), 1 - worse: Fraction(1, 2)}, 5)
    assert bandit.dependent_value(law, 5) == pytest.approx(float(best), rel=1e-12)


def tree_value(joint: dict[Fraction, Fraction], left: int) -> Fraction:
    """The optimum over the whole tree of choices and rewards; `joint` weighs each p1 with what has been seen."""
    if left == 0:
        return Fraction(0)
    values = []
    for arm in range(2):
        pays = {p: p if arm == 0 else 1 - p for p in joint}
        won = {p: weight * pays[p] for p, weight in joint.items()}
        lost = {p: weight * (1 - pays[p]) for p, weight in joint.items()}
        values.append(sum(won.values()) + tree_value(won, left - 1) + tree_value(lost, left - 1))
    return max(values)


def test_gittins_indices_of_the_last_two_pulls() -> None:
    """One pull left: the chance q. Two left: q - z + q (q' - z) = 0 with q' after a success, for z > q is too much to
    go on after a failure."""
    indices = np.asarray(jax.jit(lambda: bandit.gittins_indices(6))())
    won, lost = np.mgrid[:4, :4]
    chance, after = (won + 1) / (won + lost + 2), (won + 2) / (won + lost + 3)
    np.testing.assert_allclose(indices[1, :4, :4], chance, atol=1e-5)
    np.testing.assert_allclose(indices[2, :4, :4], chance * (1 + after) / (1 + chance), atol=1e-3)
    fresh = indices[1:, 0, 0]
    assert np.all(np.diff(fresh) > 0)  # the longer the horizon the more an unknown arm is worth


# Players.


def test_players_rank_as_they_should() -> None:
    """Chance < Thompson < its optimist < greedy < Gittins = Bayes, nearly; regrets of common tasks and rewards."""
    environment = Bandit()
    indices = bandit.gittins_indices(environment.pulls)
    players = {
        "thompson": bandit.thompson(environment),
        "optimistic": bandit.thompson(environment, optimistic=True),
        "greedy": bandit.epsilon_greedy(environment),
        "gittins": bandit.gittins(indices),
        "chance": bandit.epsilon_greedy(environment, 1.0),
        "ucb1": bandit.ucb1(environment, 0.2),
    }

    def regrets(key: Key) -> dict[str, Array]:
        task_key, key = jax.random.split(key)
        task = environment.draw_task(task_key, "train")
        best = environment.pulls * jnp.max(task.mean)
        return {name: best - bandit.expected_return(environment, choose, key, task) for name, choose in players.items()}

    played = jax.jit(jax.vmap(regrets))(jax.random.split(jax.random.key(0), 3_000))
    value = {name: 50.0 / 6.0 - float(np.mean(regret)) for name, regret in played.items()}
    assert abs(value["chance"] - 5.0) < 0.1
    assert value["chance"] + 0.5 < value["thompson"] < value["optimistic"] - 0.05 < value["greedy"] - 0.4
    assert value["thompson"] < value["ucb1"] - 0.4
    error = float(np.std(played["gittins"])) / np.sqrt(3_000)
    assert abs(value["gittins"] - 6.66) < 4 * error < 0.12
    assert value["greedy"] < value["gittins"] - 0.02
