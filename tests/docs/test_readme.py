"""What README.md and docs/ say is true: examples run, commands and links exist, tables are those of the results."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
TABLES = runpy.run_path(str(ROOT / "scripts" / "tables.py"))


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def notebook(page: str) -> str:
    """The block of a page that builds a learner by name."""
    return next(block for block in blocks(page) if "metarl_jax.build(" in block)


@pytest.mark.parametrize("code", blocks("README.md"))
def test_the_blocks_of_the_readme_run(code: str) -> None:
    exec(code, {"__name__": "readme"})


def test_the_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = notebook("docs/guide.md")
    assert len(code.strip().splitlines()) <= 16
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["info"]["return"].shape == (5, 3)  # type: ignore[index]
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_a_notebook_in_its_own_order_uses_every_core(page: str) -> None:
    """What a snippet does before it compiles anything of its own leaves all cores to what comes after."""
    code = re.split(r"^.*jax\.jit", notebook(page), maxsplit=1, flags=re.MULTILINE)[0]
    code += "\nfrom metarl_jax.experiment import devices\ndevices.prepare()\n"
    code += "assert jax.device_count() == devices.usable_cores(), jax.devices()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "was used before" not in done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_runs_that_commands_name_are_the_first_of_their_kind(page: str) -> None:
    text = (ROOT / page).read_text()
    runs = re.findall(r"^metarl \w+ runs/(\S+)", text, re.MULTILINE)
    trained = {f"{algorithm}-{env}-0-1" for algorithm, env in re.findall(r"^metarl train (\S+) (\S+)", text, re.M)}
    assert runs
    assert set(runs) <= trained


def test_the_readme_is_two_screens() -> None:
    assert len(README.encode()) <= 8192


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_tables_are_those_of_the_results(page: pathlib.Path) -> None:
    assert TABLES["render"](page.read_text()) == page.read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/speed.md"])
def test_a_number_that_was_changed_by_hand_is_put_right(page: str) -> None:
    text = (ROOT / page).read_text()
    tables = re.findall(r"<!-- (?:table:[^>]*|headlines) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert tables
    for table in tables:
        ruler, line = table.splitlines()[1:3]
        assert set(ruler) <= set("|-: ")
        assert TABLES["render"](text.replace(line, re.sub(r"\d(?=\D*$)", "x", line))) == text


@pytest.mark.parametrize("page", ["results.md", "speed.md"])
def test_no_table_of_numbers_is_written_by_hand(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert "|" not in re.sub(r"<!-- table:.*?<!-- end -->", "", text, flags=re.DOTALL)


def test_rows_beside_the_results_hold_one_value_a_column() -> None:
    cells = {("a", "x"): {"bound": 1.0}, ("b", "x"): {"bound": 1.0}, ("c", "x"): {"bound": 2.0}, ("d", "x"): {}}
    beside = TABLES["beside"]
    assert beside(cells, ["a", "b", "d"], "x", "bound") == {"value": 1.0}
    assert beside(cells, ["d", "bound"], "x", "bound") == {"value": None}
    with pytest.raises(ValueError, match="bound of x"):
        beside(cells, ["a", "c"], "x", "bound")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_where_they_come_from(path: pathlib.Path) -> None:
    data = json.loads(path.read_text())
    for line in data if isinstance(data, list) else [data]:
        assert line["versions"]["jax"]
        assert line["device"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", line["date"])
