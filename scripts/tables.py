"""Write the tables of README.md and docs/ anew from the JSON of benchmarks/results/.

    python scripts/tables.py

A table stands between `<!-- table: FILE row,row | column,column -->` and `<!-- end -->`; columns name the cells.
"""

import json
import math
import pathlib
import re
from collections.abc import Sequence

from metarl_jax.experiment.statistics import seed_interval

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- table: (\S+) (.+?) \| (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """The text with every table block filled from its file."""
    return BLOCK.sub(lambda block: block[1] + table(block[2], block[3].split(), block[4].split()) + block[5], text)


def table(name: str, methods: list[str], columns: list[str]) -> str:
    """A Markdown table: a method a line, a cell a column."""
    cells = read_cells(json.loads((RESULTS / f"{name}.json").read_text()))
    lines = [["", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[method, *(words(cells.get((method, column))) for column in columns)] for method in methods]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read_cells(results: dict | list) -> dict[tuple[str, str], dict]:
    """The cells of a file by row and column; of a list of measurements, by what was measured and the quantity."""
    if isinstance(results, dict):
        return {(row["row"], row["column"]): row for row in results["rows"]}
    measured = [(_measured(line), line) for line in results]
    return {(row, key): {"value": value} for row, line in measured for key, value in line.items()}


def _measured(line: dict) -> str:
    """What a line of a benchmark is called: the workload and what it was measured with."""
    with_ = {name: line[name] for name in ("form", "adaptations", "tasks", "trial") if name in line}
    said = [f"{name}={value}" for name, value in with_.items()] + ["remat"] * bool(line.get("remat"))
    return ",".join([line["workload"], *said]).replace(" ", "-")


def words(cell: dict | None) -> str:
    """A value, half its 95 % interval over tasks, and half that over seeds where there are several."""
    if cell is None or cell["value"] is None:
        return ""
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
