"""The scripts of the tables: uniform options, a committed result of each, and that each runs at a small budget."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

from metarl_jax.experiment.reproduction.scripts import table_scripts

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = table_scripts(ROOT / "scripts")
NO_TABLE = {"api", "choose", "demo", "figures", "notebooks", "options", "published", "tables", "trials"}
QUICKEST = "oracles"


def test_every_script_makes_a_table_or_is_known_to_make_none() -> None:
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == {*SCRIPTS, *NO_TABLE}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_table_script_has_the_uniform_options_and_says_what_it_makes(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = SCRIPTS[name]
    monkeypatch.syspath_prepend(str(script.path.parent))
    monkeypatch.setattr(sys, "argv", [str(script.path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script.path), run_name="__main__")
    help = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--quick " in help
    assert "--out OUT" in help
    assert script.summary.endswith((".", "?", ")."))
    assert f"python scripts/{name}.py" in help


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_table_is_committed_or_known_to_be_missing(name: str) -> None:
    committed = SCRIPTS[name].committed
    assert committed is not None
    assert committed.table == SCRIPTS[name].table
    assert committed.rows


def run_quickly(name: str, folder: pathlib.Path) -> None:
    """Run a script as `metarl reproduce NAME --quick` does, and look at what it wrote."""
    out = folder / "out" / f"{name}.json"
    command = [sys.executable, str(SCRIPTS[name].path), "--quick", "--out", str(out)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(out.read_text())
    assert made["table"] == SCRIPTS[name].table
    assert any(row["value"] is not None for row in made["rows"])
    assert {path.name for path in folder.iterdir()} == {"out"}  # nothing is left to continue
    assert {path.name for path in out.parent.iterdir()} <= {out.name, f"{name}.png"}


def test_the_quickest_script_runs_at_a_small_budget(tmp_path: pathlib.Path) -> None:
    run_quickly(QUICKEST, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != QUICKEST])
def test_every_script_runs_at_a_small_budget(name: str, tmp_path: pathlib.Path) -> None:
    run_quickly(name, tmp_path)
