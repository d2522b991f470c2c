"""Figures of the tables: how agents that learn in their memory adapt, and what mattered in their training.

    python scripts/figures.py

Reads benchmarks/results/ and draws docs/adaptation.png and docs/sensitivity.png.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from trials import RESULTS, oracle

from metarl_jax.experiment.figures import draw_curves
from metarl_jax.experiment.results import read

DOCS = pathlib.Path(__file__).parents[1] / "docs"


class Panel(NamedTuple):
    """Curves of one table: which columns, of which rows, and what an agent that knows the task gets."""

    table: str
    title: str
    kind: str  # of columns `kind=<number>`
    rows: tuple[str, ...]
    known: float | None


MEMORIES = ("rl2-gru", "rl2-lstm", "rl2-linear", "rl2-attention")
PANELS = (
    Panel("maze", "mazes 7 × 7: steps / shortest", "7x7,attempt", (*MEMORIES, "depth-first-explorer"), 1.0),
    Panel("gridnavi", "GridNavi: return", "episode", (*MEMORIES, "varibad"), oracle("reference", "gridnavi,episode")),
    Panel(
        "key_to_door",
        "Key-to-Door: return",
        "episode",
        ("rl2-linear", "rl2-linear-forgetting"),
        oracle("reference", "key_to_door,episode"),
    ),
    Panel(
        "dark_room",
        "Dark Room: return",
        "episode",
        ("rl2-linear-seen", "rl2-linear"),
        oracle("reference", "dark_room,episode"),
    ),
)


def draw_panel(axes: Any, panel: Panel) -> None:
    """A curve a row, with its interval over tasks, and the level of who knows the task."""
    table = read(RESULTS / f"{panel.table}.json")
    cells = [cell for row in panel.rows for cell in table.rows if cell.row == row]
    draw_curves(axes, dataclasses.replace(table, rows=cells), panel.kind)
    axes.axhline(panel.known, color="grey", linestyle="--", linewidth=1, label="task known")
    axes.set(title=panel.title, xlabel="episode")
    axes.legend(fontsize="x-small")


def draw_adaptation() -> None:
    figure, panels = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.5), layout="constrained")
    for axes, panel in zip(panels, PANELS, strict=True):
        draw_panel(axes, panel)
    figure.savefig(DOCS / "adaptation.png", dpi=100)


def draw_sensitivity() -> None:
    """A dot a seed and a bar at their mean, a line a change; the band is the interval of the base over seeds."""
    table = read(RESULTS / "sensitivity.json")
    changes = list(dict.fromkeys(cell.row for cell in table.rows))
    worlds = list(dict.fromkeys(cell.column for cell in table.rows))
    figure, panels = plt.subplots(
        1, len(worlds), figsize=(4.5 * len(worlds), 0.3 * len(changes) + 1), sharey=True, layout="constrained"
    )
    for axes, world in zip(panels, worlds, strict=True):
        for cell in (cell for cell in table.rows if cell.column == world):
            height = changes.index(cell.row)
            seeds = cell.by_seed or []
            axes.plot(seeds, [height] * len(seeds), "o", color="tab:blue", markersize=4, alpha=0.6)
            axes.plot([cell.value], [height], "|", color="black", markersize=12)
        axes.axvspan(*table.cell("base", world).seed_interval, color="grey", alpha=0.2, linewidth=0)
        axes.set(title=world, xlabel="return of a trial", yticks=range(len(changes)), yticklabels=changes)
    panels[0].invert_yaxis()
    figure.savefig(DOCS / "sensitivity.png", dpi=100)


if __name__ == "__main__":
    draw_adaptation()
    draw_sensitivity()
