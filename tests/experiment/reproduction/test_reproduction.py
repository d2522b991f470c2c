"""A table made again: what its cells are compared with, what is never overwritten, and what is called a bug."""

import json
from pathlib import Path
from typing import Any

import pytest

from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.reproduction import reproduction
from metarl_jax.experiment.reproduction.reproduction import (
    ABOVE,
    BELOW,
    BEYOND,
    INSIDE,
    UNPUBLISHED,
    WITHIN,
    ScriptFailed,
    judged,
    reproduce,
)
from metarl_jax.experiment.results import Row, Table

SCRIPT = '''"""Arms that pay."""

import json, pathlib, sys

TABLE = "bandits"
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.parent.mkdir(parents=True, exist_ok=True)
print("training")
if {fails}:
    sys.exit("an error")
value = 1.5 if "--quick" in sys.argv else 2.5
row = dict(row="rl2", column="n=1", value=value, interval=[value - 0.1, value + 0.1], published=2.45, bound={bound})
out.write_text(json.dumps(dict(table="bandits", seeds=[0], tasks=3, versions={{}}, device="", date="", rows=[row])))
'''


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one script, whose committed value is 2.4."""
    scripts, results = tmp_path / "checkout" / "scripts", tmp_path / "checkout" / "benchmarks" / "results"
    scripts.mkdir(parents=True)
    (scripts / "published.py").write_text("")
    (scripts / "arms.py").write_text(SCRIPT.format(fails=False, bound=3.0))
    table = Table("bandits", seeds=[0], tasks=3)
    table.add("rl2", "n=1", 2.4)
    table.write(results / "bandits.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "checkout"


def test_a_cell_stands_beside_the_committed_the_published_and_the_best(checkout: Path) -> None:
    made = reproduce("arms", scripts=checkout / "scripts")
    assert made.path == Path("runs/reproduce/arms.json")
    assert made.path.exists()
    (line,) = made.lines
    assert line[:3] == ("rl2", "n=1", 2.5)
    assert (line.committed, line.published, line.bound, line.verdict) == (2.4, 2.45, 3.0, WITHIN)


def test_a_quick_run_keeps_nothing_and_only_its_bounds_are_judged(checkout: Path) -> None:
    made = reproduce("arms", quick=True, scripts=checkout / "scripts")
    assert (made.path, made.lines[0].value, made.lines[0].verdict) == (None, 1.5, INSIDE)
    assert not Path("runs").exists()


def test_nothing_is_overwritten(checkout: Path) -> None:
    with pytest.raises(UsageError, match="holds the committed tables, and is not written to"):
        reproduce("arms", out=checkout / "benchmarks" / "results", scripts=checkout / "scripts")
    assert reproduce("arms", quick=True, out="new", scripts=checkout / "scripts").path == Path("new/arms.json")
    with pytest.raises(UsageError, match=r"out is new; it must be a folder without arms.json"):
        reproduce("arms", quick=True, out="new", scripts=checkout / "scripts")


def test_a_script_that_fails_says_why(checkout: Path) -> None:
    (checkout / "scripts" / "arms.py").write_text(SCRIPT.format(fails=True, bound=3.0))
    with pytest.raises(ScriptFailed, match=r"arms.py ended with exit code 1:\ntraining\nan error"):
        reproduce("arms", quick=True, scripts=checkout / "scripts")


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"value": None, "published": 1.0}, ""),
        ({"value": 2.0}, UNPUBLISHED),
        ({"value": 2.0, "interval": (1.9, 2.1), "published": 2.05}, WITHIN),
        ({"value": 2.0, "interval": (1.9, 2.1), "published": 2.2}, BELOW),
        ({"value": 2.0, "interval": (1.9, 2.1), "published": 1.8}, ABOVE),
        ({"value": 6.66, "interval": (6.65, 6.67), "published": 6.7}, WITHIN),  # which is rounded
        ({"value": 2.0, "published": 1.8, "by_seed": [1.7, 2.3]}, WITHIN),  # between seeds anything is possible
        ({"value": 2.0, "interval": (1.9, 2.1), "bound": 1.9}, UNPUBLISHED),  # by chance
        ({"value": 2.0, "interval": (1.99, 2.01), "bound": 1.9}, BEYOND),
        ({"value": 2.0, "bound": 1.999}, UNPUBLISHED),  # which is rounded too
    ],
)
def test_a_value_is_judged_by_its_interval(row: dict[str, Any], verdict: str) -> None:
    assert judged(Row("rl2", "n=1", **row)) == verdict


def test_what_costs_is_better_below() -> None:
    regret = Row("rl2", "regret", 1.0, (0.9, 1.1), bound=2.0)
    assert judged(regret, costs=True) == BEYOND
    assert judged(regret, costs=False) == UNPUBLISHED


def words(checkout: Path, *more: str) -> list[str]:
    return ["reproduce", *more, "--scripts", str(checkout / "scripts")]


def test_the_command_lists_runs_and_prints(checkout: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(words(checkout)) == 0
    assert "Arms that pay." in capsys.readouterr().out
    assert main(words(checkout, "arms", "--quick")) == 0
    printed = capsys.readouterr().out
    assert "not those of the tables" in printed
    assert "1.5 [1.4, 1.6]" in printed
    assert main(words(checkout, "arms", "--json")) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert (made["quick"], made["cells"][0]["verdict"]) == (False, WITHIN)


def test_the_command_fails_with_a_script_and_where_a_bound_is_broken(checkout: Path, capsys: Any) -> None:
    script = checkout / "scripts" / "arms.py"
    script.write_text(SCRIPT.format(fails=False, bound=1.0))
    assert main(words(checkout, "--all", "--quick")) == 1
    assert f"1 {BEYOND}" in capsys.readouterr().out
    script.write_text(SCRIPT.format(fails=True, bound=1.0))
    assert main(words(checkout, "--all", "--quick")) == 1
    printed = capsys.readouterr()
    assert "0 of 1 scripts" in printed.out
    assert "an error" in printed.err


def test_the_folder_is_looked_at_before_anything_runs(checkout: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(reproduction, "run", None)
    assert main(words(checkout, "arms", "--out", str(checkout / "benchmarks" / "results"))) == 2
    assert "holds the committed tables" in capsys.readouterr().err
