"""What a sweep found: a table with a row for each combination of options, the best one, and a figure."""

import dataclasses
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl_jax.experiment.figures import BLACK, BLUE, GREY, Y_LABEL
from metarl_jax.experiment.results import RANDOM, REFERENCE, Row, Table, number, pooled
from metarl_jax.experiment.sweep.grid import Grid, Options, is_log_spaced, label, spelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

RETURN = "return"  # the column by which options are compared
SHARED = (RANDOM, REFERENCE)  # agents that owe nothing to the options of an algorithm
TICKS = 8  # values of an option, at most, all of which are marked on its axis
LAST = 10  # a run that is not evaluated has the return of the last tenth of its training


class Cell(NamedTuple):
    """A combination of options."""

    options: Options
    tables: list[Table]  # of its runs that did not diverge
    diverged: int  # how many did

    @property
    def row(self) -> str:
        """Its row in the table of a sweep."""
        return label(self.options)

    def lost(self, method: str) -> int:
        """How many of its runs diverged, or have a return that is not finite."""
        return self.diverged + len(self.tables) - len(self.returns(method))

    def returns(self, method: str) -> list[float]:
        """Those of its runs, as far as they are known."""
        values = [final_return(table, method).value for table in self.tables]
        return [value for value in values if value is not None]


def summary(grid: Grid, cells: Sequence[Cell]) -> Table:
    """The means over seeds: a row for each combination of options; where none vary, a row for each method.

    The column `return` is the mean return of the held-out trials after the last adaptation. The other columns are those
    of an evaluation, for the agents that act by sampling.
    """
    known = [_pooled(cell) for cell in cells]
    name = grid.base.algorithm.name
    if not grid.over and known[0] is not None:
        return known[0]
    made = Table(f"{name}-{grid.base.environment.name}-sweep", list(grid.seeds), grid.base.run.evaluation_tasks)
    for cell, table in zip(cells, known, strict=True):
        rows = [] if table is None else [made.adopted(row, table) for row in table.rows if row.row == name]
        rows = rows or [Row(cell.row, RETURN, None)]
        made.rows += [_noted(dataclasses.replace(row, row=cell.row), cell) for row in rows]
    first = next((table for table in known if table is not None), None)
    environments = {member.config.environment for member in grid.members}
    if first is not None and len(environments) == 1:
        made.rows += [row for row in first.rows if row.row in SHARED and row.column == RETURN]
    return made


def best(cells: Sequence[Cell], method: str) -> Cell | None:
    """The combination with the highest mean return, among those of which the fewest runs were lost."""
    known = [cell for cell in cells if cell.returns(method)]
    return max(known, key=lambda cell: (-cell.lost(method), np.mean(cell.returns(method))), default=None)


def verdict(table: Table, winner: Cell) -> str:
    """The best options in a sentence. They were chosen by these tasks, so that their return is optimistic."""
    row = table.cell(winner.row, RETURN)
    half = "" if (h := _half(row)) is None else f" ± {_number(h, 2)}"
    levels = [f"{other.row} {_number(other.value)}" for other in table.rows if other.row in SHARED]
    beside = f" ({', '.join(levels)})" if levels else ""
    fresh = "; `metarl evaluate RUN --seed 1` draws other tasks than those that chose it" if table.tasks else ""
    return f"best: {winner.row}, return {_number(row.value)}{half}{beside}{fresh}"


def final_return(table: Table, method: str) -> Row:
    """The return of a method in an evaluation, after the last adaptation and over all episodes of a trial."""
    mine = [row for row in table.rows if row.row == method]
    if given := [row for row in mine if row.column == RETURN]:
        return given[0]
    steps = [row for row in mine if _kind(row) == "step"]
    episodes = [row for row in mine if _kind(row) == "episode"]
    if len(chosen := steps[-1:] or episodes) == 1:
        return Row(method, RETURN, chosen[0].value, chosen[0].interval)
    values = [row.value for row in chosen]
    known = [value for value in values if value is not None]
    return Row(method, RETURN, sum(known) / len(known) if known and len(known) == len(values) else None)


