"""What a report says of several runs: which is better in the same held-out tasks, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metarl_jax.experiment import reliability
from metarl_jax.experiment.comparison import briefly, differing, gathered, members, tabulated, verdicts
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.figures import X_LABELS, Y_LABEL
from metarl_jax.experiment.report.charts import (
    Chart,
    Estimate,
    Line,
    bracketed,
    interval_chart,
    line_chart,
    plain,
    run_role,
)
from metarl_jax.experiment.report.run_section import Judged
from metarl_jax.experiment.results import Row, Table

THRESHOLDS = 61  # of a performance profile
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MethodRow(NamedTuple):
    """A method in the table: its letter and colour stand for it in the charts."""

    letter: str
    role: str
    name: str
    cells: list[str]


class ComparisonSection(NamedTuple):
    """The contents of the section."""

    verdicts: list[str]
    note: str
    columns: list[str]
    rows: list[MethodRow]
    charts: list[Chart]
    options: dict[str, list[str]]


def comparison_section(judged: Sequence[Judged]) -> ComparisonSection:
    """What is said of two or more runs in one environment."""
    configs = {run.name: run.result.config for run in judged}
    returns = {run.name: np.asarray(run.evaluation.curves[run.agent].returns)[:, -1] for run in judged}
    table = tabulated(configs, returns, judged[0].split)
    methods = gathered(configs, returns)
    firsts = [configs[runs[0]] for runs in members(configs).values()]
    options = {name: [str(value) for value in values] for name, values in differing(firsts).items()}
    scores = {name: values[..., -1] for name, values in methods.items()}
    charts = [*_curves(table), *_estimates(table), profile_chart(scores)]
    columns = ["", "last episode", "IQM", "difference to A", "better than A in"]
    return ComparisonSection(verdicts(table), _note(configs, table), columns, _rows(table), charts, options)


def profile_chart(scores: Mapping[str, np.ndarray]) -> Chart:
    """The share of runs and tasks of each method with more than each return, with pointwise bands."""
    extent = np.concatenate([each.ravel() for each in scores.values()])
    thresholds = np.linspace(extent.min(), extent.max(), THRESHOLDS)
    lines = []
    for index, each in enumerate(scores.values()):
        low, high = reliability.interval(lambda drawn: reliability.profile(drawn, thresholds), each, resamples=500)
        ys = reliability.profile(each, thresholds)
        height = 0.8 - 0.6 * index / max(1, len(scores) - 1)  # of the label: curves that are close have theirs apart
        line = Line(_letter(index), thresholds, 100 * ys, role=run_role(index), at=int(np.argmax(ys <= height)))
        lines.append(line._replace(low=100 * low, high=100 * high) if np.isfinite(low).all() else line)
    return line_chart("Performance profiles", "return x of the last episode", "% of tasks with more than x", lines)


def _curves(table: Table) -> list[Chart]:
    """The returns by episode, where there are several."""
    lines = []
    for index, method in enumerate(table.methods()):
        cells = table.curve(method, "episode")
        known = [row.interval for _, row in cells if row.interval is not None]
        low, high = zip(*known, strict=True) if len(known) == len(cells) else ((), ())
        ys = [row.value for _, row in cells if row.value is not None]
        lines.append(Line(_letter(index), [x for x, _ in cells], ys, low, high, run_role(index)))
    if len(lines[0].xs) < 2:
        return []
    return [line_chart("Returns in the same tasks", X_LABELS["episode"], Y_LABEL, lines, whole=True)]


def _estimates(table: Table) -> list[Chart]:
    """Interquartile means, differences of means, and probabilities of improvement, with their intervals."""
    last = _last(table)
    kinds = (
        ("Interquartile mean of the last episode", Y_LABEL, f"episode={last},iqm", None, 1.0),
        ("Difference of means to A", Y_LABEL, f"episode={last},difference", 0.0, 1.0),
        ("Probability of improvement over A", "% of tasks with a higher return", "improvement", 50.0, 100.0),
    )
    charts = []
    for title, label, column, guide, unit in kinds:
        rows = []
        for index, method in enumerate(table.methods()):
            cell = _cell(table, method, column)
            if cell is not None and cell.value is not None:
                ends = None if cell.interval is None else (unit * cell.interval[0], unit * cell.interval[1])
                rows.append(Estimate(_letter(index), unit * cell.value, ends, run_role(index)))
        charts.append(interval_chart(title, label, rows, guide=guide))
    return charts


def _rows(table: Table) -> list[MethodRow]:
    last = _last(table)
    columns = (f"episode={last}", f"episode={last},iqm", f"episode={last},difference")
    rows = []
    for index, (method, name) in enumerate(briefly(table.methods()).items()):
        cells = [_said(_cell(table, method, column)) for column in columns]
        better = _cell(table, method, "improvement")
        share = "" if better is None or better.value is None else f"{100 * better.value:.0f} % of tasks"
        rows.append(MethodRow(_letter(index), run_role(index), name, [*cells, share]))
    return rows


def _note(configs: Mapping[str, RunConfig], table: Table) -> str:
    """What the intervals stand for."""
    each = [len(runs) for runs in members(configs).values()]
    seeds = (
        "Each method has one run, so the intervals are over tasks, and other seeds may differ"
        if max(each) == 1
        else f"The intervals are over tasks and over the {min(each)} to {max(each)} seeds of a method"
        if min(each) != max(each)
        else f"The intervals are over tasks and over the {min(each)} seeds of each method"
    )
    return (
        f"All agents adapt to the same {table.tasks} held-out tasks. {seeds}. "
        "They are 95 % intervals by a bootstrap, stratified by method and paired by task (Agarwal et al. 2021)."
    )


def _last(table: Table) -> int:
    return table.curve(table.methods()[0], "episode")[-1][0]


def _cell(table: Table, method: str, column: str) -> Row | None:
    return next((row for row in table.rows if (row.row, row.column) == (method, column)), None)


def _said(cell: Row | None) -> str:
    return "" if cell is None or cell.value is None else f"{plain(cell.value)} {bracketed(cell.interval)}".rstrip()


def _letter(index: int) -> str:
    return LETTERS[index % len(LETTERS)] * (1 + index // len(LETTERS))
