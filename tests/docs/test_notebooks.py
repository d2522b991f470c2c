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

import numpy as np
import pytest
from matplotlib import pyplot

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
    scope: Scope = vars(types.ModuleType("notebook"))
    shown = [what for kind, text in cells(name) if kind == "code" for what in execute(text, name, scope)]
    return scope, shown


def execute(text: str, name: str, scope: Scope) -> list[str]:
    """Execute one cell; how what it shows is shown."""
    body = ast.parse(text).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), name, "exec"), scope)
    value = None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), scope)
    figures = pyplot.get_fignums()
    pyplot.close("all")
    return ["png"] * len(figures) or [look(value)] * (value is not None)


def look(value: Any) -> str:
    """How Jupyter shows a value."""
    for kind, method in (("html", "_repr_html_"), ("png", "_repr_png_")):
        if hasattr(value, method) and getattr(value, method)():  # a figure of matplotlib has no HTML to show
            return kind
    return "text"


def first(scope: Scope) -> None:
    assert scope["chance"] + 0.5 < scope["ours"] < scope["best"] + 0.05


def second(scope: Scope) -> None:
    guesses = scope["guesses"]
    assert guesses["random"] > 6
    assert guesses["rl2"] < 3.6  # binary search, or nearly
    assert 3.1 < guesses["reference"] < 3.45
    assert len(scope["counts"]) == 15
    assert scope["outside"].cell("rl2", "episode=1").value < -8  # swapped answers lead astray


def third(scope: Scope) -> None:
    ends = {name: float(curve[-1]) for name, curve in scope["curves"].items()}
    untrained = ends.pop("a random network")
    assert min(ends["learned rates"], ends["fixed rates (MAML)"]) > untrained + 1
    assert np.isfinite(list(ends.values())).all()
    assert not np.allclose(scope["rates"]["learned rates"], 0.1, rtol=0.05)
    assert np.allclose(scope["rates"]["fixed rates (MAML)"], 0.1)


def fourth(scope: Scope) -> None:
    clear, unclear = scope["verdicts"](scope["table"]), scope["verdicts"](scope["same"])
    assert "is better" in " ".join(clear)
    assert "No difference" in " ".join(unclear)


def fifth(scope: Scope) -> None:
    assert float(scope["after"][0]) != float(scope["after"][1])
    for name in scope["SAMPLED"]:
        assert scope["error"][name][-1] < scope["error"][name][0]
    bias, measured = scope["bias"], scope["error_of_mean"]
    assert bias["first_order"] > bias["lvc"] > bias["loaded_dice"] > bias["control_variates"] > -1e-6
    assert all(abs(measured[name] - bias[name]) < 0.15 for name in ("first_order", "lvc", "loaded_dice"))
    assert scope["error"]["dice"][0] > scope["error"]["control_variates"][0]


def sixth(scope: Scope) -> None:
    ends = list(scope["ends"].values())
    assert ends[0] > ends[1] + 1.0


CHECKS: dict[str, Callable[[Scope], None]] = {
    "01_first_run": first,
    "02_your_environment": second,
    "03_your_algorithm": third,
    "04_compare": fourth,
    "05_meta_gradients": fifth,
    "06_learned_rules": sixth,
}
SHOWN = {
    "01_first_run": ["html", "png", "html"],
    "02_your_environment": ["html"],
    "03_your_algorithm": ["png"],
    "04_compare": ["html", "png", "html", "html"],
    "05_meta_gradients": ["png"],
    "06_learned_rules": ["html", "html", "png"],
}


@pytest.mark.learning
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs_and_holds_what_it_says(name: str, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("Agg")
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
