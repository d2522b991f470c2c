"""What the README says is true: its example runs, its tables are those of the results."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def test_the_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len(code.strip().splitlines()) <= 16
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["info"]["return"].shape == (5, 3)  # type: ignore[index]
    assert capsys.readouterr().out


def test_the_readme_in_its_own_order_uses_every_core() -> None:
    """What the first snippet does before it compiles anything leaves all cores to what comes after."""
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0].split("@jax.jit")[0]
    code += "\nfrom metarl_jax.experiment import devices\ndevices.prepare()\n"
    code += "assert jax.device_count() == devices.usable_cores(), jax.devices()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "was used before" not in done.stderr


def test_runs_that_commands_name_are_the_first_of_their_kind() -> None:
    runs = re.findall(r"^metarl \w+ runs/(\S+)", README, re.MULTILINE)
    trained = {f"{algorithm}-{env}-0-1" for algorithm, env in re.findall(r"^metarl train (\S+) (\S+)", README, re.M)}
    assert runs
    assert set(runs) <= trained


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_tables_are_those_of_the_results(page: pathlib.Path) -> None:
    assert runpy.run_path(str(ROOT / "scripts" / "tables.py"))["render"](page.read_text()) == page.read_text()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_where_they_come_from(path: pathlib.Path) -> None:
    data = json.loads(path.read_text())
    for line in data if isinstance(data, list) else [data]:
        assert line["versions"]["jax"]
        assert line["device"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", line["date"])
