"""Runs of one program on devices that divide the runs and their tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.algorithms import make as make_algorithm
from metarl_jax.core.batching import AXIS
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.devices import LANES
from metarl_jax.experiment.sweep import cohort

ALGORITHM = make_algorithm("rl2", tasks=4, width=3, lifespan=2, epochs=1, minibatches=1)
RATES = jnp.array([1e-3, 1e-2])


def trained(lanes: int, each: int) -> Any:
    """The states of two runs, with other learning rates, after one meta-step on `lanes` x `each` devices."""
    auto = (jax.sharding.AxisType.Auto,) * 2
    chosen = jax.devices()[: lanes * each]
    mesh = jax.make_mesh((lanes, each), (LANES, AXIS), axis_types=auto, devices=chosen)
    environment = make_environment("bandit", arms=2, pulls=3)
    init, chunk = cohort.programs(ALGORITHM, environment, None, ("meta_lr",), 1, mesh)
    over = jax.sharding.NamedSharding(mesh, cohort.LANES)
    options, keys, alive = jax.device_put(
        ({"meta_lr": RATES}, jax.random.split(jax.random.key(0), 2), np.array([True, True])), over
    )
    state, _, finite = chunk(options, init(options, keys), keys, alive, 0, 1)
    assert finite.all()
    plain = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    return jax.device_get(jax.tree.map(plain, state))


@pytest.mark.slow
def test_devices_that_share_the_tasks_of_runs_change_rounding_alone() -> None:
    """Lives that go on have the same tasks, keys, and memories of what happened, bit for bit where these are drawn."""
    alone, shared = trained(1, 1), trained(2, 2)
    drawn = [(state.lives.task, state.lives.key, state.lives.scene.timestep, state.spans) for state in (alone, shared)]
    jax.tree.map(np.testing.assert_array_equal, *drawn)
    for one, other in zip(*(jax.tree.leaves(state.meta_params) for state in (alone, shared)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_one_run_on_all_devices_is_that_on_one() -> None:
    alone, shared = trained(1, 1), trained(1, 4)
    for one, other in zip(*(jax.tree.leaves(state.meta_params) for state in (alone, shared)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
