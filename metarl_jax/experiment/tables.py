"""Tables to be read: methods as rows and a handful of columns, in a terminal of any width and in a notebook."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from metarl_jax.experiment.results import Interval, Row, Table, number

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable

HANDFUL = 4
DIGITS = 3  # significant, of a value
LONGEST_NAME = 15  # of a method, that is not folded in any terminal
GAP = 2  # columns of the terminal between two of the table
Cells = dict[str, dict[str, str]]  # by column or header, and method
SPLITS = {"train": "training tasks", "test": "held-out tasks", "extrapolation": "tasks beyond those of training"}


def chosen(table: Table) -> list[str]:
    """The columns worth a look: the first, second, middle and last at which the first method adapts.

    In a comparison also the last difference; without such columns the first few.
    """
    kind = table.axis(table.methods()[0])
    places = sorted({place for method in table.methods() for place, _ in table.curve(method, kind)})
    if not places:
        return table.columns()[:HANDFUL]
    few = places if len(places) <= HANDFUL else [*places[:2], places[(len(places) - 1) // 2], places[-1]]
    columns = [f"{kind}={place}" for place in few]
    difference = f"{columns[-1]},difference"
    return [*columns, difference] if difference in table.columns() else columns


def heading(table: Table) -> str:
    """What the table is about, in words, where its name is that of an evaluation."""
    method = table.methods()[0]
    about = table.table.removeprefix("comparison-")
    environment, _, split = about.removeprefix(f"{method}-").rpartition("-")
    if split not in SPLITS or not environment:
        return table.table
    subject = method if about == table.table else "runs"
    return f"{subject} on {tasks(table)} {SPLITS[split]} of {environment}"


def caption(table: Table) -> str:
    """What stands behind a value."""
    seeds = max((len(row.by_seed or ()) for row in table.rows), default=0)
    return "± half a 95 % interval over tasks" + (f", or over {seeds} seeds" if seeds else "")


def tasks(table: Table) -> str:
    """How many tasks the cells are from."""
    counts = sorted({table.provenance(row)["tasks"] for row in table.rows} or {table.tasks})
    return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))


def to_rich(table: Table, width: int, every: bool = False) -> "Group":
    """The table in blocks of columns that fit `width`, so that neither a number nor a header is broken.

    In a narrow terminal intervals stand below their values.
    """
    from rich.console import Group
    from rich.text import Text

    cells = {_header(column): by for column, by in texts(table, table.columns() if every else chosen(table)).items()}
    name_width = min(max(len(name) for name in table.methods()), max(LONGEST_NAME, width // 3))
    if not every and len(list(_fitting(cells, width - name_width))) > 1:
        cells = {_stacked(header): {name: _stacked(text) for name, text in by.items()} for header, by in cells.items()}
    blocks = [_block(table, cells, headers, name_width) for headers in _fitting(cells, width - name_width)]
    spaced = [part for block in blocks for part in (block, Text())]
    what = Text("mean return" if _has_returns(table) else "mean", style="italic")
    return Group(Text(heading(table), style="bold"), *spaced, what + f" {caption(table)}")


def to_html(table: Table, columns: Sequence[str] = (), about: str = "") -> str:
    """These columns, or those worth a look, as an HTML table; `about` is what the table is about, in words."""
    cells = texts(table, columns or chosen(table))
    head = "".join(f"<th>{_lines(_header(column))}</th>" for column in cells)
    rows = (
        f"<tr><th>{escape(method)}</th>"
        + "".join(f"<td>{_lines(by_method.get(method, ''))}</td>" for by_method in cells.values())
        + "</tr>"
        for method in table.methods()
    )
    body, about = "".join(rows), f"{escape(about or heading(table))}; {caption(table)}"
    return f"<table><caption>{about}</caption><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"


def texts(table: Table, columns: Sequence[str]) -> Cells:
    """The text of each cell, by column and method.

    Beside gradient steps, the mean return of methods that take none stands in the last column.
    """
    found = {column: {row.row: _text(row) for row in table.rows if row.column == column} for column in columns}
    steps = [column for column in columns if column.startswith("step=") and column[5:].isdigit()]
    if steps:
        for method in table.methods():
            level = table.level(method, "step")
            if not table.curve(method, "step") and level is not None:
                found[steps[-1]].setdefault(method, number(level, DIGITS))
    return found


def _block(table: Table, cells: Cells, headers: Sequence[str], name_width: int) -> "RichTable":
    from rich.table import Table as RichTable

    drawn = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), collapse_padding=True)
    drawn.add_column("", width=name_width, overflow="fold")
    for header in headers:
        drawn.add_column(header, justify="right", no_wrap=True)
    for method in table.methods():
        words = [cells[header].get(method, "") for header in headers]
        if any(words):
            drawn.add_row(method, *words)
    return drawn


def _fitting(cells: Cells, width: int) -> Iterator[list[str]]:
    """The headers in blocks of columns that take at most `width`, each with at least one column."""
    names, starts, used = list(cells), [0], 0
    for index, (header, by_method) in enumerate(cells.items()):
        size = GAP + max(len(line) for text in (header, *by_method.values()) for line in text.split("\n"))
        if used and used + size > width:
            starts.append(index)
            used = 0
        used += size
    yield from (names[start:end] for start, end in pairwise([*starts, len(names)]))


def _stacked(text: str) -> str:
    return text.replace(" ", "\n")


def _has_returns(table: Table) -> bool:
    return bool(table.curve(table.methods()[0], "episode"))


def _header(column: str) -> str:
    return column.replace("=", " ").replace(",", "\n")


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _text(row: Row) -> str:
    if row.value is None:
        return ""
    over_tasks, over_seeds = (f"±{number(x, 2)}" if x else "" for x in (_half(row.interval), _half(row.seed_interval)))
    first = f"{number(row.value, DIGITS)} {over_tasks}".rstrip()
    return f"{first}\nseeds {over_seeds}" if over_seeds else first


def _half(interval: Interval | None) -> float:
    return (interval[1] - interval[0]) / 2 if interval is not None else 0.0
