"""metarl reproduce: what makes the tables of this project again."""

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from metarl_jax.experiment.reproduction.reproduction import Line, Reproduction
    from metarl_jax.experiment.reproduction.scripts import TableScript

QUICK = "Quick: small budgets, which show that the scripts run. These numbers are not those of the tables."


def reproduce(
    names: Positional[tuple[str, ...]] = (),
    *,
    all: bool = False,
    quick: bool = False,
    json: bool = False,
    out: Path | None = None,
    scripts: Path | None = None,
) -> int:
    """Make tables of this project again, beside their committed, published and best possible values.

    Without a name, list the tables. The scripts are in a checkout of the repository. Exit code 1 if a script fails, or
    if a value is better than the best possible one.

    $ metarl reproduce
    $ metarl reproduce maml_tables --quick
    $ metarl reproduce bandits
    $ metarl reproduce --all --quick

    Args:
        names: Names of scripts.
        all: Run every script.
        quick: Run the same code at small budgets; its values mean nothing.
        json: Print JSON.
        out: Folder of the new tables, by default runs/reproduce; an interrupted script continues there. A quick run
            keeps no table unless this is given.
        scripts: Folder of the scripts, by default that of the checkout.
    """
    from metarl_jax.experiment.errors import UsageError
    from metarl_jax.experiment.reproduction.scripts import chosen, table_scripts

    if all and names:
        raise UsageError(f"{', '.join(names)} and --all were given; give names, or --all")
    found = table_scripts(scripts)
    wanted = chosen(list(found) if all else names, found)
    if not wanted:
        return _list(list(found.values()), json)
    return _run(wanted, {"quick": quick, "out": out, "scripts": scripts}, json, brief=all)


def _run(wanted: "list[TableScript]", how: dict[str, Any], json: bool, brief: bool) -> int:
    """Run scripts one after another, and print each table as soon as it is there, or a line of it if `brief`."""
    from metarl_jax.experiment.reproduction.reproduction import BEYOND, ScriptFailed, destination, reproduce

    for script in wanted:  # before the first hour is spent
        destination(script, how["quick"], how["out"])
    if how["quick"] and not json:
        print(QUICK)
    done = []
    for script in wanted:
        try:
            done.append(reproduce(script.name, **how))
            if brief and not json:
                print(_brief(done[-1]), flush=True)
            elif not json:
                _print(done[-1])
        except ScriptFailed as error:
            print(f"metarl: {error}", file=sys.stderr, flush=True)
    if json:
        print(dumps([made.to_json() for made in done], indent=1))
    elif brief:
        how_much = "at small budgets, which make no results, " if how["quick"] else ""
        minutes = sum(made.seconds for made in done) / 60
        print(f"{len(done)} of {len(wanted)} scripts {how_much}in {minutes:.1f} minutes")
    return int(len(done) < len(wanted) or any(BEYOND in made.verdicts for made in done))


def _list(scripts: "list[TableScript]", json: bool) -> int:
    """Print what can be reproduced, what the committed table took, and whether there is one."""
    entries = [_entry(script) for script in scripts]
    if json:
        print(dumps(entries, indent=1))
        return 0
    caption = "took: training behind the committed table, as far as it says."
    lines = [[entry["name"], _time(entry), entry["summary"]] for entry in entries]
    _print_columns(["name", "took", "makes"], lines, caption)
    return 0


def _entry(script: "TableScript") -> dict[str, Any]:
    from metarl_jax.experiment.reproduction.scripts import seconds_of

    home = script.committed
    seconds = None if home is None else seconds_of(home)
    return {"name": script.name, "summary": script.summary, "committed": home is not None, "seconds": seconds}


def _print(made: "Reproduction") -> None:
    """Print a table, a cell a line."""
    heads = ["row", "column", "ours", "committed", "paper", "bound", "verdict"]
    _print_columns(heads, [_words(line) for line in made.lines], "ours: with a 95 % interval")
    print(_brief(made) + (f"; written to {made.path}" if made.path else ""), flush=True)


def _words(line: "Line") -> list[str]:
    from metarl_jax.experiment.results import number

    ends = "" if line.interval is None else f" [{number(line.interval[0])}, {number(line.interval[1])}]"
    beside = ["" if x is None else number(x) for x in (line.committed, line.published, line.bound)]
    return [line.row, line.column, "" if line.value is None else f"{number(line.value)}{ends}", *beside, line.verdict]


def _brief(made: "Reproduction") -> str:
    """A line on a table."""
    said = ", ".join(f"{count} {verdict}" for verdict, count in made.verdicts.items())
    cells = f"{made.name:20}{made.seconds:6.0f} s  {len(made.lines):3} cells"
    return f"{cells}: {said}" if said else cells


def _time(entry: dict[str, Any]) -> str:
    """What the committed table took, in words."""
    if not entry["committed"]:
        return "not made"
    seconds = entry["seconds"]
    if seconds is None:
        return "made"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"


def _print_columns(heads: list[str], lines: list[list[str]], caption: str) -> None:
    """Print a table for a terminal, whose long cells are folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, caption=Text(caption), caption_justify="left")
    for head in heads:
        drawn.add_column(head, overflow="fold")
    for words in lines:
        drawn.add_row(*(Text(word) for word in words))
    Console().print(drawn)
