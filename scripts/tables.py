"""Write the tables of README.md and docs/ anew from the JSON of benchmarks/results/.

    python scripts/tables.py

A table stands between `<!-- table: FILE row row ... | column column ... -->` and `<!-- end -->`.
The rows `published` and `bound` hold what the literature reports and what the best agent gets, where the file knows it.
The table of `HEADLINES`, the README's choice from all files, stands between `<!-- headlines -->` and `<!-- end -->`;
that of the tests of faults between `<!-- faults -->` and `<!-- end -->`.
"""

import json
import math
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from metarl_jax.experiment.statistics import seed_interval

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- table: (\S+) (.+?) \| (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
CHOICE = re.compile(r"(<!-- headlines -->\n).*?(<!-- end -->)", re.DOTALL)
SURVIVED = re.compile(r"(<!-- faults -->\n).*?(<!-- end -->)", re.DOTALL)
BESIDE = ("published", "bound")


class Headline(NamedTuple):
    """A line of the README's results: our cell (file, row, column), and what stands beside it."""

    task: str
    ours: tuple[str, str, str]
    bound_is: str
    published: tuple[str, str, str] | None = None  # the cell that the published value is of, if not ours
    bound: tuple[str, str, str] | None = None  # the cell whose value is the bound, if ours has none


HEADLINES = (
    Headline("bandit, 5 arms, 10 pulls: reward, `rl2`", ("bandits", "rl2-gru", "n=10,k=5"), "Bayes"),
    Headline("the same, `maml`", ("maml_tables", "maml", "bandit_n=10,k=5"), "Bayes"),
    Headline("bandit, 50 arms, 100 pulls: reward, `rl2`", ("bandits", "rl2-linear", "n=100,k=50"), "Gittins"),
    Headline("GridNavi, four episodes: return, `rl2`", ("gridnavi", "rl2-gru", "total"), "Bayes"),
    Headline("random MDPs, 10 episodes: return, `rl2`", ("tabular", "rl2-attention", "n=10"), "known task"),
    Headline("random MDPs, 25 episodes: return, `rl2`", ("tabular", "rl2-attention", "n=25"), "known task"),
    Headline(
        "2D navigation, three gradient steps: return, `maml`",
        ("navigation", "maml", "published,step=3"),
        "known task",
        published=("navigation", "maml_trpo", "published,step=3"),
        bound=("navigation", "reference", "published,step=0"),
    ),
    Headline("Key-to-Door, episode 10: return, `rl2`", ("key_to_door", "rl2-linear", "episode=last"), "known task"),
    Headline("Dark Room, goals withheld: return, `rl2`", ("dark_room", "rl2-linear", "total"), "planned search"),
    Headline(
        "CartPole, unknown physics, episode 1: return, `rl2`",
        ("cartpole", "rl2-gru", "mild+flip,episode=1"),
        "known task",
        bound=("cartpole", "reference", "mild+flip,episode=1"),
    ),
)


def render(text: str) -> str:
    """The text with every table block filled from its file."""
    text = BLOCK.sub(lambda block: block[1] + table(block[2], block[3].split(), block[4].split()) + block[5], text)
    text = CHOICE.sub(lambda block: block[1] + headlines() + block[2], text)
    return SURVIVED.sub(lambda block: block[1] + faults() + block[2], text)


def table(name: str, methods: list[str], columns: list[str]) -> str:
    """A Markdown table: a method a line, a cell a column."""
    cells = load(name)
    for field in set(BESIDE) & set(methods):
        cells |= {(field, column): beside(cells, methods, column, field) for column in columns}
    lines = [[method, *(words(cells.get((method, column))) for column in columns)] for method in methods]
    return markdown(["", *columns], lines)


def headlines() -> str:
    """The Markdown table of `HEADLINES`."""
    lines = []
    for line in HEADLINES:
        ours = find(*line.ours)
        published = (find(*line.published) if line.published else ours)["published"]
        bound = find(*line.bound)["value"] if line.bound else ours["bound"]
        lines.append([line.task, words(ours), words({"value": published}), f"{bound:.4g} ({line.bound_is})"])
    return markdown(["task", "ours", "published", "exact bound"], lines)


def faults() -> str:
    """The Markdown table of the tests of faults: how many passed, in how many rounds, of which how many were lost."""
    found = json.loads((RESULTS / "faults.json").read_text())
    lines = []
    for number, name in found["faults"].items():
        mine = [test for test in found["tests"] if test["fault"] == int(number)]
        if not mine:
            continue
        passed, failed, rounds, lost = (
            sum(test[part] for test in mine) for part in ("passed", "failed", "rounds", "lost")
        )
        lines.append([name, f"{passed} of {passed + failed}", str(rounds or ""), str(lost if rounds else "")])
    return markdown(["fault", "tests passed", "rounds", "lost"], lines)


def markdown(columns: list[str], lines: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    ruled = [columns, ["---", *["---:"] * (len(columns) - 1)], *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def find(name: str, method: str, column: str) -> dict:
    """One cell of a file."""
    return load(name)[method, column]


def load(name: str) -> dict[tuple[str, str], dict]:
    """The cells of benchmarks/results/<name>.json by row and column."""
    return read_cells(json.loads((RESULTS / f"{name}.json").read_text()))


def beside(cells: dict[tuple[str, str], dict], methods: list[str], column: str, field: str) -> dict:
    """What stands beside the cells of these methods in a column, as a cell: their one published value, or bound."""
    found = {cells.get((method, column), {}).get(field) for method in methods} - {None}
    if len(found) > 1:
        raise ValueError(f"{field} of {column} is one of {sorted(found)}: name the methods that share one")
    return {"value": next(iter(found), None)}


def read_cells(results: dict | list) -> dict[tuple[str, str], dict]:
    """The cells of a file by row and column; of a list of measurements, by what was measured and the quantity."""
    if isinstance(results, dict):
        return {(row["row"], row["column"]): row for row in results["rows"]}
    measured = [(_measured(line), line) for line in results]
    return {(row, key): {"value": value} for row, line in measured for key, value in line.items()}


def _measured(line: dict) -> str:
    """What a line of a benchmark is called: the workload and what it was measured with."""
    what = line.get("workload") or line.get("pair") or "fresh-mazes"
    with_ = {name: line[name] for name in ("form", "adaptations", "tasks", "trial") if name in line}
    said = [f"{name}={value}" for name, value in with_.items()] + ["remat"] * bool(line.get("remat"))
    return ",".join([what, *(word.replace(", ", "-") for word in said)]).replace(" ", "-")


def words(cell: dict | None) -> str:
    """A value, half its 95 % interval over tasks, and half that over seeds where there are several."""
    if cell is None or cell["value"] is None:
        return ""
    if isinstance(cell["value"], str):
        return cell["value"]
    if cell["value"] >= 10_000:
        return f"{cell['value']:,.0f}"
    between = half(seed_interval(cell.get("by_seed") or []))
    return f"{cell['value']:.4g}{half(cell.get('interval'))}" + (f" (seeds{between})" if between else "")


def half(ends: Sequence[float] | None) -> str:
    """Half an interval in two digits, or nothing where there is none."""
    if ends is None or not math.isfinite(ends[0]):
        return ""
    width = (ends[1] - ends[0]) / 2
    return f" ±{width:.2g}" if width < 100 else f" ±{width:.0f}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page.read_text()))
