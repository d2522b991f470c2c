"""Fault 15: a tracker that fails leaves training as it is."""

import logging

import jax
import numpy as np
import pytest
from shell_toy import SHORT, toy  # noqa: F401

from metarl_jax.experiment import api, tracking

pytestmark = pytest.mark.fault(15)
TOY = ("toy", "bandit")


class Failing:
    """A tracker that fails at one of its methods."""

    def __init__(self, folder, method, error, calls):
        self.method, self.error, self.calls = method, error, calls
        self._do("made")

    def _do(self, method):
        self.calls.append(method)
        if method == self.method:
            raise self.error

    def begin(self, config):
        self._do("begin")

    def log(self, line):
        line.clear()  # it is the tracker's own
        self._do("log")

    def end(self):
        self._do("end")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return api.train(*TOY, meta_steps=8, out=tmp_path_factory.mktemp("whole") / "run", **SHORT)


@pytest.mark.parametrize("error", [ConnectionError("no network"), SystemExit("no key")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("made", ["made"]),
        ("begin", ["made", "begin"]),
        ("log", ["made", "begin", "log"]),
        ("end", ["made", "begin", "log", "log", "end"]),
    ],
)
def test_a_tracker_that_fails_is_dropped_with_one_warning_and_the_run_is_the_same(
    method, expected, error, whole, tmp_path, monkeypatch, caplog, tally
):
    calls = []
    caplog.set_level(logging.WARNING, logger="metarl_jax")
    monkeypatch.setitem(tracking.TRACKERS, "trackio", lambda folder: Failing(folder, method, error, calls))
    monkeypatch.setattr(api, "check_installed", lambda names: None)
    run = api.train(*TOY, meta_steps=8, tracker=("trackio",), out=tmp_path / "run", **SHORT)
    assert calls == expected
    said = f"the tracker trackio failed and is told no more; the run goes on: {type(error).__name__}: {error}"
    assert [record.getMessage() for record in caplog.records] == [said]
    jax.tree.map(np.testing.assert_array_equal, run.meta_params, whole.meta_params)
    for name in set(whole.metrics) - {"wall_seconds"}:
        np.testing.assert_array_equal(run.metrics[name], whole.metrics[name])
    tally(1, 0)
