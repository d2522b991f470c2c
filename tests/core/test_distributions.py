"""Distributions of actions."""

from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from scipy import special, stats

from metarl_jax.core.distributions import categorical, diagonal_gaussian


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_distributions_agree_with_their_samples(family: str) -> None:
    if family == "categorical":
        distribution, params = categorical(3), jnp.array([0.3, -0.2, 1.0])
        other: Any = jnp.array([0.0, 0.5, 0.5])
    else:
        distribution, params = diagonal_gaussian(2), (jnp.array([0.3, -1.0]), jnp.array([-0.5, 0.2]))  # type: ignore[assignment]
        other = (jnp.array([0.0, -0.5]), jnp.array([0.0, 0.0]))
    keys = jax.random.split(jax.random.key(0), 20_000)
    samples = jax.vmap(lambda key: distribution.sample(key, params))(keys)
    log_p = jax.vmap(lambda x: distribution.log_prob(params, x))(samples)
    log_q = jax.vmap(lambda x: distribution.log_prob(other, x))(samples)
    np.testing.assert_allclose(-log_p.mean(), distribution.entropy(params), atol=0.03)
    np.testing.assert_allclose((log_p - log_q).mean(), distribution.divergence(params, other), atol=0.03)
    np.testing.assert_allclose(jnp.exp(log_q - log_p).mean(), 1.0, atol=0.05)  # both integrate to one


LOGITS = strategies.lists(strategies.floats(-60, 60, width=32), min_size=4, max_size=4)
SPREADS = strategies.lists(strategies.floats(-4, 3, width=32), min_size=2, max_size=2)
MEANS = strategies.lists(strategies.floats(-20, 20, width=32), min_size=2, max_size=2)
often = hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)


@often
@hypothesis.given(p=LOGITS, q=LOGITS, action=strategies.integers(0, 3))
def test_categoricals_are_those_of_scipy(p: list[float], q: list[float], action: int) -> None:
    distribution = categorical(4)
    masses, others = (special.softmax(np.float64(x)) for x in (p, q))
    found = [distribution.log_prob(jnp.float32(p), action), distribution.entropy(jnp.float32(p))]
    np.testing.assert_allclose(found[0], special.log_softmax(np.float64(p))[action], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], stats.entropy(masses), rtol=1e-4, atol=1e-5)
    apart = distribution.divergence(jnp.float32(p), jnp.float32(q))
    np.testing.assert_allclose(apart, stats.entropy(masses, others), rtol=1e-4, atol=1e-4)
    assert apart >= -1e-5


@often
@hypothesis.given(mean=MEANS, spread=SPREADS, other=MEANS, wide=SPREADS, at=MEANS)
def test_gaussians_are_those_of_scipy(mean: Any, spread: Any, other: Any, wide: Any, at: Any) -> None:
    distribution, p, q = diagonal_gaussian(2), (np.array(mean), np.array(spread)), (np.array(other), np.array(wide))
    normal = stats.multivariate_normal(p[0], np.diag(np.exp(2 * p[1])))
    single = jax.tree.map(jnp.float32, (p, q))
    np.testing.assert_allclose(
        distribution.log_prob(single[0], jnp.float32(at)), normal.logpdf(at), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(distribution.entropy(single[0]), normal.entropy(), rtol=1e-5, atol=1e-5)
    ratio = np.exp(2 * (p[1] - q[1]))
    apart = 0.5 * np.sum(ratio - 1 - np.log(ratio) + (p[0] - q[0]) ** 2 * np.exp(-2 * q[1]))
    np.testing.assert_allclose(distribution.divergence(*single), apart, rtol=1e-4, atol=1e-4)
