"""The drifts: their definition, the conditions of mirror learning, and PPO as one of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.algorithms.drift import drift_network, learned_drift
from metarl_jax.core.drifts import Drift, clipping, discovered

RATIOS = jnp.array([0.05, 0.5, 0.79, 0.99, 1.0, 1.01, 1.21, 2.0, 20.0])
ADVANTAGES = jnp.array([-3.0, -0.4, 0.0, 0.4, 3.0])
GRID = jnp.meshgrid(jnp.log(RATIOS), ADVANTAGES)


def learned(seed: int) -> Drift:
    """The drift of a random network with weights large enough to matter."""
    network = drift_network(8)
    params = network.init(jax.random.key(seed))
    params["head"]["kernel"] = jax.random.normal(jax.random.key(seed + 1), params["head"]["kernel"].shape)
    return learned_drift(network, params)


def test_ppo_is_its_drift() -> None:
    log_ratio, advantage = GRID
    ratio = jnp.exp(log_ratio)
    clipped = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    np.testing.assert_allclose(ratio * advantage - clipping(0.2)(log_ratio, advantage), clipped, rtol=1e-5)


def test_the_discovered_drift_is_that_of_the_paper() -> None:
    def defined(ratio: float, advantage: float) -> float:
        gain, scale = ((ratio - 1) * advantage, 2.0) if advantage >= 0 else (np.log(ratio) * advantage, 0.6)
        return max(0.0, gain - scale * np.tanh(gain / scale))

    expected = [[defined(float(r), float(a)) for r in RATIOS] for a in ADVANTAGES]
    np.testing.assert_allclose(discovered()(*GRID), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("drift", [clipping(0.2), discovered(), learned(0), learned(3)], ids=["clip", "dpo", "a", "b"])
def test_a_drift_is_never_negative_and_at_1_is_0_without_a_gradient(drift: Drift) -> None:
    values = drift(*GRID)
    assert np.all(values >= 0)
    assert np.any(values > 0)
    at_1 = jnp.zeros_like(ADVANTAGES)
    np.testing.assert_array_equal(drift(at_1, ADVANTAGES), 0.0)

    def slope(x: Any) -> Any:
        return jax.grad(lambda x: jnp.sum(drift(x, ADVANTAGES)))(x)

    np.testing.assert_array_equal(slope(at_1), 0.0)
    assert np.all(np.isfinite(jax.jvp(slope, (at_1,), (at_1 + 1.0,))[1]))
