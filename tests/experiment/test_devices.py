"""Devices: as many as share the tasks evenly, said before anything is compiled."""

import jax
import pytest

from metarl_jax.experiment import devices


@pytest.fixture
def four(monkeypatch):
    """Four devices to choose from, as far as the choice is concerned."""
    monkeypatch.setattr(jax, "devices", lambda: list("abcd"))
    monkeypatch.setattr(jax, "make_mesh", lambda shape, names, *, axis_types, devices: (shape, names, devices))


@pytest.mark.parametrize(
    ("tasks", "minibatches", "used"), [(8, 1, 4), (6, 1, 3), (10, 1, 2), (8, 4, 2), (16, 4, 4), (12, 4, 3)]
)
def test_the_most_devices_that_divide_the_tasks_of_a_minibatch(four, tasks, minibatches, used, caplog):
    shape, names, chosen = devices.task_mesh(tasks, minibatches)
    assert (shape, names, len(chosen)) == ((used,), ("tasks",), used)
    assert bool(caplog.text) == (used < 4)
    assert used == 4 or f"so {used} will be used" in caplog.text


@pytest.mark.parametrize(("tasks", "minibatches"), [(1, 1), (7, 1), (4, 4)])
def test_one_device_needs_no_mesh(four, tasks, minibatches, caplog):
    assert devices.task_mesh(tasks, minibatches) is None
    assert "do not divide by 4 devices, so 1 will be used" in caplog.text


def test_the_axis_of_a_mesh_is_automatic():
    mesh = devices.task_mesh(jax.device_count())
    if jax.device_count() == 1:
        assert mesh is None
    else:
        assert mesh.axis_types == (jax.sharding.AxisType.Auto,)


def test_the_cache_follows_the_xdg_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert devices.cache_folder() == tmp_path / "metarl_jax" / "xla"


def test_preparing_after_the_first_use_of_a_device_changes_nothing():
    before = jax.devices()
    devices.prepare()
    assert jax.devices() == before


@pytest.mark.parametrize(
    ("backend", "chosen", "used"),
    [("gpu", None, "float32"), ("gpu", "tensorfloat32", "tensorfloat32"), ("cpu", None, "default")],
)
def test_an_accelerator_multiplies_in_float32_unless_it_is_told_otherwise(monkeypatch, backend, chosen, used):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", chosen)
    try:
        devices.prepare()
        product = jax.make_jaxpr(jax.numpy.dot)(jax.numpy.ones(2), jax.numpy.ones(2))
        assert devices.precision() == used
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert ("HIGHEST" in str(product)) == (used == "float32")


@pytest.mark.parametrize(("runs", "used", "lanes"), [(1, 1, 1), (3, 3, 3), (4, 4, 4), (5, 3, 6), (6, 3, 6), (8, 4, 8)])
def test_lanes_are_divided_evenly_among_devices(runs, used, lanes):
    mesh, count = devices.lane_mesh(runs)
    assert (mesh.shape[devices.LANES], count) == (used, lanes)


@pytest.mark.parametrize(
    ("runs", "tasks", "minibatches", "shape"),
    [(1, 8, 2, (1, 4)), (1, 6, 1, (1, 3)), (2, 8, 4, (2, 2)), (2, 5, 1, (2, 1)), (3, 8, 1, (3, 1)), (5, 8, 1, (3, 1))],
)
def test_devices_beyond_the_runs_share_their_tasks(runs, tasks, minibatches, shape):
    mesh, _ = devices.lane_mesh(runs, tasks, minibatches)
    assert tuple(mesh.shape.values()) == shape
