"""Categorical values, Retrace and running moments, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.algorithms.disco import values


def test_squashing_is_undone() -> None:
    x = jnp.array([-1e4, -3.0, -0.5, 0.0, 1e-3, 2.0, 5e4])
    np.testing.assert_allclose(values.unsquash(values.squash(x)), x, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(values.squash(jnp.array([3.0, -3.0])), [1.003, -1.003], rtol=1e-6)


def test_two_hot_has_two_neighbours_whose_mean_is_the_value() -> None:
    x = jnp.array([-7.3, -1.0, 0.0, 0.4, 250.0])
    hot = values.two_hot(x)
    np.testing.assert_allclose(hot.sum(-1), 1.0, rtol=1e-5)
    assert np.all((hot > 0).sum(-1) <= 2)
    np.testing.assert_allclose(hot @ values.bins(hot.dtype), values.squash(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values.mean_value(jnp.log(hot + 1e-30)), x, rtol=1e-2, atol=1e-2)


def test_retrace_is_the_published_recursion() -> None:
    generator = np.random.default_rng(0)
    steps, gamma = 7, 0.9
    reward, q, following = generator.normal(size=(3, steps))
    ratio = generator.random(steps)
    trace = np.array([1, 1, 0, 1, 0, 1, 1.0])  # the third step terminates, the fifth is truncated
    following[2] = 0.0
    expected = np.zeros(steps)
    for t in reversed(range(steps)):
        expected[t] = reward[t] + gamma * following[t]
        if t + 1 < steps and trace[t]:
            expected[t] += gamma * ratio[t + 1] * (expected[t + 1] - q[t + 1])
    column = lambda x: jnp.asarray(x, jnp.float32)[:, None]  # noqa: E731
    found = values.retrace(*map(column, (reward, q, following, ratio, trace)), gamma)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_moments_of_one_batch_are_its_own_and_later_batches_count_for_a_hundredth() -> None:
    batches = jax.random.normal(jax.random.key(0), (3, 50, 4)) * 3.0 + 1.0
    weight = jnp.ones((50, 4))
    moments = values.updated(values.unseen(), batches[0], weight)
    one = values.normalised(moments, batches[0])
    np.testing.assert_allclose([one.mean(), one.std()], [0.0, 1.0], atol=1e-5)
    for batch in batches[1:]:
        moments = values.updated(moments, batch, weight)
    shares = np.array([0.99**2, 0.99, 1.0])
    mean, square = (np.average([(b**k).mean() for b in batches], weights=shares) for k in (1, 2))
    np.testing.assert_allclose(
        values.normalised(moments, jnp.array(2.0)), (2.0 - mean) / np.sqrt(square - mean**2), rtol=1e-4
    )
