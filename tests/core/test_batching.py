"""Tasks in groups."""

from typing import Any

import jax
import numpy as np
import pytest

import metarl_jax
from metarl_jax.core.memories import gated
from metarl_jax.envs import make as make_environment


def test_reliving_trials_in_groups_gives_the_update_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some trials count fewer steps than others: the mean is over steps, not over groups."""
    environment = make_environment("cartpole", steps=60, episodes=1)
    algorithm = metarl_jax.make_algorithm("rl2", tasks=8, width=4, epochs=1, minibatches=1)
    state = algorithm.build(environment).init(jax.random.key(0))
    # away from a newborn, whose loss is next to nothing
    state = state._replace(meta_params=jax.tree.map(lambda x: x + 1.0, state.meta_params))

    def moved(lanes: int) -> Any:
        monkeypatch.setattr(gated, "LANES", lanes)
        step = jax.jit(algorithm.build(environment).step)
        return step(state, jax.random.key(1))

    (whole, info), (grouped, other) = moved(8), moved(2)
    np.testing.assert_allclose(info["loss"], other["loss"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(whole.meta_params), jax.tree.leaves(grouped.meta_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
