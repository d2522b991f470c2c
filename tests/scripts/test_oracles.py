"""The oracle table: every family has a row, no two rows one cell, and a value that is off is called so."""

import pathlib
import runpy
from typing import Any

import pytest

from metarl_jax.envs import ENVIRONMENTS

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.fixture
def oracles(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return runpy.run_path(str(SCRIPTS / "oracles.py"))


def test_every_family_has_a_row_and_every_row_a_cell_of_its_own(oracles: dict[str, Any]) -> None:
    entries = oracles["all_entries"]()
    assert len({(entry.row, entry.column) for entry in entries}) == len(entries)
    assert {entry.column.split(",")[0] for entry in entries} == set(ENVIRONMENTS)


@pytest.mark.parametrize(
    ("known", "tolerance", "found", "verdict"),
    [
        (6.66, 1e-3, (6.6605, 0.0), "ok"),
        (6.66, 1e-3, (6.67, 0.0), "OFF"),
        (6.66, 1e-3, (6.67, 0.01), "ok"),
        (6.66, None, (5.0, 0.0), ""),
        (None, None, (5.0, 0.0), ""),
    ],
)
def test_a_value_is_off_beyond_its_tolerance_and_three_standard_errors(
    oracles: dict[str, Any], known: Any, tolerance: Any, found: tuple[float, float], verdict: str
) -> None:
    entry = oracles["Entry"]("bayes", "bandit", known, tolerance, lambda: oracles["Estimate"](*found))
    assert entry.verdict(entry.estimate()) == verdict
