"""Figures, drawn without a display: the diagnostics of a run, and its adaptation curve with references."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl_jax.experiment.curves import SCRATCH
from metarl_jax.experiment.files import write_whole
from metarl_jax.experiment.progress import BOOKKEEPING
from metarl_jax.experiment.results import RANDOM, REFERENCE, Row, Table, number
from metarl_jax.experiment.statistics import seed_interval
from metarl_jax.experiment.tables import heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which all readers can tell apart.
BLUE, SKY, ORANGE, BLACK, GREY = "#0072B2", "#56B4E9", "#E69F00", "#000000", "#7F7F7F"
OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#F0E442")
X_LABELS = {"step": "gradient steps in the task", "episode": "episode in the task"}
Y_LABEL = "return (sum of the rewards of an episode)"
TRAINING = {"return": "training return, last rollout", "return_before": "training return, first rollout"}
FAULTS = ("skipped", "dead_leaves")  # of meta-steps
WIDE = 3  # panels beside each other
LINE_GAP = 0.055  # between two lines of labels, as a share of the panel's height
Points = list[tuple[int, Row]]


class Style(NamedTuple):
    """How a method is drawn."""

    colour: str
    dashes: str = "-"
    width: float = 1.5
    over: int = 2  # what lies below it


def adaptation_figure(table: Table) -> "Figure":
    """The returns of an evaluation by what its first method adapts by, with 95 % bands, over seeds if several.

    Where it is evaluated once, a dot with its interval for each method.
    """
    kind = table.axis(table.methods()[0])
    figure, (panel,) = _panels(1, size=(6.4, 4.0))
    if max(len(table.curve(method, kind)) for method in table.methods()) > 1:
        draw_curves(panel, table, kind)
        _set_range(panel, table, kind)
        _label_ends(panel, table, kind)
        panel.set(xlabel=X_LABELS[kind], ylabel=Y_LABEL)
    else:
        _draw_dots(panel, table, kind)
        panel.set(xlabel=Y_LABEL)
    panel.set_title(fill(f"{heading(table)}; {_intervals(table)}", 60), fontsize="medium", loc="left")
    return figure


def _intervals(table: Table) -> str:
    """What the intervals are over."""
    seeds = max(len(row.by_seed or ()) for row in table.rows)
    over_tasks = any(row.interval and not row.by_seed for row in table.rows)
    return "95 % intervals" + (f" over {seeds} seeds" + ", of some over tasks" * over_tasks if seeds else "")


def learning_figure(metrics: dict[str, np.ndarray], title: str = "") -> "Figure":
    """Every diagnostic of a training run that was measured, against environment steps; returns come first.

    Of several runs, arrays [seeds, lines], the means with 95 % bands over seeds.
    """
    names = sorted(told(metrics), key=lambda name: not name.startswith("return"))
    titles = TRAINING if "return_before" in names else {"return": "training return"}
    from matplotlib.ticker import EngFormatter

    figure, panels = _panels(max(1, len(names)))
    for name, panel in zip(names, panels, strict=False):
        _draw_diagnostic(panel, np.atleast_2d(metrics["env_steps"])[0], np.atleast_2d(metrics[name]))
        panel.set_title(titles.get(name, name.replace("_", " ")), fontsize="medium", loc="left")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.set(xlabel="environment steps", ylabel="mean over meta-steps")
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    seeds = len(np.atleast_2d(metrics["env_steps"]))
    figure.suptitle(f"{title}; 95 % intervals over {seeds} seeds" if seeds > 1 else title)
    return figure


def told(metrics: dict[str, np.ndarray]) -> list[str]:
    """The diagnostics that tell something: no count of faults that never happened, and no return twice."""
    names = [name for name in metrics if name not in BOOKKEEPING and np.isfinite(metrics[name]).any()]
    names = [name for name in names if name not in FAULTS or np.any(metrics[name])]
    if {"return", "return_before"} <= {*names} and np.allclose(
        metrics["return"], metrics["return_before"], equal_nan=True
    ):
        names.remove("return_before")  # of agents that do not adapt by gradients
    return names


def _draw_diagnostic(panel: Any, steps: np.ndarray, values: np.ndarray) -> None:
    """The mean over seeds of a diagnostic [seeds, lines], and its band if there are several."""
    panel.plot(steps, values.mean(axis=0), color=BLUE, marker="" if len(steps) > 1 else "o")
    if len(values) > 1:
        low, high = np.transpose([seed_interval(means) for means in values.T])
        panel.fill_between(steps, low, high, color=BLUE, alpha=0.15, linewidth=0)


def draw_curves(panel: Any, table: Table, kind: str) -> None:
    """A curve with its band for each method with cells `kind=<number>`, a horizontal line for the others."""
    for method, style in styles(table).items():
        how = {"color": style.colour, "linestyle": style.dashes, "linewidth": style.width, "zorder": style.over}
        points = table.curve(method, kind)
        if not points:
            _draw_level(panel, table, method, kind, how)
            continue
        marker = "" if method in (RANDOM, REFERENCE) else "o"
        panel.plot(*_values(points), label=method, marker=marker, markersize=3, **how)
        banded = [(x, band) for x, row in points if (band := row.band) is not None]
        low, high = [interval[0] for _, interval in banded], [interval[1] for _, interval in banded]
        faint = {"color": style.colour, "alpha": 0.06 * style.width, "linewidth": 0, "zorder": style.over - 1}
        panel.fill_between([x for x, _ in banded], low, high, **faint)
    panel.xaxis.get_major_locator().set_params(integer=True)


def styles(table: Table) -> dict[str, Style]:
    """The style of each method: the first over all others, references and controls always the same."""
    first, *rest = table.methods()
    special = {
        f"{first}-greedy": Style(SKY, "--"),
        SCRATCH: Style(ORANGE),
        RANDOM: Style(GREY, ":"),
        REFERENCE: Style(BLACK, "--", 1.0),
    }
    others = iter(OTHERS * len(rest))
    own = special.get(first, Style(BLUE))._replace(width=2.2, over=4)
    return {first: own} | {method: special.get(method) or Style(next(others)) for method in rest}


def write_figure(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as PNG."""
    from metarl_jax.experiment.drawing import png

    write_whole(Path(path), png(figure))
    return Path(path)


