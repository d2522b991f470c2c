"""A grid: values of some options, and seeds. Every combination is a run."""

import dataclasses
import functools
import itertools
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_jax.experiment.config import RunConfig, changed, choose, conform, field_names, require, whole
from metarl_jax.experiment.errors import UsageError

Options = dict[str, Any]  # values by name; `env.size` is the option `size` of the environment
ENV = "env."
FORMATS = {".toml": tomllib.loads, ".json": json.loads}
FILE_KEYS = ("algorithm", "environment", "options", "env", "preset", "over", "seeds")


class Member(NamedTuple):
    """One run of a grid."""

    options: Options
    config: RunConfig

    @property
    def name(self) -> str:
        """Of its folder: `meta_lr=0.001,hidden=16x16,seed=0`."""
        options = self.options | {"seed": self.config.run.seed}
        return re.sub(r"[^\w.=,+-]", "-", label(options, ","))


@dataclasses.dataclass(frozen=True)
class Grid:
    """A configuration, the values of the options that vary, and the seeds."""

    base: RunConfig
    over: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Check every run.

        Raises:
            UsageError: an option is unknown, a list is empty or has a value twice or of another type, or the options of
                a run contradict each other.
        """
        over = {name: _values(self.base, name, values) for name, values in self.over.items()}
        named = [(type(self.part(name)), name.removeprefix(ENV)) for name in over]
        require(len(set(named)) == len(named), "over", list(over), f"one name an option, with or without {ENV!r}")
        require(bool(self.seeds), "seeds", list(self.seeds), "one or more")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", list(self.seeds), "all different")
        object.__setattr__(self, "over", over)
        self.members  # noqa: B018

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """The runs, seeds innermost."""
        return tuple(self._members())

    @property
    def configs(self) -> list[RunConfig]:
        """The configurations of all combinations, with the first seed."""
        return [member.config for member in self.members[:: len(self.seeds)]]

    def _members(self) -> Iterator[Member]:
        for options in self.cells():
            theirs = {name.removeprefix(ENV): x for name, x in options.items() if name.startswith(ENV)}
            mine = {name: x for name, x in options.items() if not name.startswith(ENV)}
            for seed in self.seeds:
                yield Member(options, changed(self.base, env=theirs, seed=seed, **mine))

    def cells(self) -> list[Options]:
        """All combinations of the values."""
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]

    def part(self, name: str) -> Any:
        """The part of the configuration that has an option."""
        return part_of(self.base, name)

    @property
    def varied(self) -> tuple[str, ...]:
        """The options that one program can vary: the floats of an algorithm that learns φ."""
        hints = typing.get_type_hints(type(self.base.algorithm))
        floats = [name for name in self.over if hints.get(name) is float and self.part(name) is self.base.algorithm]
        return tuple(floats) if self.base.rule is None else ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; the inverse is `Grid(RunConfig.from_json(data["config"]), data["over"], data["seeds"])`."""
        return {
            "config": self.base.to_json(),
            "over": {name: [_plain(value) for value in values] for name, values in self.over.items()},
            "seeds": list(self.seeds),
        }


def label(options: Options, separator: str = ", ") -> str:
    """Options in a few words: `meta_lr=0.001, hidden=16x16`."""
    return separator.join(f"{name}={spelled(value)}" for name, value in options.items())


def spelled(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, tuple | list):
        return "x".join(map(spelled, value)) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def numbered(seeds: int | Sequence[int], first: int) -> tuple[int, ...]:
    """So many seeds from the first, or the given ones.

    Raises:
        UsageError: there are none, or one is not a whole number.
    """
    if isinstance(seeds, np.ndarray | np.generic):
        seeds = seeds.tolist()
    if isinstance(seeds, str) or not isinstance(seeds, int | Sequence) or isinstance(seeds, bool):
        raise UsageError(f"seeds is {seeds!r}; it must be a number of seeds, or a list of them")
    if isinstance(seeds, int):
        return tuple(range(first, first + whole("seeds", seeds, least=1)))
    return tuple(conform("seeds", list(seeds), tuple[int, ...]))


