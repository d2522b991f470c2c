"""The format of results: a table of cells with intervals and provenance, in JSON and in Markdown."""

import dataclasses
import datetime
import json
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from metarl_jax.experiment import devices, files
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.files import write_whole
from metarl_jax.experiment.sealed import are_words, seal
from metarl_jax.experiment.statistics import Statistic, confidence_interval, mean, seed_interval, stratified_mean

if TYPE_CHECKING:
    from rich.console import Group

FORMAT = 1
MOST_BYTES = 2**26
log = logging.getLogger("metarl_jax")
Interval = tuple[float, float]
RANDOM, REFERENCE = "random", "reference"  # the methods that an evaluation is read against
PROVENANCE = ("seeds", "tasks", "env_steps", "wall_seconds", "versions", "device", "date")


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell: the result of the method `row` in `column`."""

    row: str
    column: str
    value: float | None
    interval: Interval | None = None  # 95 %, over tasks, whose values are means over the seeds
    published: float | None = None
    bound: float | None = None  # result of the best possible agent
    note: str | None = None
    by_seed: list[float] | None = None  # the mean of each seed, if there are several
    made: dict[str, Any] | None = None  # provenance, where it differs from that of the table

    @property
    def seed_interval(self) -> Interval | None:
        """95 %, over seeds; None unless there are several."""
        return seed_interval(self.by_seed) if self.by_seed is not None and len(self.by_seed) > 1 else None

    @property
    def band(self) -> Interval | None:
        """95 %, over seeds if there are several, otherwise over tasks."""
        return self.seed_interval or self.interval


@dataclasses.dataclass
class Table:
    """The cells of one table and their provenance, which a cell can override."""

    table: str
    seeds: list[int]
    tasks: int  # held-out tasks behind every cell
    meta_step: int | None = None  # of the run that was evaluated
    env_steps: int | None = None  # environment steps of the training
    wall_seconds: float | None = None  # of the training
    versions: dict[str, str] = dataclasses.field(default_factory=devices.versions)
    device: str = dataclasses.field(default_factory=devices.describe)
    date: str = dataclasses.field(default_factory=lambda: datetime.date.today().isoformat())
    rows: list[Row] = dataclasses.field(default_factory=list)

    def add(
        self,
        row: str,
        column: str,
        value: float | None,
        interval: Interval | None = None,
        *,
        published: float | None = None,
        bound: float | None = None,
        note: str | None = None,
        by_seed: Iterable[float] | None = None,
        made: dict[str, Any] | None = None,
    ) -> None:
        """Add a cell; numbers may be of NumPy and JAX, and those that are not finite become null.

        Args:
            row: The method.
            column: The measured quantity.
            value: The result.
            interval: Its 95 % interval over tasks.
            published: The published result.
            bound: The result of the best possible agent.
            note: A remark.
            by_seed: The mean of each seed; kept if there are several, all finite.
            made: Fields of PROVENANCE; those equal to the fields of the table are omitted.
        """
        ends = (_finite(interval[0]), _finite(interval[1])) if interval is not None else (None, None)
        whole = (ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else None
        means = [float(x) for x in by_seed] if by_seed is not None else []
        seeds = means if len(means) > 1 and np.all(np.isfinite(means)) else None
        own = {name: x for name, x in (made or {}).items() if x != getattr(self, name)} or None
        self.rows.append(Row(row, column, _finite(value), whole, _finite(published), _finite(bound), note, seeds, own))

    def add_values(
        self,
        row: str,
        column: str,
        values: np.ndarray,
        *,
        statistic: Statistic = mean,
        strata: np.ndarray | None = None,
        **beside: Any,
    ) -> None:
        """Add a cell from one value for each task [N], or for each seed and task [seeds, N].

        Args:
            row: The method.
            column: The measured quantity.
            values: The values; the interval is over tasks, of their means over seeds.
            statistic: The statistic over tasks.
            strata: Labels [N, ...] of groups of tasks with equal weight, whatever their size; only for a mean.
            beside: `published`, `bound` and `note`, as in `add`.
        """
        values = np.asarray(values, np.float64)
        made = {"seeds": list(range(len(values)))} if values.ndim == 2 else {}
        made |= {"tasks": values.shape[-1]}
        values = values.reshape(-1, values.shape[-1])
        interval = confidence_interval(values.mean(axis=0), statistic=statistic, strata=strata)
        found = statistic(values, axis=1) if strata is None else stratified_mean(values, strata)
        self.add(row, column, found.mean(), interval, by_seed=found, made=made, **beside)

    def add_columns(
        self,
        row: str,
        kind: str,
        values: np.ndarray,
        *,
        first: int = 1,
        stride: int = 1,
        statistics: tuple[Statistic, ...] = (mean,),
        bounds: np.ndarray | None = None,
        note: str | None = None,
    ) -> None:
        """Add `kind=first`, `kind=first + stride` ... from values [N, columns] or [seeds, N, columns].

        A statistic other than the mean is named in the column: `kind=1,iqm`. `bounds` [columns] are bounds of means.
        """
        for index in range(values.shape[-1]):
            for statistic in statistics:
                column = f"{kind}={first + index * stride}" + ("" if statistic is mean else f",{statistic.__name__}")
                bound = None if bounds is None or statistic is not mean else bounds[index]
                self.add_values(row, column, values[..., index], statistic=statistic, bound=bound, note=note)

    def cell(self, row: str, column: str) -> Row:
        """The cell of a method in a column.

        Raises:
            KeyError: there is none.
        """
        for candidate in self.rows:
            if (candidate.row, candidate.column) == (row, column):
                return candidate
        raise KeyError(f"{self.table} has no cell {row!r}, {column!r}")

    def methods(self) -> list[str]:
        """The methods in their order of appearance."""
        return list(dict.fromkeys(row.row for row in self.rows))

    def columns(self) -> list[str]:
        """The columns in their order of appearance."""
        return list(dict.fromkeys(row.column for row in self.rows))

    def curve(self, method: str, kind: str) -> list[tuple[int, Row]]:
        """The cells `kind=<number>` of a method that have a value, in order of their numbers."""
        placed = [(_position(row.column, kind), row) for row in self.rows if row.row == method]
        return sorted(
            ((x, row) for x, row in placed if x is not None and row.value is not None), key=lambda point: point[0]
        )

    def axis(self, method: str) -> Literal["step", "episode"]:
        """What a method adapts by: gradient steps if it takes any, otherwise episodes."""
        return "step" if len(self.curve(method, "step")) > 1 else "episode"

    def level(self, method: str, kind: str) -> float | None:
        """The return of a method that takes no gradient steps: beside steps the mean over episodes, or the last one's.

        None where it is unknown.
        """
        values = [row.value for _, row in self.curve(method, "episode") if row.value is not None]
        if not values:
            return None
        return values[-1] if kind == "episode" else sum(values) / len(values)

    def provenance(self, row: Row) -> dict[str, Any]:
        """The provenance of a cell: the fields of PROVENANCE."""
        return {name: getattr(self, name) for name in PROVENANCE} | (row.made or {})

    def adopted(self, row: Row, home: "Table") -> Row:
        """A cell of another table for this one, with its provenance."""
        made = {name: x for name, x in home.provenance(row).items() if x != getattr(self, name)}
        return dataclasses.replace(row, made=made or None)

    def to_json(self) -> str:
        """The table as JSON, with null for missing values; fields of only a few cells are omitted from the others."""
        data = dataclasses.asdict(self)
        for part, names in ((data, ("meta_step",)), *((row, ("by_seed", "made")) for row in data["rows"])):
            for name in names:
                if part[name] is None:
                    del part[name]
        data = {"format": FORMAT, **data}
        return json.dumps({**data, "digest": seal(data)}, indent=1, allow_nan=False)

    def write(self, path: str | Path) -> Path:
        """Write the JSON and create missing parent folders."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self.to_json() + "\n")
        return path

    def to_rich(self, width: int = 80, every: bool = False) -> "Group":
        """The table for a terminal of `width` columns: the columns worth a look, or every column; see `tables`."""
        from metarl_jax.experiment.tables import to_rich

        return to_rich(self, width, every)

    def _repr_html_(self) -> str:
        from metarl_jax.experiment.tables import to_html

        return to_html(self)

    def to_markdown(self) -> str:
        """The table in Markdown, one line for each method, with intervals, published values and bounds if known."""
        methods, columns, cells = self._pivot()
        lines = [[method, *(cells.get((method, column), "") for column in columns)] for method in methods]
        table = [["", *columns], ["---", *["---:"] * len(columns)], *lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"

    def _pivot(self) -> tuple[list[str], list[str], dict[tuple[str, str], str]]:
        """Methods and columns in their order of appearance, and the cells as text."""
        return self.methods(), self.columns(), {(row.row, row.column): _cell(row) for row in self.rows}


def pooled(tables: Sequence[Table]) -> Table:
    """The table of several seeds from the table of each, which have the same cells.

    The value of a cell is the mean over the seeds, with the mean of each beside it. Methods beside the first, such as
    references, are left as they are if their cells are the same in all tables.
    """
    first = tables[0]
    own = {name := first.methods()[0], f"{name}-greedy"}
    made = dataclasses.replace(first, seeds=[seed for table in tables for seed in table.seeds], rows=[])
    columns = list(zip(*(table.rows for table in tables), strict=True))
    differing = {cells[0].row for cells in columns if any(x != cells[0] for x in cells)}
    shared = {row.row for row in first.rows} - differing - own
    for one, *others in columns:
        if one.row in shared:
            made.rows.append(one)
            continue
        values = [cell.value for cell in (one, *others)]
        known = [value for value in values if value is not None]
        average = sum(known) / len(known) if len(known) == len(values) else None
        beside: dict[str, Any] = {"published": one.published, "bound": one.bound, "note": one.note}
        made.add(one.row, one.column, average, one.interval if not others else None, by_seed=known, **beside)
    return made


def read(path: str | Path) -> Table:
    """Read a table written by `Table.write`.

    Raises:
        UsageError: the file is not a table of results, or was damaged.
    """
    try:
        data = dict(files.parsed(files.read(Path(path), MOST_BYTES)))
        if data.pop("format", FORMAT) != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}, that of this version")
        if "digest" in data and data.pop("digest") != seal({"format": FORMAT, **data}):
            raise ValueError("it was edited or damaged")
        table = Table(**data | {"rows": [_row(row) for row in data["rows"]]})
        if not _is_sound(table):
            raise ValueError("a field has another type")
        return table
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a table of results: {error}") from error


