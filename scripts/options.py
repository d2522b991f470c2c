"""Write the options of docs/algorithms/*.md anew from the annotations, defaults and docstrings of the algorithms.

    python scripts/options.py

The tables of a page stand between `<!-- options -->` and `<!-- end -->`; the rest of the page is written by hand.
"""

import dataclasses
import pathlib
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser

from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.core.checks import Between, Prefixed
from metarl_jax.experiment.presets import PAIRS

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "algorithms"
BLOCK = re.compile(r"(<!-- options -->\n).*?(<!-- end -->)", re.DOTALL)
UNIONS = (Union, types.UnionType)


def main() -> None:
    for name in ALGORITHMS:
        page = FOLDER / f"{name}.md"
        page.write_text(render(name, page.read_text()))


def render(name: str, text: str) -> str:
    """The page of an algorithm with its tables filled."""
    return BLOCK.sub(lambda block: block[1] + tables(name) + block[2], text)


def tables(name: str) -> str:
    """The options of an algorithm, its own first, and what its presets change."""
    kind, said = ALGORITHMS[name], described(ALGORITHMS[name])
    hints = get_type_hints(kind, include_extras=True)
    own = list(said)
    fields = sorted(dataclasses.fields(kind), key=lambda field: own.index(field.name))
    rows = [
        (flag(field.name), f"`{spelled(field.default)}`", legal(hints[field.name]), said[field.name])
        for field in fields
    ]
    return markdown(("option", "default", "legal", "meaning"), rows) + presets(name)


def described(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of each option; the class itself first."""
    found: dict[str, str] = {}
    for base in kind.__mro__:
        for param in docstring_parser.parse(base.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE).params:
            found.setdefault(param.arg_name, " ".join((param.description or "").split()))
    return found


def presets(name: str) -> str:
    """What the default preset changes in some environments."""
    rows = []
    for (algorithm, environment), preset in PAIRS.items():
        if algorithm == name:
            changed = preset.algorithm | {f"env.{key}": value for key, value in preset.environment.items()} | preset.run
            words = ", ".join(f"{flag(key)} {spelled(value)}" for key, value in changed.items())
            rows.append((f"`{environment}`", words))
    return "\n" + markdown(("environment", "its defaults there"), rows) if rows else ""


def legal(hint: Any) -> str:
    """The legal values of an annotation, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) in UNIONS:
        return ", ".join(legal(part) for part in get_args(hint))
    if get_origin(hint) is Annotated:
        kind, rule = get_args(hint)
        if isinstance(rule, Prefixed):
            return f"`{rule.prefix}NAME`"
        if isinstance(rule, Between):
            return f"{called(kind)} {rule}"
    return called(hint)


def called(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if get_origin(parts[0]) is Literal:
            return f"any of {legal(parts[0])}"
        return f"{'list of' if Ellipsis in parts else 'pair of'} {called(parts[0])}s"
    names = {int: "whole number", float: "number", bool: "on or off", str: "text"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def spelled(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, tuple | list):
        return " ".join(str(part) for part in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def flag(name: str) -> str:
    return f"`--{name.rstrip('_').replace('_', '-')}`"


def markdown(head: tuple[str, ...], rows: list[Any]) -> str:
    ruled = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |\n" for line in ruled)


if __name__ == "__main__":
    main()