def read_over(base: RunConfig, words: Sequence[str]) -> Options:
    """The lists of values in `meta_lr=1e-4,1e-3`, `hidden=16,32x32`, `env.size=3,5` ...

    Raises:
        UsageError: a word is of another form, or names an option that there is not, or again.
    """
    over: Options = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = re.sub(r"^lambda$", "lambda_", name.lstrip("-").replace("-", "_"))
        if not equals:
            raise UsageError(f"over is {word!r}; it must be an option and its values: --over meta_lr=1e-4,1e-3")
        require(name not in over, "over", word, f"one list an option: {name} has one already")
        over[name] = [_read(value, _hint(base, name)) for value in text.split(",") if value]
    return over


def read_file(path: str | Path) -> dict[str, Any]:
    """The content of a sweep's file, with the keys of FILE_KEYS.

    Raises:
        UsageError: it cannot be read, has another form, or has an unknown key.
    """
    path = Path(path)
    require(path.suffix in FORMATS, "the file of a sweep", path, "a .toml or .json file")
    try:
        asked = FORMATS[path.suffix](path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist; name a .toml or .json file, or an algorithm and environment"
        ) from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    kinds = dict.fromkeys(FILE_KEYS, str) | {"options": dict, "env": dict, "over": dict, "seeds": int | list}
    require(isinstance(asked, dict), str(path), type(asked).__name__, f"a table with the keys {', '.join(FILE_KEYS)}")
    for name, value in asked.items():
        choose(f"key of {path}", name, FILE_KEYS)
        require(isinstance(value, kinds[name]), f"{name} of {path}", repr(value), f"of type {_called(kinds[name])}")
    return dict(asked)


def part_of(base: RunConfig, name: str) -> Any:
    """The part of a configuration that has an option, or a UsageError with the nearest name."""
    if name == "seed":
        raise UsageError("over names seed; give seeds, such as seeds=8, the number of runs of every combination")
    prefix = ENV * name.startswith(ENV)
    parts = (base.environment,) if prefix else (base.environment, base.algorithm, base.run)  # the last has precedence
    owners = {prefix + option: part for part in parts for option in field_names(part) if option != "seed"}
    return owners[choose(f"option of {base.algorithm.name} on {base.environment.name} in over", name, owners)]


def is_log_spaced(values: Sequence[Any]) -> bool:
    """Whether numbers are more evenly spaced on a logarithmic axis than on a linear one."""
    if len(values) < 2 or not all(value > 0 for value in values):
        return False
    ordered = sorted(values)
    gaps = [[b - a for a, b in itertools.pairwise(axis)] for axis in (ordered, [math.log(x) for x in ordered])]
    linear, logarithmic = (max(each) / min(each) for each in gaps)
    return logarithmic < linear or (len(values) == 2 and ordered[-1] >= 5 * ordered[0])


def _values(base: RunConfig, name: str, values: Any) -> tuple[Any, ...]:
    """The values of an option, of its type."""
    hint = _hint(base, name)
    require(isinstance(values, list | tuple), f"over of {name}", repr(values), "a list of values")
    require(len(values) > 0, f"over of {name}", "empty", f"a list of values, such as {name}={_example(base, name)}")
    wrapped = [[value] if _is_tuple(hint) and not isinstance(value, list | tuple) else value for value in values]
    found = tuple(conform(name, value, hint) for value in wrapped)
    repeated = [value for value, count in ((x, found.count(x)) for x in found) if count > 1]
    require(not repeated, f"over of {name}", ", ".join(map(spelled, found)), "a list of different values")
    return found


def _example(base: RunConfig, name: str) -> str:
    return spelled(getattr(part_of(base, name), name.removeprefix(ENV)))


def _hint(base: RunConfig, name: str) -> Any:
    return typing.get_type_hints(type(part_of(base, name)))[name.removeprefix(ENV)]


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def _read(text: str, hint: Any) -> Any:
    """A value from the command line; one that cannot be read stays text, which `conform` will refuse."""
    if _is_tuple(hint):
        inner = typing.get_args(hint)[0]
        return [] if text == "none" else [_read(part, inner) for part in text.split("x")]
    if hint is str:
        return text
    try:
        return json.loads({"none": "null"}.get(text, text))
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _called(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
