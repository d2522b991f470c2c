"""The closed forms of the meta-gradient against series, differences, automatic differentiation and enumeration."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.learner import ESTIMATORS, Estimator
from metarl_jax.core.types import Array
from metarl_jax.envs.tabular import TabularTask
from metarl_jax.oracles.meta_gradient import (
    Process,
    action_values,
    adapted,
    curvature_limit,
    draw_process,
    hessian_parts,
    limit,
    meta_gradient,
    policy_gradient,
    state_values,
    value,
    visits,
)

RATE = 2.0


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


def problem(states: int = 5, actions: int = 3) -> tuple[Process, Array]:
    """A process that branches, and a policy that is not uniform."""
    task = draw_process(jax.random.key(0), states, actions, concentration=0.3)
    transition = task.transition / jnp.sum(task.transition, axis=-1, keepdims=True)
    theta = jax.random.normal(jax.random.key(1), (states, actions))
    return Process(TabularTask(transition, task.reward_mean), 0.8, start=1), theta


def differences(function: Any, x: Array, step: float = 1e-5) -> Array:
    """Central differences of a function of a table, by coordinates [S A, ...]."""
    moves = step * jnp.eye(x.size).reshape(x.size, *x.shape)
    return jax.vmap(lambda move: (function(x + move) - function(x - move)) / (2 * step))(moves)


def test_a_drawn_process_is_all_but_deterministic() -> None:
    task = draw_process(jax.random.key(0))
    assert task.transition.shape == (20, 5, 20)
    np.testing.assert_allclose(jnp.sum(task.transition, axis=-1), 1.0, atol=1e-6)
    assert jnp.mean(jnp.max(task.transition, axis=-1)) > 0.97
    assert (jnp.min(task.reward_mean) > 0.0) & (jnp.max(task.reward_mean) < 1.0)


def test_values_and_visits_are_sums_over_time() -> None:
    process, theta = problem()
    policy = jax.nn.softmax(theta)
    moves = jnp.einsum("sa,sat->st", policy, process.task.transition)
    reward = jnp.sum(policy * process.task.reward_mean, axis=1)
    at, total, often = jnp.eye(5)[process.start], 0.0, jnp.zeros(5)
    for time in range(200):
        total = total + process.gamma**time * at @ reward
        often = often + process.gamma**time * at
        at = at @ moves
    np.testing.assert_allclose(value(process, theta), total, rtol=1e-12)
    np.testing.assert_allclose(visits(process, theta), often, rtol=1e-12)
    np.testing.assert_allclose(
        jnp.sum(policy * action_values(process, theta), axis=1), state_values(process, theta), rtol=1e-12
    )


def test_the_gradient_and_the_hessian_equal_central_differences() -> None:
    process, theta = problem()
    total, gradient = functools.partial(value, process), functools.partial(policy_gradient, process)
    np.testing.assert_allclose(gradient(theta).ravel(), differences(total, theta), atol=1e-9)
    np.testing.assert_allclose(gradient(theta), jax.grad(total)(theta), atol=1e-12)
    whole = sum(hessian_parts(process, theta))
    np.testing.assert_allclose(whole, differences(gradient, theta).reshape(15, 15), atol=1e-8)


@pytest.mark.parametrize("baseline", [False, True])
def test_the_parts_make_up_the_hessian(baseline: bool) -> None:
    process, theta = problem()
    hessian = jax.hessian(functools.partial(value, process))(theta).reshape(15, 15)
    np.testing.assert_allclose(sum(hessian_parts(process, theta, baseline=baseline)), hessian, atol=1e-10)


def test_the_cross_terms_are_what_earlier_actions_do_to_later_values() -> None:
    """Σ d(s) π(a|s) (g ∇Qᵀ + ∇Q gᵀ), where the linear solve is differentiated."""
    process, theta = problem()
    weight = visits(process, theta)[:, None] * jax.nn.softmax(theta)
    score = jax.jacobian(jax.nn.log_softmax)(theta).reshape(5, 3, 15)
    later = jax.jacobian(functools.partial(action_values, process))(theta).reshape(5, 3, 15)
    one_way = jnp.einsum("sa,sax,say->xy", weight, score, later)
    np.testing.assert_allclose(hessian_parts(process, theta).cross, one_way + one_way.T, atol=1e-10)


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
def test_the_decayed_cross_terms_are_sums_over_trajectories(decay: float) -> None:
    """All paths of four steps through a process that pays nothing afterwards."""
    process = layered()
    theta = jax.random.normal(jax.random.key(2), (5, 2))
    policy, score = jax.nn.softmax(theta), jax.jacobian(jax.nn.log_softmax)(theta).reshape(5, 2, 10)
    worth, total = action_values(process, theta), jnp.zeros((10, 10))
    for states, actions in itertools.product(LAYERS, itertools.product(range(2), repeat=4)):
        path = list(zip(states, actions, strict=True))
        chance = jnp.prod(jnp.array([policy[step] for step in path]))
        chance *= jnp.prod(jnp.array([process.task.transition[*a, b[0]] for a, b in itertools.pairwise(path)]))
        for u, t in itertools.combinations(range(4), 2):
            product = jnp.outer(score[path[t]], score[path[u]])
            total += chance * process.gamma**t * decay ** (t - u) * worth[path[t]] * (product + product.T)
    np.testing.assert_allclose(hessian_parts(process, theta, decay).cross, total, atol=1e-12)


LAYERS = [(0, s, 3, 4) for s in (1, 2)]  # what a trajectory can meet; the last state pays nothing and is not left


def layered() -> Process:
    """State 0 leads to 1 or 2, both to 3, that to 4."""
    chance = jax.random.uniform(jax.random.key(3), (2,))
    transition = jnp.zeros((5, 2, 5)).at[0, :, 1].set(chance).at[0, :, 2].set(1 - chance)
    for state, following in ((1, 3), (2, 3), (3, 4), (4, 4)):
        transition = transition.at[state, :, following].set(1.0)
    return Process(TabularTask(transition, jax.random.uniform(jax.random.key(4), (5, 2)).at[4].set(0.0)), 0.8)


def test_without_decay_the_hessian_is_whole_and_with_none_kept_nothing_crosses() -> None:
    process, theta = problem()
    hessian = jax.hessian(functools.partial(value, process))(theta).reshape(15, 15)
    np.testing.assert_allclose(curvature_limit(process, theta, 1.0), hessian, atol=1e-10)
    np.testing.assert_array_equal(hessian_parts(process, theta, 0.0).cross, 0.0)


def test_the_baseline_matters_to_the_logarithm_alone() -> None:
    """Of a table, whose log-likelihood curves alike for all actions, advantages leave nothing."""
    process, theta = problem()
    for curvature in (0.0, 0.5):
        without = curvature_limit(process, theta, curvature, baseline=False)
        np.testing.assert_allclose(curvature_limit(process, theta, curvature), without, atol=1e-12)
    np.testing.assert_allclose(curvature_limit(process, theta, None), 0.0, atol=1e-12)
    assert jnp.linalg.norm(curvature_limit(process, theta, None, baseline=False)) > 0.1


@pytest.mark.parametrize("steps", [1, 2])
def test_the_meta_gradient_equals_central_differences(steps: int) -> None:
    process, theta = problem()

    def objective(theta: Array) -> Array:
        return value(process, adapted(process, theta, RATE, steps))

    exact = meta_gradient(process, theta, RATE, steps)
    np.testing.assert_allclose(exact.ravel(), differences(objective, theta), atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
def test_which_estimators_converge_to_the_meta_gradient(steps: int) -> None:
    process, theta = problem()
    exact = meta_gradient(process, theta, RATE, steps)
    estimators = ESTIMATORS | {"last": Estimator(1.0, depth=1), "first_order,dice": Estimator(1.0, depth=0)}
    ends = {name: limit(process, theta, RATE, estimator, steps) for name, estimator in estimators.items()}
    right = {name for name, end in ends.items() if jnp.linalg.norm(end - exact) < 1e-10}
    assert right == {"dice", "control_variates", "e_maml"} | ({"last"} if steps == 1 else set())
    np.testing.assert_allclose(ends["first_order"], policy_gradient(process, adapted(process, theta, RATE, steps)))
    np.testing.assert_allclose(ends["naive"], ends["first_order"], atol=1e-12)
