"""Random processes: the optimum against every policy, and learners that infer and plan."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from samples import draw, mean_and_error

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import RandomMDP
from metarl_jax.oracles import reference, tabular
from metarl_jax.oracles.tabular import Counts


def test_the_tabular_optimum_of_the_population_has_its_computed_value() -> None:
    mean, error = mean_and_error(reference(RandomMDP())(jax.random.key(0), draw(RandomMDP(), 10_000))[:, 0])
    assert abs(mean - 21.837) < 3 * np.hypot(error, 0.016)


def test_tabular_optimum_is_the_best_of_all_policies() -> None:
    """Every deterministic policy of a process of 3 states, 2 actions and 3 steps, one table a step."""
    task = jax.tree.map(np.asarray, RandomMDP(states=3, actions=2).draw_task(jax.random.key(5), "train"))
    tables = list(itertools.product(range(2), repeat=3))
    best = max(policy_value(task, plan) for plan in itertools.product(tables, repeat=3))
    np.testing.assert_allclose(tabular.optimal_value(task, 3)[0], best, rtol=1e-5)


def policy_value(task: Any, plan: tuple[tuple[int, ...], ...]) -> float:
    chance, total = np.array([1.0, 0.0, 0.0]), 0.0
    for table in plan:
        total += float(sum(chance[s] * task.reward_mean[s, table[s]] for s in range(3)))
        chance = sum(chance[s] * task.transition[s, table[s]] for s in range(3))
    return total


SMALL = RandomMDP(states=3, actions=2)


def test_the_posterior_has_the_moments_of_bayes() -> None:
    moves = jnp.zeros((3, 2, 3)).at[0, 1].set(jnp.array([4.0, 0.0, 2.0]))
    counts = Counts(moves, jnp.zeros((3, 2)).at[0, 1].set(-2.0))
    drawn = jax.jit(jax.vmap(lambda key: tabular.draw_process(counts, key)))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    expected = tabular.expected_process(counts)
    np.testing.assert_allclose(expected.transition[0, 1], np.array([5.0, 1.0, 3.0]) / 9.0, rtol=1e-6)
    np.testing.assert_allclose(expected.reward_mean[0], [1.0, -1.0 / 7.0], rtol=1e-6)  # N(1, 1) and six rewards
    np.testing.assert_allclose(drawn.transition.mean(axis=0), expected.transition, atol=0.01)
    np.testing.assert_allclose(drawn.reward_mean.mean(axis=0), expected.reward_mean, atol=0.03)
    np.testing.assert_allclose(drawn.reward_mean.var(axis=0)[0], [1.0, 1.0 / 7.0], rtol=0.05)
    np.testing.assert_allclose(drawn.transition.var(axis=0)[0, 1, 0], 5 / 9 * 4 / 9 / 10, rtol=0.05)


def test_the_plan_earns_the_value_that_it_promises() -> None:
    task = SMALL.draw_task(jax.random.key(5), "train")
    value, actions = tabular.optimal_plan(jax.tree.map(lambda leaf: leaf[None], task), 4)
    ahead = np.zeros(3)
    for table in np.asarray(actions)[::-1]:
        at = np.arange(3)
        ahead = np.asarray(task.reward_mean)[at, table] + np.asarray(task.transition)[at, table] @ ahead
    np.testing.assert_allclose(value, ahead, rtol=1e-5)


def test_planning_over_several_draws_is_at_least_as_optimistic_as_each() -> None:
    tasks = jax.vmap(lambda key: SMALL.draw_task(key, "train"))(jax.random.split(jax.random.key(1), 4))
    alone = jax.vmap(lambda task: tabular.optimal_value(task, 5))(tasks)
    assert np.all(tabular.optimal_plan(tasks, 5)[0] >= alone.max(axis=0) - 1e-5)


def test_learners_start_at_chance_and_end_near_the_optimum() -> None:
    environment = RandomMDP(states=3, actions=2, steps=10, episodes=40)
    learners = {
        "psrl": tabular.posterior_sampling(environment),
        "opsrl": tabular.posterior_sampling(environment, 3),
        "bonus": tabular.bonus(environment, 0.5),
    }

    def play(key: Key) -> dict[str, Array]:
        task_key, key = jax.random.split(key)
        task = environment.draw_task(task_key, "train")
        best = tabular.optimal_value(task, environment.steps)[0]
        return {name: tabular.learning_returns(environment, plan, key, task) - best for name, plan in learners.items()}

    gaps = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 300))
    for name, gap in gaps.items():
        by_episode = np.asarray(gap).mean(axis=0)
        assert by_episode[0] < -3.0, name
        assert -1.2 < by_episode[-10:].mean() < 0.2, name
