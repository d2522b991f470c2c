"""Returns, advantages and linear baselines against their definitions."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from records import ENVS, STEPS, drawn, record

from metarl_jax.core.returns import (
    Boundaries,
    boundaries,
    discounted_returns,
    episode_time,
    gae,
    leave_one_out_baseline,
    linear_baseline,
)
from metarl_jax.core.types import Array, Experience


def test_returns_stop_at_every_episode_end() -> None:
    seen = record([1.0, 2.0, 4.0, 8.0], [False, True, False, False], [False] * 4)
    returns = discounted_returns(seen.reward, 0.5 * boundaries(seen).trace)
    np.testing.assert_allclose(returns[:, 0], [2.0, 2.0, 8.0, 8.0])


def test_only_truncated_episodes_bootstrap() -> None:
    seen = record([0.0, 0.0, 0.0], [True, False, False], [False, True, False], next_value=jnp.full((3, 1), 10.0))
    advantage = gae(seen.reward, seen.value, seen.next_value, boundaries(seen), 0.9, 0.5)
    np.testing.assert_allclose(advantage[:, 0], [0.0, 9.0, 9.0])


def test_returns_of_a_trial_cross_episode_ends_up_to_the_quota() -> None:
    final = jnp.array([[False], [True], [False]])
    seen = record([1.0, 1.0, 1.0], [True, True, True], [False] * 3, final=final)
    np.testing.assert_array_equal(boundaries(seen, trial=True).trace[:, 0], [1.0, 0.0, 1.0])


def test_gae_with_lambda_one_is_the_return_less_the_value() -> None:
    generator = np.random.default_rng(0)
    reward, value = generator.normal(size=(2, 6, 3))
    after = np.concatenate([value[1:], np.zeros((1, 3))])
    ones = np.ones_like(reward)
    ones[-1] = 0
    advantage = gae(reward, value, after, Boundaries(ones, ones), 0.9, 1.0)
    np.testing.assert_allclose(advantage, discounted_returns(reward, 0.9 * ones) - value, rtol=1e-4, atol=1e-5)


def test_episode_time_restarts_with_each_episode() -> None:
    first = jnp.array([True, False, False, True, False])[:, None]
    np.testing.assert_array_equal(episode_time(first)[:, 0], [0, 1, 2, 0, 1])


def test_the_linear_baseline_is_the_weighted_least_squares_fit() -> None:
    generator = np.random.default_rng(1)
    observation, target = generator.normal(size=(40, 1, 2)), generator.normal(size=(40, 1))
    weight = (generator.random((40, 1)) < 0.8).astype(np.float32)
    seen = record(np.zeros(40), np.zeros(40, bool), np.zeros(40, bool), weight=jnp.asarray(weight))
    seen = seen._replace(timestep=seen.timestep._replace(observation=jnp.asarray(observation, jnp.float32)))
    t = np.arange(40)[:, None] / 100
    x, flat = (
        np.concatenate([observation[:, 0], observation[:, 0] ** 2, t, t**2, t**3, np.ones((40, 1))], 1),
        weight[:, 0],
    )
    solution = np.linalg.lstsq(x * flat[:, None] ** 0.5, target[:, 0] * flat**0.5, rcond=None)[0]
    np.testing.assert_allclose(linear_baseline(seen, jnp.asarray(target), ridge=0.0)[:, 0], x @ solution, atol=5e-2)
    lowered = jax.jit(lambda target: linear_baseline(seen, target)).lower(jnp.asarray(target))
    assert "lapack" not in lowered.as_text()  # batches of LAPACK calls never end on one core


RIDGE = 0.1
of_others = jax.jit(leave_one_out_baseline)
of_all = jax.jit(linear_baseline)


def without(seen: Experience, target: Array, left_out: int) -> np.ndarray:
    """Least squares by NumPy without one environment's data, evaluated in that environment, [T]."""
    time = np.asarray(episode_time(seen.timestep.first))[..., None] / 100.0
    observation = np.asarray(seen.timestep.observation)
    features = np.concatenate([observation, observation**2, time, time**2, time**3], axis=-1)  # [T, E, F]
    counts = np.asarray(seen.weight) > 0
    counts[:, left_out] = False
    x, y = features[counts], np.asarray(target)[counts]
    mean, spread = x.mean(axis=0), x.std(axis=0)
    rows = np.concatenate([x - mean, np.diag(np.sqrt(RIDGE * len(x)) * spread)])
    slope = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]), rcond=1e-12)[0]
    return np.clip(y.mean() + (features[:, left_out] - mean) @ slope, y.min(), y.max())