def spoken(table: Table, method: str) -> str:
    """The name of a method in a figure: what a reference is, and what a control does."""
    if method == REFERENCE:
        points = table.curve(method, "episode")
        return (points[-1][1].note if points else None) or method
    if method == SCRATCH and method != table.methods()[0]:
        return "from scratch"
    return method.replace("-greedy", ", greedy")


def _panels(count: int, size: tuple[float, float] = (4.2, 3.0)) -> tuple["Figure", list["Axes"]]:
    from metarl_jax.experiment.drawing import Drawing

    across, down = min(count, WIDE), math.ceil(count / WIDE)
    figure = Drawing(figsize=(size[0] * across, size[1] * down), layout="constrained")
    panels: list[Axes] = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _values(points: Points) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [row.value for _, row in points if row.value is not None]


def _draw_level(panel: Any, table: Table, method: str, kind: str, how: dict[str, Any]) -> None:
    """A horizontal line at the return of a method that takes no gradient steps."""
    level = table.level(method, kind)
    if level is not None:
        panel.axhline(level, label=method, **how)


def _draw_dots(panel: Any, table: Table, kind: str) -> None:
    """A dot for each method, from the first above to the last below."""
    methods = table.methods()
    for place, (method, style) in enumerate(styles(table).items()):
        for _, row in table.curve(method, kind)[-1:]:
            interval = row.band or (row.value, row.value)
            panel.plot(interval, (place, place), color=style.colour, linewidth=style.width)
            panel.plot([row.value], [place], color=style.colour, marker="o", label=method)
    panel.set_yticks(range(len(methods)), [fill(spoken(table, method), 22) for method in methods])
    panel.invert_yaxis()
    panel.margins(y=0.2)


def _set_range(panel: Any, table: Table, kind: str) -> None:
    """The vertical range of the first method and the reference; others count unless they are far away."""
    first = table.methods()[0]
    points = table.curve(first, kind)
    ends = [end for _, row in points if row.interval is not None for end in row.interval]
    near = _heights(table, first, kind) + _heights(table, REFERENCE, kind)
    low, high = min(near), max(near)
    reach = (high - low) or 1.0
    for value in [*ends, *(y for method in table.methods() for y in _heights(table, method, kind))]:
        if min(near) - reach / 2 <= value <= max(near) + reach / 2:
            low, high = min(low, value), max(high, value)
    room = 0.05 * ((high - low) or 1.0)
    panel.set_ylim(low - room, high + room)


def _heights(table: Table, method: str, kind: str) -> list[float]:
    """The values of a curve, or the level of a method without one."""
    level = table.level(method, kind)
    return _values(table.curve(method, kind))[1] or ([] if level is None else [level])


def _label_ends(panel: Any, table: Table, kind: str) -> None:
    """The name of each method beside the end of its curve, and where that lies if outside the panel."""
    low, high = panel.get_ylim()
    labels = []
    for method, style in styles(table).items():
        heights = _heights(table, method, kind)
        if heights:
            outside = (
                "" if low <= heights[-1] <= high else f" ({number(heights[-1], 3)} {'↓' if heights[-1] < low else '↑'})"
            )
            text = fill(spoken(table, method) + outside, 22)
            labels.append((float(np.clip((heights[-1] - low) / (high - low), 0, 1)), text, style.colour))
    labels.sort()
    sizes = [LINE_GAP * (1 + text.count("\n")) for _, text, _ in labels]
    for height, (_, text, colour) in zip(spread([label[0] for label in labels], sizes), labels, strict=True):
        place = {"xycoords": "axes fraction", "va": "center", "fontsize": "small", "annotation_clip": False}
        panel.annotate(text, (1.02, height), color=colour, **place)


def spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Ascending heights [n] moved apart as little as keeps labels of these sizes from overlapping."""
    gaps = [(one + other) / 2 for one, other in pairwise(sizes)]
    offsets = np.concatenate([[0.0], np.cumsum(gaps)])[: len(heights)]
    return list(_rising(np.asarray(heights, float) - offsets) + offsets)


def _rising(values: np.ndarray) -> np.ndarray:
    """The closest sequence that never falls: neighbours that do are replaced by their mean, until none does."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return np.array([np.mean(pool) for pool in pools for _ in pool])
