"""Runs side by side: each mean is that of its own evaluation, and differences are paired by task."""

import json
from typing import Any

import numpy as np
import pytest

import metarl_jax
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.comparison import compared
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError

SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 1, "log_every": 1, "evaluation_tasks": 0, "quiet": True}
SMALL: dict[str, Any] = {"hidden": (), "envs": 2, "steps": 3, "lifespan": 2, "pulls": 3, "env": {"arms": 3}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = SHORT | SMALL
    slow = metarl_jax.train("policy_gradient", "bandit", out=folder / "slow", epochs=1, inner_lr=0.0, **options)
    fast = metarl_jax.train("policy_gradient", "bandit", out=folder / "fast", epochs=1, inner_lr=0.5, **options)
    return slow, fast


@pytest.fixture(scope="module")
def table(runs):
    return metarl_jax.compare(*runs, tasks=12)


def test_each_mean_is_that_of_the_run_evaluated_alone(runs, table):
    for run in runs:
        alone = run.evaluate(tasks=12).table.cell("policy_gradient", "episode=1")
        beside = table.cell(str(run.path), "episode=1")
        assert beside.value == pytest.approx(alone.value)
        np.testing.assert_allclose(beside.interval, alone.interval, rtol=1e-6)


def test_differences_are_paired_and_to_the_first(runs, table):
    slow, fast = (str(run.path) for run in runs)
    means = {name: table.cell(name, "episode=1").value for name in (slow, fast)}
    difference = table.cell(fast, "episode=1,difference")
    assert difference.value == pytest.approx(means[fast] - means[slow])
    assert difference.interval[0] <= difference.value <= difference.interval[1]
    with pytest.raises(KeyError):
        table.cell(slow, "episode=1,difference")
    assert table.cell(slow, "steps").value == table.cell(fast, "steps").value > 0


def test_the_command_prints_the_same_table(runs, table, capsys):
    assert main(["compare", *(str(run.path) for run in runs), "--tasks", "12", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == json.loads(table.to_json())["rows"]


def test_runs_that_cannot_be_compared_are_refused(runs):
    with pytest.raises(UsageError, match="two or more different runs, not 1"):
        metarl_jax.compare(runs[0], runs[0])
    elsewhere = resolve("policy_gradient", "bandit", env={"arms": 4})
    with pytest.raises(UsageError, match=r"b lives in .*arms=4.*, and a in .*arms=3.*; compare runs in one"):
        compared({"a": (runs[0].config, {}), "b": (elsewhere, {})})
    with pytest.raises(UsageError, match="tasks is 0"):
        metarl_jax.compare(*runs, tasks=0)