def training_table(name: str, seed: int, metrics: dict[str, np.ndarray]) -> Table:
    """The table of a run that is not evaluated: its return in the last tenth of its training."""
    returns = metrics.get(RETURN, np.array([]))
    returns = returns[-max(1, len(returns) // LAST) :]
    known = returns[~np.isnan(returns)]
    table = Table(name, [seed], tasks=0)
    table.add(name, RETURN, known.mean() if known.size else None)
    return table


def sweep_figure(table: Table, grid: Grid) -> "Figure":
    """The return against each option: every run, and the best combination with each value, with intervals over seeds.

    An axis is logarithmic where the values of its option are spaced so.
    """
    from metarl_jax.experiment.drawing import Drawing

    names = [name for name, values in grid.over.items() if len(values) > 1] or list(grid.over)
    figure = Drawing(figsize=(4.8 * len(names), 4.0), layout="constrained")
    panels = list(figure.subplots(1, len(names), squeeze=False)[0])
    cells = {label(options): options for options in grid.cells()}
    rows = [row for row in table.rows if row.column == RETURN and row.row in cells and row.value is not None]
    for name, panel in zip(names, panels, strict=True):
        _draw_option(panel, name, grid.over[name], [(cells[row.row][name], row) for row in rows])
        for row in table.rows:
            if row.column == RETURN and row.row in SHARED and row.value is not None:
                panel.axhline(row.value, linestyle="--", linewidth=1, color=BLACK)
                panel.annotate(row.row, (1.01, row.value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set(xlabel=name.replace("_", " "), ylabel=Y_LABEL)
    more = "; with the best of the other options" if len(names) > 1 else ""
    title = f"{heading(table, grid)}{more}; bars: {_interval(grid)}"
    figure.suptitle(fill(title, 50 * len(names)), fontsize="medium")
    return figure


def heading(table: Table, grid: Grid) -> str:
    """What the returns of a sweep are from, in words."""
    algorithm, environment = grid.base.algorithm.name, grid.base.environment.name
    if not table.tasks:
        return f"{algorithm} in the last tenth of its training on {environment}"
    return f"{algorithm} on {table.tasks} held-out tasks of {environment}"


def to_rich(table: Table, grid: Grid, winner: str | None) -> "Group":
    """The table for a terminal: a line for each combination of options, the row `winner` in bold."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    for name in (*grid.over, RETURN, "±", ""):
        drawn.add_column(name, justify="right" if name else "left")
    for options in grid.cells():
        row = table.cell(label(options), RETURN)
        values = [spelled(value) for value in options.values()]
        style = "bold" if row.row == winner else None
        drawn.add_row(*values, _number(row.value), _number(_half(row), 2), row.note or "", style=style)
    for row in table.rows:
        if row.row in SHARED and row.column == RETURN:
            drawn.add_row(row.row, *[""] * (len(grid.over) - 1), _number(row.value), "", "", style="dim")
    caption = Text("mean return", style="italic") + f" ± half a {_interval(grid)}"
    return Group(Text(heading(table, grid), style="bold"), drawn, Text(), caption)


def _interval(grid: Grid) -> str:
    return f"95 % interval over {f'{len(grid.seeds)} seeds' if len(grid.seeds) > 1 else 'tasks'}"


def _pooled(cell: Cell) -> Table | None:
    """The mean of a combination over its seeds, with the column of returns."""
    if not cell.tables:
        return None
    for table in cell.tables:
        methods = dict.fromkeys(row.row for row in table.rows)
        have = {row.row for row in table.rows if row.column == RETURN}
        table.rows += [final_return(table, method) for method in methods if method not in have]
    return pooled(cell.tables)


def _noted(row: Row, cell: Cell) -> Row:
    if not cell.diverged or row.column != RETURN:
        return row
    return dataclasses.replace(row, note=f"{cell.diverged} of {cell.diverged + len(cell.tables)} diverged")


def _draw_option(panel: "Axes", name: str, values: Sequence[Any], found: Sequence[tuple[Any, Row]]) -> None:
    """The returns by the value of one option."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    place = {value: value if numbers else index for index, value in enumerate(values)}
    for value, row in found:
        runs = row.by_seed or [_value(row)]
        panel.plot([place[value]] * len(runs), runs, ".", color=GREY, markersize=4, zorder=1)
    tops = [max(rows, key=_value) for value in values if (rows := [row for at, row in found if at == value])]
    seen = [place[value] for value in values if any(at == value for at, _ in found)]
    order = np.argsort(seen)
    line = [(seen[index], tops[index]) for index in order]
    halves = [_half(row) or 0.0 for _, row in line]
    panel.errorbar([x for x, _ in line], [_value(row) for _, row in line], halves, marker="o", capsize=3, color=BLUE)
    if numbers and is_log_spaced(values):
        panel.set_xscale("log")
    if not numbers or len(values) <= TICKS:
        panel.set_xticks([place[value] for value in values], [spelled(value) for value in values])
        panel.minorticks_off()


def _kind(row: Row) -> str | None:
    name, _, number = row.column.partition("=")
    return name if number.isdigit() else None


def _value(row: Row) -> float:
    return row.value if row.value is not None else -np.inf


def _half(row: Row) -> float | None:
    return (row.band[1] - row.band[0]) / 2 if row.band is not None else None


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else number(value, digits)
