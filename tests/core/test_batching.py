"""Tasks in groups."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax.core.batching import AXIS, Devices, across_devices
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


def test_tasks_are_shared_inside_of_a_map_over_devices_as_outside_of_one() -> None:
    """Two runs on two devices each draw, for every task, the bits that they draw on one; so do those that go on."""
    keys = jax.random.split(jax.random.key(0), (2, 6))
    scales = jnp.array([1.0, 3.0])

    def function(devices: Devices, scale: Any, keys: Any) -> Any:
        drawn = scale * jax.vmap(jax.random.normal)(keys)
        return devices.mean(jnp.mean(drawn)), (drawn, jax.vmap(jax.random.fold_in, (0, None))(keys, 1))

    mesh = jax.make_mesh((2, 2), ("runs", AXIS), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    runs = jax.sharding.PartitionSpec("runs")
    inside = jax.vmap(across_devices(mesh, function))
    mapped = jax.shard_map(inside, mesh=mesh, in_specs=runs, out_specs=runs, check_vma=False)
    mean, (drawn, after) = jax.jit(mapped)(scales, keys)
    alone, (bits, onward) = jax.jit(jax.vmap(across_devices(None, function)))(scales, keys)
    np.testing.assert_array_equal(drawn, bits)
    np.testing.assert_array_equal(jax.random.key_data(after), jax.random.key_data(onward))
    np.testing.assert_allclose(mean, alone, rtol=1e-5)
