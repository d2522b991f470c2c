"""The scripts that make the tables, read without running them."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import metarl_jax
from metarl_jax.experiment.config import choose
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.results import Row, Table, read

SHARED = "published.py"  # which every folder of table scripts has
A_SEED = re.compile(r"(\d+) s a seed")


class TableScript(NamedTuple):
    """A script with a constant `TABLE`, and perhaps `COSTS`; its options are --quick and --out."""

    path: Path
    summary: str
    table: str  # name of its file among the committed results
    costs: tuple[str, ...] = ()  # what columns begin with in which the least is best

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def committed_path(self) -> Path:
        return self.path.parents[1] / "benchmarks" / "results" / f"{self.table}.json"

    @property
    def committed(self) -> Table | None:
        """The committed table, if it was ever made."""
        return read(self.committed_path) if self.committed_path.exists() else None

    def costs_in(self, column: str) -> bool:
        """Whether less is better in a column."""
        return column.startswith(self.costs) if self.costs else False


def table_scripts(folder: Path | None = None) -> dict[str, TableScript]:
    """The table scripts of a folder, by default those of the checkout, by name.

    Raises:
        UsageError: there is no folder of such scripts.
    """
    found = [read_script(path.resolve()) for path in sorted(_folder(folder).glob("*.py"))]
    return {script.name: script for script in found if script is not None}


def chosen(names: Sequence[str], scripts: dict[str, TableScript]) -> list[TableScript]:
    """The scripts of these names, each once; an unknown name is a UsageError with the nearest one."""
    return [scripts[choose("table", name, scripts)] for name in dict.fromkeys(names)]


def read_script(path: Path) -> TableScript | None:
    """What a script says of its table; None if it makes none."""
    tree = ast.parse(path.read_text())
    said = {name: value for node in tree.body for name, value in _constant(node)}
    if "TABLE" not in said:
        return None
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return TableScript(path, summary, said["TABLE"], tuple(said.get("COSTS", ())))


def seconds_of(table: Table) -> float | None:
    """What a table took, as far as its cells say it: whole programs, and the training of all seeds."""
    provenance = [table.provenance(row) for row in table.rows]
    whole = {each["wall_seconds"] for each in provenance if each["wall_seconds"]}
    trained = {row.note: _trained(row, len(each["seeds"])) for row, each in zip(table.rows, provenance, strict=True)}
    return sum(whole) + sum(trained.values()) or None


def _trained(row: Row, seeds: int) -> float:
    """Seconds of training that a cell's note tells of."""
    found = A_SEED.search(row.note or "")
    return seeds * float(found[1]) if found else 0.0


def _folder(given: Path | None) -> Path:
    if given is not None:
        if not (given / SHARED).exists():
            raise UsageError(
                f"{given} has no {SHARED}, so it is not the folder of the tables; name scripts/ of a checkout"
            )
        return given
    for root in (Path(metarl_jax.__file__).parents[1], Path()):
        if (root / "scripts" / SHARED).exists():
            return root / "scripts"
    where = "the package is installed without them"
    raise UsageError(f"no table scripts were found: {where}; run this in a checkout, or name its folder with --scripts")


def _constant(node: ast.stmt) -> list[tuple[str, Any]]:
    """The name and the value of `TABLE = ...` or `COSTS = ...`."""
    match node:
        case ast.Assign(targets=[ast.Name(id="TABLE" | "COSTS" as name)], value=value):
            return [(name, ast.literal_eval(value))]
    return []
