"""Figures, drawn without a display: the diagnostics of a run, and its adaptation curve with references."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.experiment.progress import BOOKKEEPING
from metarl_jax.experiment.results import Row, Table
from metarl_jax.experiment.statistics import seed_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def adaptation_figure(table: Table) -> "Figure":
    """The returns of an evaluation by gradient step and by episode, with 95 % bands, over seeds if several."""
    kinds = [kind for kind in ("step", "episode") if any(_position(row, kind) is not None for row in table.rows)]
    figure, panels = _panels(len(kinds))
    for kind, panel in zip(kinds, panels, strict=True):
        draw_curves(panel, table, kind)
        panel.set(xlabel={"step": "gradient step", "episode": "episode"}[kind], ylabel="return on held-out tasks")
    panels[-1].legend(fontsize="small")
    seeds = f", {len(table.seeds)} seeds" if len(table.seeds) > 1 else ""
    figure.suptitle(f"{table.table}: {table.tasks} held-out tasks{seeds}")
    return figure


def learning_figure(metrics: dict[str, np.ndarray], title: str = "") -> "Figure":
    """Every diagnostic of a training run against environment steps; of several, [seeds, lines], means with bands.

    A band is a 95 % interval over seeds.
    """
    names = [name for name in metrics if name not in BOOKKEEPING]
    figure, panels = _panels(max(1, len(names)))
    for name, panel in zip(names, panels, strict=False):
        steps, values = np.atleast_2d(metrics["env_steps"])[0], np.atleast_2d(metrics[name])
        panel.plot(steps, values.mean(axis=0), color="C0")
        if len(values) > 1:
            low, high = np.transpose([seed_interval(means) for means in values.T])
            panel.fill_between(steps, low, high, color="C0", alpha=0.2, linewidth=0)
        panel.set(xlabel="environment steps", ylabel=name.replace("_", " "))
    figure.suptitle(title)
    return figure


def draw_curves(panel: Any, table: Table, kind: str) -> None:
    """A curve with its band for each method with cells `kind=<number>`, a horizontal line for the others."""
    for index, method in enumerate(dict.fromkeys(row.row for row in table.rows)):
        colour = f"C{index}"  # the same in every panel
        placed = [(_position(row, kind), row) for row in table.rows if row.row == method]
        curve = [(x, row) for x, row in placed if x is not None and row.value is not None]
        if not curve:
            _draw_level(panel, table, method, colour)
            continue
        xs = [x for x, _ in curve]
        panel.plot(xs, [row.value for _, row in curve], label=method, color=colour, marker="o", markersize=3)
        banded = [(x, band) for x, row in curve if (band := row.seed_interval or row.interval) is not None]
        low, high = [interval[0] for _, interval in banded], [interval[1] for _, interval in banded]
        panel.fill_between([x for x, _ in banded], low, high, color=colour, alpha=0.2, linewidth=0)
    panel.xaxis.get_major_locator().set_params(integer=True)


def write_figure(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, format="png", dpi=120)
    return Path(path)


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # not pyplot, which would keep figures alive and look for a display

    figure = Figure(figsize=(4.5 * count, 3.5), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _draw_level(panel: Any, table: Table, method: str, colour: str) -> None:
    """A dashed line at the mean over episodes of a method that takes no gradient steps."""
    values = [row.value for row in table.rows if row.row == method and _position(row, "episode") is not None]
    known = [value for value in values if value is not None]
    if known:
        panel.axhline(float(np.mean(known)), label=method, linestyle="--", color=colour, linewidth=1)


def _position(row: Row, kind: str) -> int | None:
    """The position of a cell `kind=<number>` on the axis of its kind; None for other cells."""
    name, _, number = row.column.partition("=")
    return int(number) if name == kind and number.isdigit() else None
