"""Trackers: files that are always written, services that are asked for, and a callback; none but that stops a run."""

import csv
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from shell_toy import SHORT, toy  # noqa: F401

from metarl_jax.experiment import api, checkpoint, tracking
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.metrics import read_metrics

TOY = ("toy", "bandit")


@pytest.fixture
def warned(caplog):
    """The warnings of a test, as text."""
    caplog.set_level(logging.WARNING, logger="metarl_jax")
    return lambda: [record.getMessage() for record in caplog.records]


def spreadsheet(path):
    with (path / "metrics.csv").open() as file:
        return [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)]


def records(path):
    return read_metrics(path / "metrics.jsonl")


def test_the_spreadsheet_has_the_lines_of_the_metrics_also_after_a_resumed_run(tmp_path):
    run = api.train(*TOY, meta_steps=22, out=tmp_path / "run", **SHORT)
    assert spreadsheet(run.path) == records(run.path)
    assert len(spreadsheet(run.path)) == 6
    for path in checkpoint.found(run.path / "checkpoints")[1:]:  # as after a crash: the metrics are ahead
        path.rename(path.with_name(path.name.replace("step", "gone")))
    api.resume(run.path, quiet=True)
    assert spreadsheet(run.path) == records(run.path)
    assert [row["meta_step"] for row in spreadsheet(run.path)] == [4, 8, 12, 16, 20, 22]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'tracker is wandb.*pip install "metarl-jax\[wandb\]"'):
        api.train(*TOY, tracker=("wandb",), out=tmp_path / "run", **SHORT)
    assert not any(tmp_path.iterdir())


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UsageError, match=r"unknown tracker 'tensorbord'.*did you mean 'tensorboard'"):
        api.train(*TOY, tracker=("tensorbord",))


def test_tensorboard_has_the_metrics_and_the_configuration(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = api.train(*TOY, meta_steps=8, tracker=["tensorboard"], out=tmp_path / "run", **SHORT)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    found = [(event.step, float(event.tensor_proto.float_val[0])) for event in events.Tensors("return")]
    assert found == [(line["meta_step"], pytest.approx(line["return"])) for line in records(run.path)]
    assert b'"name": "toy"' in events.Tensors("config")[0].tensor_proto.string_val[0]


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_service_is_told_all_and_can_take_a_resumed_run_up_again(package, tmp_path, monkeypatch):
    calls = []
    mine = SimpleNamespace(
        log=lambda line, step: calls.append((step, line["return"])),
        finish=lambda: calls.append("end"),
    )
    monkeypatch.setitem(sys.modules, package, SimpleNamespace(init=lambda **how: calls.append(how) or mine))
    monkeypatch.setattr(api, "check_installed", lambda names: None)
    run = api.train(*TOY, meta_steps=4, tracker=(package,), out=tmp_path / "run", **SHORT)
    api.resume(run.path, meta_steps=8, quiet=True)
    first, line, end, second, last, _ = calls
    assert (line[0], end, last[0]) == (4, "end", 8)
    assert first["config"]["algorithm"]["name"] == "toy"
    name = "id" if package == "wandb" else "name"
    assert first[name] == second[name]
    assert (first["project"], first["resume"]) == ("metarl_jax", "allow")


def test_a_callback_gets_every_line(tmp_path):
    seen = []
    run = api.train(*TOY, meta_steps=8, on_log=seen.append, out=tmp_path / "run", **SHORT)
    assert seen == [{"run": "run", **line} for line in records(run.path)]


def test_what_a_callback_raises_stops_the_run_after_it_was_saved(tmp_path):
    def stop(line):
        if line["meta_step"] == 4:
            raise RuntimeError("good enough")

    with pytest.raises(RuntimeError, match="good enough"):
        api.train(*TOY, meta_steps=22, on_log=stop, out=tmp_path / "run", **SHORT)
    assert api.load(tmp_path / "run").step == 4
    resumed = api.resume(tmp_path / "run", quiet=True)
    whole = api.train(*TOY, meta_steps=22, out=tmp_path / "whole", **SHORT)
    np.testing.assert_array_equal(resumed.meta_params["w"], whole.meta_params["w"])