def read_of(path: Path, meta_step: int) -> Table | None:
    """The table of a run at a meta-step; None if there is none, or, with a warning, if it cannot be read."""
    if not path.exists():
        return None
    try:
        table = read(path)
    except UsageError as error:
        log.warning("%s", error)
        return None
    return table if table.meta_step == meta_step else None


def _row(data: dict[str, Any]) -> Row:
    interval = data.get("interval")
    return Row(**data | {"interval": None if interval is None else (interval[0], interval[1])})


def _is_sound(table: Table) -> bool:
    words = [table.table, table.device, table.date, *table.versions, *table.versions.values()]
    numbers = [table.meta_step, table.tasks, table.env_steps, table.wall_seconds, *table.seeds]
    for row in table.rows:
        words += [row.row, row.column, row.note or ""]
        numbers += [row.value, row.published, row.bound, *(row.interval or ()), *(row.by_seed or ())]
        words += row.made or ()
    return are_words(*words) and all(x is None or type(x) in (int, float) for x in numbers)


def _position(column: str, kind: str) -> int | None:
    """The number of a column `kind=<number>`; None for other columns."""
    name, _, digits = column.partition("=")
    return int(digits) if name == kind and digits.isdigit() else None


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _cell(row: Row) -> str:
    if row.value is None:
        return row.note or ""
    words = [number(row.value)]
    if row.interval is not None:
        words.append(_ends(row.interval))
    if row.seed_interval is not None:
        words.append(f"(seeds {_ends(row.seed_interval)})")
    if row.published is not None:
        words.append(f"(published {number(row.published)})")
    if row.bound is not None:
        words.append(f"(bound {number(row.bound)})")
    return " ".join(words)


def _ends(interval: Interval) -> str:
    return f"[{number(interval[0])}, {number(interval[1])}]"


def number(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits, and all digits before the point."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
