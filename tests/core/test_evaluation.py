"""Evaluation on held-out tasks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax.algorithms import make
from metarl_jax.core.evaluation import evaluate, even_chunk
from metarl_jax.envs import make as make_environment


def test_the_result_on_a_task_does_not_depend_on_the_other_tasks() -> None:
    """Nor on their order: agents that learned to pull the first or the second arm elsewhere would bring it along."""
    environment = make_environment("bandit", arms=3, pulls=8, rewards="gaussian")
    world = metarl_jax.make_algorithm("maml", hidden=(4,), envs=2, inner_lr=10.0).recipe(environment).window.world
    meta_params = world.learner.meta_init(jax.random.key(0))
    tasks = environment.Task(mean=jnp.array([[5.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 5.0, 0.0]]))
    run = jax.jit(lambda tasks: evaluate(world, meta_params, tasks, jax.random.key(2), 1).returns)
    one, other = run(tasks), run(jax.tree.map(lambda x: x[::-1], tasks))
    np.testing.assert_array_equal(one[1], other[1])
    assert np.any(one != other)


BANDIT = make_environment("bandit", arms=3, pulls=10)


def test_evaluation_by_expected_rewards_has_the_same_mean_and_less_variance() -> None:
    world = make("rl2", width=4).recipe(BANDIT).window.world
    params = world.learner.meta_init(jax.random.key(0))
    tasks = jax.vmap(lambda key: BANDIT.sample_task(key, "test"))(jax.random.split(jax.random.key(1), 2000))

    @functools.partial(jax.jit, static_argnums=0)
    def run(expected: bool) -> Any:
        return evaluate(world, params, tasks, jax.random.key(2), 0, expected=expected).returns[:, 0, 0]

    drawn, mean = run(False), run(True)
    assert mean.std() < drawn.std()
    np.testing.assert_allclose(drawn.mean(), mean.mean(), atol=4 * float(drawn.std()) / 2000**0.5)


@pytest.mark.parametrize(
    ("total", "most", "chunk"),
    [(200, 16, 10), (50, 16, 10), (50, 25, 25), (8, 16, 16), (7, 4, 4), (97, 16, 16), (5, 1, 1)],
)
def test_tasks_are_evaluated_in_equal_chunks_where_that_hardly_changes_their_size(
    total: int, most: int, chunk: int
) -> None:
    assert even_chunk(total, most) == chunk
