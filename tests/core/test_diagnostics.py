"""What is logged of the meta-gradient, against gradients that are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lives import MamlLives
from trees import close

from metarl_jax.algorithms.base import clipped
from metarl_jax.core.backprop import backprop
from metarl_jax.core.batching import Devices, chunks, mean_gradient
from metarl_jax.core.diagnostics import dead_leaves, diagnostics, followed, unmoved, variance
from metarl_jax.core.evolution import evolution
from metarl_jax.core.update import Lives, Now, Update, stepped

PARAMS = {"a": jnp.array([3.0, -1.0]), "b": {"c": jnp.array(0.5)}}


def test_a_step_is_that_of_the_optimiser_alone() -> None:
    """Bit for bit, over several steps, clipping included."""
    optimiser = optax.chain(clipped(1.0), optax.adam(0.1))
    gradients = [jax.tree.map(lambda x, s=s: s * jnp.cos(x + s), PARAMS) for s in (0.1, 2.0, 3.0)]
    watched, alone = (PARAMS, unmoved(optimiser, PARAMS)), (PARAMS, optimiser.init(PARAMS))
    for gradient in gradients:
        *watched, info = followed(optimiser, gradient, *watched)
        alone = stepped(optimiser, gradient, *alone)
        jax.tree.map(np.testing.assert_array_equal, (watched[0], watched[1].optimiser), tuple(alone))
        np.testing.assert_allclose(info["clipped"], optax.tree.norm(gradient) > 1.0)


def test_the_norm_and_the_cosine_with_the_last_gradient() -> None:
    one, other = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}, {"a": jnp.array([0.0, 2.0]), "b": jnp.array(2.0)}
    found = diagnostics(one, other)
    np.testing.assert_allclose(found["gradient_norm"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(found["gradient_cosine"], 8.0 / (5.0 * np.sqrt(8.0)), rtol=1e-6)
    assert diagnostics(one, jax.tree.map(jnp.zeros_like, one))["gradient_cosine"] == 0.0


def test_a_leaf_is_dead_where_its_gradient_alone_is_exactly_0() -> None:
    gradient = {"alive": jnp.array([0.0, 1e-30]), "dead": jnp.zeros(2), "apart": jnp.zeros(())}
    found = {path: bool(dead) for path, dead in dead_leaves(gradient, lambda path: "apart" not in path).items()}
    assert found == {"['alive']": False, "['dead']": True}
    assert diagnostics(gradient, gradient)["dead_leaves"] == 2
    silent = jax.tree.map(jnp.zeros_like, gradient)  # a batch without a signal says nothing about its leaves
    assert diagnostics(silent, silent)["dead_leaves"] == 0
    assert diagnostics({}, {}) == {"gradient_norm": 0.0, "gradient_cosine": 0.0, "dead_leaves": 0.0}


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])  # of ten tasks: some with a smaller last chunk
def test_the_variance_over_tasks_is_estimated_without_bias(chunk: int) -> None:
    """The gradient of φ · task is the task, whose variance is 1 + 4 + 9; exact for single tasks."""
    deviation, draws = jnp.array([1.0, 2.0, 3.0]), 2000
    tasks = 5.0 + deviation * jax.random.normal(jax.random.key(0), (draws, 10, 3))

    def estimate(tasks: Any) -> Any:
        inner = lambda φ, task: (φ @ task, ())  # noqa: E731
        _, gradient, moment, _ = mean_gradient(inner, chunk, jnp.zeros(3), tasks)
        return variance(gradient, moment, 10, chunks(10, chunk))["gradient_variance"]

    found = jax.jit(jax.vmap(estimate))(tasks)
    assert abs(found.mean() - 14.0) < 4 * found.std() / np.sqrt(draws)
    if chunk == 1:
        np.testing.assert_allclose(found, tasks.var(axis=1, ddof=1).sum(axis=1), rtol=1e-3)


def test_one_group_has_no_variance() -> None:
    assert variance(jnp.ones(2), jnp.ones(()), tasks=4, groups=1) == {}


def improved(update: Update, φ: Any, memory: Any, lives: Lives, seed: int = 0) -> Any:
    return update.improve(φ, memory, lives, Now(jnp.int32(0), jax.random.key(seed), Devices()))


def test_an_update_logs_the_gradient_that_it_follows() -> None:
    """Plain descent at rate 1 shows its gradient: norm, cosine with that of the step before, variance over tasks."""
    lives = MamlLives(tasks=4)
    update = backprop(lives.window, lives.objective, optax.sgd(1.0))
    step = jax.jit(lambda φ, memory: improved(update, φ, memory, Lives(lives.lives))[:3])
    φ, memory, gradients = lives.meta_params, update.init(lives.meta_params), []
    for _ in range(2):
        after, memory, info = step(φ, memory)
        gradients.append(jax.flatten_util.ravel_pytree(jax.tree.map(jnp.subtract, φ, after))[0])
        np.testing.assert_allclose(info["gradient_norm"], jnp.linalg.norm(gradients[-1]), rtol=1e-4)
        φ = after
    cosine = gradients[0] @ gradients[1] / jnp.linalg.norm(gradients[0]) / jnp.linalg.norm(gradients[1])
    np.testing.assert_allclose(info["gradient_cosine"], cosine, rtol=1e-3)
    one = jax.jit(lambda life: improved(update, φ, memory, Lives(jax.tree.map(lambda x: x[None], life)))[0])
    alone = [one(jax.tree.map(lambda x, i=i: x[i], lives.lives)) for i in range(4)]
    alone = [np.asarray(jax.flatten_util.ravel_pytree(after)[0]) for after in alone]
    np.testing.assert_allclose(step(φ, memory)[2]["gradient_variance"], np.var(alone, axis=0, ddof=1).sum(), rtol=1e-3)


def test_the_variance_of_evolution_is_that_over_pairs() -> None:
    """Of the same lives in many populations, the gradient varies by the variance over pairs, by their number."""
    lives, pairs = MamlLives(tasks=2, estimator="evolution"), 8
    update = evolution(lives.window._replace(chunk=None), lives.objective, optax.sgd(1.0), pairs=pairs, sigma=0.1)
    memory = update.init(lives.meta_params)

    @jax.jit
    @jax.vmap
    def one(key: Any) -> Any:
        now = Now(jnp.int32(0), key, Devices())
        after, _, info, _ = update.improve(lives.meta_params, memory, Lives(lives.lives), now)
        return jax.flatten_util.ravel_pytree(after)[0], info["gradient_variance"]

    after, found = one(jax.random.split(jax.random.key(3), 200))
    np.testing.assert_allclose(found.mean() / pairs, after.var(axis=0, ddof=1).sum(), rtol=0.1)


def test_a_traced_limit_clips_and_0_is_no_limit() -> None:

    def share(limit: Any) -> Any:
        return clipped(limit).update(PARAMS, clipped(limit).init(PARAMS))[1].clipped

    close(jax.vmap(share)(jnp.array([0.0, 1.0, 100.0])), jnp.array([0.0, 1.0, 0.0]))
