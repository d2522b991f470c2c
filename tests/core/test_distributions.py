"""Distributions of actions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
