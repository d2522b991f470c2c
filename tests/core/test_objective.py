"""Objectives of a window."""

import jax.numpy as jnp
import numpy as np
from lives import ENVIRONMENT
from records import record

from metarl_jax.core.objective import divergence_of
from metarl_jax.core.policy import mlp_policy


def test_the_divergence_is_that_of_the_policy_that_acted_from_the_agent() -> None:
    """KL(π_b ‖ π_θ), and not the other way round, over the steps that count."""
    behaviour, agent = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    seen = record([0.0, 0.0], [False] * 2, [False] * 2, weight=jnp.array([[1.0], [0.0]]))
    acted = jnp.log(jnp.array([[behaviour], [agent]]))  # [T, E, A]
    found = divergence_of(
        mlp_policy(ENVIRONMENT, ()), jnp.log(jnp.array([[agent]] * 2)), seen._replace(distribution=acted)
    )
    np.testing.assert_allclose(found, behaviour @ np.log(behaviour / agent), rtol=1e-5)
