"""Runs of every released format load and evaluate to the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from metarl_jax.experiment import api, results

pytestmark = pytest.mark.fault(16)

RUNS = sorted(path.parent for path in (Path(__file__).parent / "formats").glob("*/*/run.json"))
QUICK = {"q_learning"}


def check(run):
    saved = results.read(run / "evaluation.json")
    table = api.load(run).evaluate(quiet=True).table
    assert [(row.row, row.column) for row in table.rows] == [(row.row, row.column) for row in saved.rows]
    values = [[np.nan if row.value is None else row.value for row in each.rows] for each in (table, saved)]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)
    assert (table.meta_step, table.env_steps, table.tasks) == (saved.meta_step, saved.env_steps, saved.tasks)


@pytest.mark.parametrize("run", [run for run in RUNS if run.name in QUICK], ids=lambda run: "-".join(run.parts[-2:]))
def test_a_run_of_a_released_format_evaluates_as_then(run, tally):
    check(run)
    tally(rounds=1, lost=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.name not in QUICK], ids=lambda run: "-".join(run.parts[-2:])
)
def test_every_run_of_a_released_format_evaluates_as_then(run, tally):
    check(run)
    tally(rounds=1, lost=0)
