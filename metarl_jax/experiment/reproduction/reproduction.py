"""A table made again, cell by cell beside what is committed, published and possible."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import metarl_jax
from metarl_jax.experiment.config import require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.reproduction.scripts import TableScript, chosen, table_scripts
from metarl_jax.experiment.results import Interval, Row, Table, read

BEYOND, INSIDE = "beyond its bound", "within its bound"  # better than the best possible agent is: a bug, or not
WITHIN, ABOVE, BELOW = "as published", "above published", "below published"
UNPUBLISHED = "no published number"
CHANCE = 3.0 / 1.96  # three standard errors, in halves of a 95 % interval
SLACK = 1e-3  # of a bound: the precision at which it is written down
FOLDER = Path("runs") / "reproduce"
HURRY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # a quick run mostly compiles


class Line(NamedTuple):
    """One cell of a table, and what stands beside it."""

    row: str
    column: str
    value: float | None
    interval: Interval | None  # 95 %, over seeds if there are several, otherwise over tasks
    committed: float | None
    published: float | None
    bound: float | None
    verdict: str


class Reproduction(NamedTuple):
    """A table made again; after a quick run its values mean nothing, and only bounds are judged."""

    name: str
    quick: bool
    seconds: float
    path: Path | None  # of the new table; None where it was not kept
    table: Table
    lines: list[Line]

    @property
    def verdicts(self) -> Counter[str]:
        """How often each verdict was given."""
        return Counter(line.verdict for line in self.lines if line.verdict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        cells = [line._asdict() for line in self.lines]
        path = None if self.path is None else str(self.path)
        return {"name": self.name, "quick": self.quick, "seconds": round(self.seconds, 1), "path": path, "cells": cells}


class ScriptFailed(RuntimeError):
    """A table script ended with an error."""


def reproduce(
    name: str, *, quick: bool = False, out: str | Path | None = None, scripts: str | Path | None = None
) -> Reproduction:
    """Run the script of a table, and put each of its cells beside the committed, the published and the best value.

    Args:
        name: The script, as `metarl reproduce` lists it.
        quick: Run the same code at small budgets: its values are not those of the table.
        out: Folder of the new file `<name>.json`, by default runs/reproduce; a full run that was interrupted is
            continued there. A quick run keeps its file only if `out` is given.
        scripts: Folder of the scripts, by default that of the checkout.

    Raises:
        UsageError: there is no such script, or a file would be overwritten.
        ScriptFailed: the script ended with an error, whose last lines the message has.
    """
    (script,) = chosen([name], table_scripts(None if scripts is None else Path(scripts)))
    path = destination(script, quick, None if out is None else Path(out))
    with tempfile.TemporaryDirectory() as passing:
        file = Path(passing) / f"{script.name}.json" if path is None else path
        start = time.monotonic()
        run(script, file, quick)
        table, seconds = read(file), time.monotonic() - start
    return Reproduction(script.name, quick, seconds, path, table, beside(script, table, quick))


def destination(script: TableScript, quick: bool, out: Path | None) -> Path | None:
    """The file of the new table, which is never the committed one; None if it is not kept."""
    if quick and out is None:
        return None
    path = (out or FOLDER) / f"{script.name}.json"
    if path.resolve().parent == script.committed_path.parent:
        raise UsageError(f"{path.parent} holds the committed tables, and is not written to; name another with --out")
    require(not (quick and path.exists()), "out", path.parent, f"a folder without {path.name}: name a new one")
    return path


def run(script: TableScript, out: Path, quick: bool) -> None:
    """Run a script in a process of its own; what it prints goes to stderr, after a quick run only if it fails."""
    words = [sys.executable, str(script.path), "--out", str(out), *(["--quick"] if quick else [])]
    packages = [str(Path(metarl_jax.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(packages), "PYTHONUNBUFFERED": "1"}
    variables |= {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {HURRY}".strip()} if quick else {}
    last: deque[str] = deque(maxlen=10)
    piped: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, env=variables, **piped) as process:
        for line in process.stdout or ():
            last.append(line)
            if not quick:
                print(line, end="", file=sys.stderr)
    if process.returncode:
        raise ScriptFailed(f"{script.path} ended with exit code {process.returncode}:\n{''.join(last)}".rstrip())


def beside(script: TableScript, table: Table, quick: bool) -> list[Line]:
    """The cells of a new table with what stands beside them."""
    home = script.committed
    known = {} if home is None else {(row.row, row.column): row for row in home.rows}
    return [_line(script, row, known.get((row.row, row.column)), quick) for row in table.rows]


def _line(script: TableScript, row: Row, committed: Row | None, quick: bool) -> Line:
    value = None if committed is None else committed.value
    said = judged(row, script.costs_in(row.column))
    if quick and said != BEYOND:  # all that its values can tell
        said = INSIDE if said and row.bound is not None else ""
    return Line(row.row, row.column, row.value, row.band, value, row.published, row.bound, said)


def judged(row: Row, costs: bool = False) -> str:
    """What a cell says of its published value and of its bound; less is better where it `costs`."""
    if row.value is None:
        return ""
    if row.bound is not None and _beyond(row, row.bound, -1.0 if costs else 1.0):
        return BEYOND
    if row.published is None:
        return UNPUBLISHED
    low, high = row.band or (row.value, row.value)
    rounding = float(Decimal(1).scaleb(int(Decimal(f"{row.published:.4g}").as_tuple().exponent))) / 2
    if high < row.published - rounding:
        return BELOW
    return ABOVE if low > row.published + rounding else WITHIN


def _beyond(row: Row, bound: float, sign: float) -> bool:
    """Whether a value is better than its bound by more than chance and rounding explain."""
    assert row.value is not None
    spread = max((high - low for low, high in filter(None, (row.interval, row.seed_interval))), default=0.0)
    return sign * (row.value - bound) > CHANCE * spread / 2 + SLACK * abs(bound)
