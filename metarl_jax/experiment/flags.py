"""Command lines as dataclasses: tyro reads them, and what it refuses becomes one sentence."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import TypeVar

import tyro

from metarl_jax.core.checks import nearest
from metarl_jax.experiment.errors import UsageError

Flags = TypeVar("Flags")


def parse(kind: type[Flags], arguments: Sequence[str], program: str, names: Sequence[str]) -> Flags:
    """Read all `arguments` into a `kind`; `names` are the flags it has, without dashes.

    Raises:
        UsageError: a flag is unknown, lacks its value or has an illegal one.
        SystemExit: help was asked for, and printed.
    """
    _check_names(arguments, program, names)
    arguments = [_as_named(word, names) for word in arguments]
    flags, unknown = _read(kind, arguments, program, add_help=True)
    if unknown:
        raise UsageError(f"unexpected {unknown[0]!r}; `{program} --help` lists what there is")
    return flags


def peek(kind: type[Flags], arguments: Sequence[str], program: str) -> Flags:
    """Read only the flags that `kind` has, and leave the others to a later `parse`."""
    return _read(kind, arguments, program, add_help=False)[0]


def _read(kind: type[Flags], arguments: Sequence[str], program: str, add_help: bool) -> tuple[Flags, list[str]]:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            flags, unknown = tyro.cli(
                kind, prog=program, args=list(arguments), return_unknown_args=True, add_help=add_help
            )
    except SystemExit as exit:
        if exit.code == 0:
            raise
        raise UsageError(_sentence(complaint.getvalue())) from None
    return flags, unknown


def _flag(word: str) -> str:
    return word.rstrip("_").replace("_", "-")


def _as_named(word: str, names: Sequence[str]) -> str:
    """`--lambda` for the field `lambda_`, whose underscore only Python needs."""
    flag, equals, value = word.partition("=")
    return f"{flag}_{equals}{value}" if flag.startswith("--") and f"{flag[2:]}_" in names else word


def _check_names(arguments: Sequence[str], program: str, names: Sequence[str]) -> None:
    """Refuse unknown flags before tyro sees them, so that each gets the same answer wherever it stands."""
    known = [_flag(f"--{name}") for name in names]
    legal = {*known, *(name.replace("--", "--no-", 1) for name in known), "--help", "--help-verbose"}
    for word in arguments:
        flag = _flag(word.split("=")[0])
        if flag.startswith("--") and flag not in legal:
            hint = nearest(flag, [*known, "--help"])
            raise UsageError(f"unknown flag {word!r}; `{program} --help` lists what there is{hint}")


def _sentence(box: str) -> str:
    """The message inside the box that tyro draws for people, in Unicode or in ASCII."""
    title, *lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    paragraphs = " ".join("\n" if set(line) <= {"─", "-"} else line for line in lines).split("\n")
    message = next((text.strip() for text in paragraphs if text.strip()), title).rstrip(".")
    message = re.sub(r"^Error parsing (algorithm|env|run|shell): ", "", message).replace("Error parsing ", "")
    quoted = re.findall(r"'([^']*)'", message)  # of an invalid choice: the value, the flag, the choices
    return message + (nearest(quoted[0], quoted[2:]) if message.startswith("invalid choice") else "")
