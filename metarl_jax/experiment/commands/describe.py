"""metarl list, doctor: what is here."""

import shutil
import sys
import textwrap
from json import dumps
from typing import Any


def list_names(*, json: bool = False) -> int:
    """List the algorithms and environments.

    $ metarl list
    $ metarl list --json

    Args:
        json: Print JSON.
    """
    from metarl_jax.experiment.catalogue import catalogue

    print(dumps(catalogue(), indent=1) if json else _names(catalogue()))
    return 0


def doctor() -> int:
    """Print versions, devices, cores, memory and folders, and check that this machine computes.

    Exit code 1 if something is wrong; the remedy stands beside it.

    $ metarl doctor
    """
    from metarl_jax.experiment.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{finding.name:20}{finding.value}" + (f"  PROBLEM: {finding.problem}" if finding.problem else ""))
    return 1 if any(finding.problem for finding in findings) else 0


def _names(catalogue: dict[str, Any]) -> str:
    lines = []
    for kind, entries in catalogue.items():
        width = max(len(entry["name"]) for entry in entries) + 2
        splits, brackets = entries[0].get("splits"), any(entry.get("reference") for entry in entries)
        words = (f", splits {', '.join(splits)}" if splits else "") + "; in brackets the reference" * brackets
        lines.append(f"{kind}{words}:")
        lines += [
            _folded(f"  {each['name']:{width}}{each['summary']}{_reference(each)}", width + 2) for each in entries
        ]
    return "\n".join(lines)


def _folded(line: str, indent: int) -> str:
    """The line, folded to the width of a terminal; in one piece where a program reads it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return textwrap.fill(line, max(width, 2 * indent), subsequent_indent=" " * indent)


def _reference(entry: dict[str, Any]) -> str:
    return f" [{entry['reference']}]" if entry.get("reference") else ""
