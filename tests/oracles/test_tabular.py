"""Learners of a finite decision process: their posterior is Bayes', they plan by it, and they learn."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs import RandomMDP
from metarl_jax.oracles import tabular
from metarl_jax.oracles.tabular import Counts

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


def test_several_draws_promise_at_least_what_each_does() -> None:
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
