"""Checks of what users pass, with errors that name the value, the rule, the remedy and the nearest name."""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import jax
import numpy as np


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


def check_choice(what: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(names)}{nearest(str(value), names)}")


def check_least(what: str, value: Any, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} is {value!r}; it must be a whole number of at least {least}: choose {what}={least}")


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the choices most like `word`, or nothing.

    First those of which the word, or its initials, is a part: for `lr` and for `learning_rate` that is `meta_lr`. Else
    the one with the most letters in common.
    """
    names = {_bare(name): name for name in choices}
    asked = _bare(word)
    parts = {asked, "".join(part[:1] for part in asked.split("_")) if "_" in asked else asked}
    close = [bare for bare in names if parts & {*bare.split("_")}]
    close = close or difflib.get_close_matches(asked, names, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(names[bare]) for bare in close[:3])}?" if close else ""


def _bare(name: str) -> str:
    """A name without what only command lines and Python need."""
    return name.strip("-_").replace("-", "_").replace(".", "_").lower()


def check_options(owner: str, options: Any) -> None:
    """Raise ValueError unless every field of a dataclass lies in the range that its annotation names.

    Floats may be traced, and are then taken on trust; nothing else may be an array.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        kind, rules = (hint.__origin__, hint.__metadata__) if hasattr(hint, "__metadata__") else (hint, ())
        value = _concrete(owner, field.name, getattr(options, field.name), kind)
        choices = get_args(kind)
        if choices and all(isinstance(choice, str) for choice in choices):
            check_choice(f"{field.name} of {owner}", value, choices)
        for number in value if isinstance(value, tuple) else (value,):
            for rule in rules:
                if isinstance(number, int | float) and not rule.holds(number):
                    raise ValueError(f"{field.name} of {owner} is {number}; it must be {rule}")


def _concrete(owner: str, name: str, value: Any, kind: Any) -> Any:
    """An option as a number of Python's, or None where it is traced."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    if kind is not float or np.shape(value):
        rule = "one number" if kind is float else "static: only float options may be arrays"
        raise ValueError(f"{name} of {owner} is an array of shape {np.shape(value)}; it must be {rule}")
    return None if isinstance(value, jax.core.Tracer) else float(value)


def is_off(value: Any) -> bool:
    """Whether an option is known to be 0, which some take for off; of a traced one nothing is known."""
    return isinstance(value, int | float) and value == 0
