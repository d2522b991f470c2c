"""Checks of user input, with errors that name the value, the rule, the remedy and the nearest name."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, get_args, get_origin, get_type_hints

import jax
import numpy as np

UNIONS = (types.UnionType, typing.Union)


@dataclasses.dataclass(frozen=True)
class Between:
    """The legal range of an option, in its annotation: `Annotated[float, Between(0, 1)]`."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        """The rule in words."""
        return f"at least {self.low:g}" if math.isinf(self.high) else f"between {self.low:g} and {self.high:.10g}"

    def holds(self, number: float) -> bool:
        """Whether a number is legal; NaN never is."""
        return self.low <= number <= self.high


@dataclasses.dataclass(frozen=True)
class Prefixed:
    """Names that are legal beside the choices: `Literal["backprop"] | Annotated[str, Prefixed("evosax:")]`."""

    prefix: str

    def holds(self, name: Any) -> bool:
        """Whether it is such a name."""
        return isinstance(name, str) and name.startswith(self.prefix) and name != self.prefix


def check_choice(what: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(names)}{nearest(str(value), names)}")


def check_least(what: str, value: Any, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{what} is {value!r}; it must be a whole number of at least {least}: choose {what}={least}")


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the choices most like `word`, or nothing.

    Names that have the word, or its initials, as a part come first: for `lr` and for `learning_rate` that is `meta_lr`.
    Otherwise it is the most similar name.
    """
    names = {_bare(name): name for name in choices}
    asked = _bare(word)
    parts = {asked, "".join(part[:1] for part in asked.split("_")) if "_" in asked else asked}
    close = [bare for bare in names if parts & {*bare.split("_")}]
    close = close or difflib.get_close_matches(asked, names, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(names[bare]) for bare in close[:3])}?" if close else ""


def _bare(name: str) -> str:
    """A name without the punctuation of command lines and Python."""
    return name.strip("-_").replace("-", "_").replace(".", "_").lower()


def check_options(owner: str, options: Any) -> None:
    """Raise ValueError unless every field of a dataclass is one of its choices and lies in its legal range.

    Floats may be traced and are then not checked; no other option may be an array.
    """
    kinds, legal = get_type_hints(type(options)), legal_ranges(type(options))
    open_ended = {name: _prefixed(hint) for name, hint in get_type_hints(type(options), include_extras=True).items()}
    for field in dataclasses.fields(options):
        kind, rule = kinds[field.name], legal.get(field.name, Between(-math.inf))
        value = _concrete(owner, field.name, getattr(options, field.name), kind)
        for item in value if isinstance(value, tuple) else (value,):
            choices = [choice for choice in _choices(kind) if isinstance(choice, str)]
            if choices and not any(rule.holds(item) for rule in open_ended.get(field.name, ())):
                check_choice(f"{field.name} of {owner}", item, choices)
            if isinstance(item, int | float) and not rule.holds(item):
                raise ValueError(f"{field.name} of {owner} is {item}; it must be {rule}")


def legal_ranges(kind: type) -> dict[str, Between]:
    """The legal range of each field of a dataclass; annotating it again without a range keeps the range."""
    found: dict[str, Between] = {}
    for each in reversed(kind.__mro__):
        for name, hint in get_type_hints(each, include_extras=True).items():
            ranges = [rule for rule in getattr(hint, "__metadata__", ()) if isinstance(rule, Between)]
            found |= {name: ranges[0]} if ranges else {}
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, of a tuple of one, or of a Literal beside open-ended names."""
    return _choices(get_args(kind)[0]) if get_origin(kind) in (tuple, *UNIONS) else get_args(kind)


def _prefixed(hint: Any) -> list[Prefixed]:
    """The open-ended names in a union."""
    parts = get_args(hint) if get_origin(hint) in UNIONS else ()
    return [rule for part in parts for rule in getattr(part, "__metadata__", ()) if isinstance(rule, Prefixed)]


def _concrete(owner: str, name: str, value: Any, kind: Any) -> Any:
    """An option as a Python number, or None where it is traced."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, jax.Array | np.ndarray):
        return value
    if kind is not float or np.shape(value):
        rule = "one number" if kind is float else "static: only float options may be arrays"
        raise ValueError(f"{name} of {owner} is an array of shape {np.shape(value)}; it must be {rule}")
    return None if isinstance(value, jax.core.Tracer) else float(value)


def differs(value: Any, other: Any) -> bool:
    """Whether an option is known to differ from another value; False where it is traced."""
    return not isinstance(value, jax.Array) and bool(value != other)


def is_off(value: Any) -> bool:
    """Whether an option is known to be 0, which means off for some options; False where it is traced."""
    return isinstance(value, int | float) and value == 0
