"""Figures of the tables: how agents that learn in their memory adapt, and what mattered in their training.

    python scripts/figures.py

Reads benchmarks/results/ and draws docs/adaptation.png and docs/sensitivity.png.
"""

import pathlib
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from trials import RESULTS, oracle

from metarl_jax.experiment.results import Row, Table, read

DOCS = pathlib.Path(__file__).parents[1] / "docs"


class Panel(NamedTuple):
    """Curves of one table: which rows, in which columns."""

    table: str
    title: str
    prefix: str  # of the columns, before the number
    rows: tuple[str, ...]


SHORTEST = 1.0  # steps in multiples of the shortest way
MEMORIES = ("rl2-gru", "rl2-lstm", "rl2-linear", "rl2-attention")
PANELS = (
    Panel("maze", "mazes 7 × 7: steps / shortest", "7x7,attempt=", (*MEMORIES, "depth-first-explorer")),
    Panel("gridnavi", "GridNavi: return", "episode=", (*MEMORIES, "varibad")),
    Panel("key_to_door", "Key-to-Door: return", "episode=", ("rl2-linear", "rl2-linear-forgetting")),
    Panel("dark_room", "Dark Room: return", "episode=", ("rl2-linear-seen", "rl2-linear")),
)


def numbered(table: Table, row: str, prefix: str) -> list[tuple[int, Row]]:
    """The cells of a row in columns `prefix` and a number, in order."""
    cells = [(cell.column.removeprefix(prefix), cell) for cell in table.rows if cell.row == row]
    return sorted((int(number), cell) for number, cell in cells if number.isdigit())


def draw_panel(axes: Any, panel: Panel) -> None:
    """A curve a row, with its interval over tasks, and the level of who knows the task."""
    table = read(RESULTS / f"{panel.table}.json")
    for row in panel.rows:
        numbers, cells = zip(*numbered(table, row, panel.prefix), strict=True)
        (line,) = axes.plot(numbers, [cell.value for cell in cells], marker="o", markersize=3, label=row)
        low, high = zip(*(cell.interval for cell in cells), strict=True)
        axes.fill_between(numbers, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    known = SHORTEST if panel.table == "maze" else oracle("reference", f"{panel.table},episode")
    axes.axhline(known, color="grey", linestyle="--", linewidth=1, label="task known")
    axes.set(title=panel.title, xlabel="episode")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="x-small")


def draw_adaptation() -> None:
    figure, panels = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.5), layout="constrained")
    for axes, panel in zip(panels, PANELS, strict=True):
        draw_panel(axes, panel)
    figure.savefig(DOCS / "adaptation.png", dpi=100)


def by_seed(cell: Row) -> list[float]:
    """What each seed reached, as the note of a cell has it."""
    return [float(word) for word in (cell.note or "").partition("seeds ")[2].split()]


def draw_sensitivity() -> None:
    """A dot a seed and a bar at their mean, a line a change; the band is the interval of the base."""
    table = read(RESULTS / "sensitivity.json")
    changes = list(dict.fromkeys(cell.row for cell in table.rows))
    worlds = list(dict.fromkeys(cell.column for cell in table.rows))
    figure, panels = plt.subplots(
        1, len(worlds), figsize=(4.5 * len(worlds), 0.3 * len(changes) + 1), sharey=True, layout="constrained"
    )
    for axes, world in zip(panels, worlds, strict=True):
        for cell in (cell for cell in table.rows if cell.column == world):
            height = changes.index(cell.row)
            axes.plot(by_seed(cell), [height] * len(by_seed(cell)), "o", color="tab:blue", markersize=4, alpha=0.6)
            axes.plot([cell.value], [height], "|", color="black", markersize=12)
        axes.axvspan(*table.cell("base", world).interval or (), color="grey", alpha=0.2, linewidth=0)
        axes.set(title=world, xlabel="return of a trial", yticks=range(len(changes)), yticklabels=changes)
    panels[0].invert_yaxis()
    figure.savefig(DOCS / "sensitivity.png", dpi=100)


if __name__ == "__main__":
    draw_adaptation()
    draw_sensitivity()
