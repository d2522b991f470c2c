"""Drift functions of mirror learning: what a policy loss subtracts from ρ A (Kuba et al. 2022, arXiv:2201.02373).

A drift f(ρ, A) is never negative, and at ρ = 1 it is 0 with a gradient of 0. Policies that maximise E[ρ A − f(ρ, A)] in
every step then improve monotonically and converge to the optimum. Drifts are functions of log ρ and A, elementwise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array

Drift = Callable[[Array, Array], Array]  # log ρ, A [...] -> [...]


def clipping(clip: Array | float) -> Drift:
    """The drift of PPO, ReLU((ρ − clip(ρ, 1 − ε, 1 + ε)) A): ρ A minus it is min(ρ A, clip(ρ) A).

    Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """

    def drift(log_ratio: Array, advantage: Array) -> Array:
        ratio = jnp.exp(log_ratio)
        return jax.nn.relu((ratio - jnp.clip(ratio, 1 - clip, 1 + clip)) * advantage)

    return drift


def discovered(alpha: Array | float = 2.0, beta: Array | float = 0.6) -> Drift:
    """The drift of discovered policy optimisation (Lu et al. 2022, arXiv:2210.05639, eq. 9).

    ReLU((ρ − 1) A − α tanh((ρ − 1) A / α)) where A ≥ 0, and ReLU(A log ρ − β tanh(A log ρ / β)) where A < 0
    """

    def beyond(gain: Array, scale: Array | float) -> Array:
        return jax.nn.relu(gain - scale * jnp.tanh(gain / scale))

    def drift(log_ratio: Array, advantage: Array) -> Array:
        rising = beyond(jnp.expm1(log_ratio) * advantage, alpha)
        return jnp.where(advantage >= 0, rising, beyond(log_ratio * advantage, beta))

    return drift