@pytest.mark.parametrize("states", [0, 5])
def test_each_environment_is_predicted_by_least_squares_on_the_others(states: int) -> None:
    """One-hot states have collinear features, and some steps do not count."""
    with jax.enable_x64(True):
        seen, target = drawn(states=states)
        found = jax.jit(functools.partial(leave_one_out_baseline, ridge=RIDGE))(seen, target)
    expected = np.stack([without(seen, target, env) for env in range(ENVS)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_baseline_is_the_same_in_float32_and_under_vmap() -> None:
    with jax.enable_x64(True):
        doubles = [of_others(*drawn(seed=seed)) for seed in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *(drawn(seed=seed) for seed in range(3)))
    singles = jax.jit(jax.vmap(leave_one_out_baseline))(*batch)
    assert singles.dtype == jnp.float32
    np.testing.assert_allclose(singles, np.stack(doubles), rtol=2e-3)


@pytest.mark.parametrize("envs", [2, ENVS])
def test_a_prediction_does_not_depend_on_the_returns_of_its_own_environment(envs: int) -> None:
    seen, target = drawn(envs)
    moved = target.at[:, 0].add(10.0 * jnp.sin(jnp.arange(STEPS)))
    before, after = of_others(seen, target), of_others(seen, moved)
    np.testing.assert_allclose(after[:, 0], before[:, 0], rtol=1e-5)
    assert np.abs(after[:, 1:] - before[:, 1:]).max() > 0.1
    assert np.abs(of_all(seen, moved) - of_all(seen, target))[:, 0].max() > 0.1


def test_steps_of_weight_zero_do_not_affect_the_baseline() -> None:
    seen, target = drawn()
    moved = jnp.where(seen.weight > 0, target, 1e3)
    np.testing.assert_allclose(of_others(seen, moved), of_others(seen, target), rtol=1e-5)


def test_without_other_environments_the_baseline_is_zero() -> None:
    np.testing.assert_array_equal(of_others(*drawn(envs=1)), 0.0)
    seen, target = drawn()
    silent = seen._replace(weight=jnp.zeros_like(seen.weight))
    np.testing.assert_array_equal(of_others(silent, target), 0.0)


@pytest.mark.parametrize("envs", [2, 3])
def test_predictions_stay_in_the_range_of_the_returns(envs: int) -> None:
    """20 states have 43 collinear features; the other environments have seen some of the states and not all times."""
    seen, target = jax.tree.map(lambda *x: jnp.stack(x), *(drawn(envs, states=20, seed=seed) for seed in range(20)))
    low = jnp.min(target, axis=(1, 2), keepdims=True, where=seen.weight > 0, initial=jnp.inf)
    high = jnp.max(target, axis=(1, 2), keepdims=True, where=seen.weight > 0, initial=-jnp.inf)
    found = jax.jit(jax.vmap(leave_one_out_baseline))(seen, target)
    assert jnp.all((low <= found) & (found <= high))


NUMBERS = strategies.floats(-10, 10, width=32)


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    data=strategies.data(), gamma=strategies.floats(0, 1, width=32), decay=strategies.floats(0, 1, width=32)
)
def test_advantages_and_returns_are_their_sums(data: strategies.DataObject, gamma: float, decay: float) -> None:
    """A_t = Σ_u (γ λ)^{u−t} δ_u up to the end of the episode, whatever the ends; always of one shape, one trace."""
    rows = strategies.lists(NUMBERS, min_size=STEPS, max_size=STEPS)
    reward, value, after = (np.array(data.draw(rows)) for _ in range(3))
    ends = np.array(data.draw(strategies.lists(strategies.integers(0, 9), min_size=STEPS, max_size=STEPS)))
    seen = record(
        reward, ends == 0, ends == 1, value=jnp.float32(value)[:, None], next_value=jnp.float32(after)[:, None]
    )
    delta = reward + gamma * (ends != 0) * after - value
    stop = [next((u for u in range(t, STEPS) if ends[u] < 2), STEPS - 1) for t in range(STEPS)]
    sums = [sum((gamma * decay) ** (u - t) * delta[u] for u in range(t, stop[t] + 1)) for t in range(STEPS)]
    to_go = [sum(gamma ** (u - t) * reward[u] for u in range(t, stop[t] + 1)) for t in range(STEPS)]
    advantage, returns = credited(seen, gamma, decay)
    np.testing.assert_allclose(advantage[:, 0], sums, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(returns[:, 0], to_go, rtol=1e-3, atol=2e-3)


@jax.jit
def credited(seen: Experience, gamma: float, decay: float) -> tuple[Array, Array]:
    edges = boundaries(seen)
    advantage = gae(seen.reward, seen.value, seen.next_value, edges, gamma, decay)
    return advantage, discounted_returns(seen.reward, gamma * edges.trace)
