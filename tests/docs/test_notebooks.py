"""The notebooks run from the first cell to the last, show what they promise, and agree with their .ipynb."""

import ast
import json
import pathlib
import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
Scope = dict[str, Any]


def cells(name: str) -> list[tuple[str, str]]:
    """The cells of a notebook in the percent format: kind and source."""
    _, *parts = CELL.split((FOLDER / f"{name}.py").read_text())
    kinds = ["markdown" if "[markdown]" in mark else "code" for mark in parts[::2]]
    return [
        (kind, uncommented(text) if kind == "markdown" else text) for kind, text in zip(kinds, parts[1::2], strict=True)
    ]


def uncommented(text: str) -> str:
    return re.sub(r"^# ?", "", text, flags=re.MULTILINE)


def run(name: str) -> tuple[Scope, list[str]]:
    """Execute the code cells as Jupyter does; returns the names they define and what the cells show, by MIME type."""
    module, shown = types.ModuleType("notebook"), []
    for kind, text in cells(name):
        *body, last = ast.parse(text).body if kind == "code" else [ast.Pass()]
        is_value = isinstance(last, ast.Expr)
        exec(compile(ast.Module(body if is_value else [*body, last], []), name, "exec"), vars(module))
        if is_value:
            value = eval(compile(ast.Expression(last.value), name, "eval"), vars(module))  # type: ignore[attr-defined]
            shown += [look(value)] * (value is not None)
    return vars(module), shown


def look(value: Any) -> str:
    """How Jupyter shows a value."""
    for kind, method in (("html", "_repr_html_"), ("png", "_repr_png_")):
        if hasattr(value, method):
            assert getattr(value, method)()
            return kind
    return "text"


def first(scope: Scope) -> None:
    assert scope["chance"] + 0.5 < scope["ours"] < scope["best"] + 0.05


CHECKS: dict[str, Callable[[Scope], None]] = {
    "01_first_run": first,
}
SHOWN = {"01_first_run": ["html", "png", "html"]}


@pytest.mark.learning
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs_and_holds_what_it_says(name: str, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scope, shown = run(name)
    CHECKS[name](scope)
    assert shown == SHOWN[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_pair_agrees(name: str) -> None:
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    pairs = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    assert pairs == [(kind, text.strip()) for kind, text in cells(name)], "run `python scripts/notebooks.py`"
    assert not any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize("name", NAMES)
def test_links_of_notebooks_lead_somewhere(name: str) -> None:
    text = "\n".join(source for kind, source in cells(name) if kind == "markdown")
    assert text.startswith("# ")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (FOLDER / target).exists(), target
