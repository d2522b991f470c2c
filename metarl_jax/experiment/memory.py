"""The memory that a run needs, known before any of it is taken, and the largest numbers that fit."""

import dataclasses
import math
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Tree
from metarl_jax.experiment.config import RunConfig, defaults
from metarl_jax.experiment.errors import TooLarge

MEMORY = Path("/proc/meminfo")
CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
TASKS = ("algorithm", "tasks")
TRIES = 3  # of a number that may fit
SPARE = 0.9  # of the memory that such a number may take
METHODS = 4  # whose curves an evaluation holds: sampled, greedy, from scratch, at random
Needed = Callable[[RunConfig], int]


def check(config: RunConfig, needed: Needed) -> int:
    """The bytes of memory that training needs, as `needed` says; a UsageError, with a number that fits, if these are
    more than there are.
    """
    room, wanted = available(), needed(config)
    if wanted > room:
        raised = _raised(config)
        tried = ((*option, _fitting(config, *option, needed, wanted, room)) for option in raised)
        part, name, fits = next((each for each in tried if each[2] is not None), (*raised[0], None))
        _refuse(name, getattr(getattr(config, part), name), "training", wanted, room, fits)
    return wanted


def check_evaluation(config: RunConfig, name: str, tasks: int) -> None:
    """Raise a UsageError, with a number that fits, if the curves of an evaluation need more memory than there is."""
    environment, (reports, _) = config.environment, config.recipe.reports
    task = size(jax.eval_shape(lambda: environment.draw_task(key_of(0), "train")))
    numbers = 3 * (reports + 1) * environment.trial_episodes  # of a curve
    each = 3 * task + numbers * (8 + 8 * METHODS)  # float32 on the device with a copy, float64 on the host
    room = available()
    if tasks * each > room:
        _refuse(name, tasks, "the evaluation", tasks * each, room, _round(SPARE * room / each))


def check_program(program: Any, *arguments: Any) -> None:
    """Raise a UsageError if a jitted program needs more memory than there is. It is then compiled for the call."""
    wanted, room = of_program(program.lower(*arguments).compile()), available()
    if wanted > room:
        remedy = "choose fewer tasks or adaptations"
        raise TooLarge(f"an evaluation needs {gib(wanted)} of memory, and {gib(room)} are free; {remedy}")


def of_program(compiled: Any, devices: int = 1) -> int:
    """Bytes that a compiled program takes at most, by its own analysis: on each device, or on all that share a memory.

    Arguments and results are counted, and arguments whose memory the results take over once.
    """
    stats = compiled.memory_analysis()
    sizes = ("argument", "output", "temp", "generated_code")
    total = sum(getattr(stats, f"{kind}_size_in_bytes") for kind in sizes) - stats.alias_size_in_bytes
    return int(total * (devices if jax.default_backend() == "cpu" else 1))


def size(shapes: Tree) -> int:
    """Bytes of arrays, or of their shapes."""

    def of(leaf: Any) -> int:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return math.prod(leaf.shape) * leaf.dtype.itemsize

    return sum(map(of, jax.tree.leaves(shapes)))


def available() -> int:
    """Bytes that each device can still give; on a CPU, all devices together."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    return min(_limits())


def gib(count: float) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.3g} GiB"


def _limits() -> Iterator[int]:
    """What the machine has left, and what it allows a container or a process."""
    yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if MEMORY.exists():
        found = dict(line.split(":") for line in MEMORY.read_text().splitlines())
        yield int(found["MemAvailable"].split()[0]) * 1024
    yield from (int(text) for file in CONTAINER if file.exists() and (text := file.read_text().strip()).isdecimal())
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit


def _raised(config: RunConfig) -> list[tuple[str, str]]:
    """Part and name of the sizes above their defaults, the furthest first, and of the number of tasks."""
    named = config.to_json()
    usual = defaults(named["algorithm"]["name"], named["environment"]["name"], config.preset, config.rule)
    found = {}
    for part in ("algorithm", "environment"):
        for name, value in vars(getattr(config, part)).items():
            before = getattr(getattr(usual, part), name)
            if _is_size(value) and _is_size(before) and _largest(before) > 0:
                found[part, name] = _largest(value) / _largest(before)
    above = [option for option, ratio in found.items() if ratio > 1 or option == TASKS]
    return sorted(above, key=lambda option: -found[option])


def _is_size(value: Any) -> bool:
    return type(value) is int or (isinstance(value, tuple) and bool(value) and all(type(x) is int for x in value))


def _largest(value: Any) -> int:
    return max(value) if isinstance(value, tuple) else int(value)


def _fitting(config: RunConfig, part: str, name: str, needed: Needed, wanted: int, room: int) -> Any:
    """A smaller value of an option with which training fits; None if none was found."""
    shares = config.recipe.update.parts * jax.device_count() if name == "tasks" else 1
    for _ in range(TRIES):
        options = getattr(config, part)
        value, scale = getattr(options, name), SPARE * room / wanted
        smaller: Any = tuple(_round(x * scale) for x in value) if isinstance(value, tuple) else _round(value * scale)
        if shares > 1:
            smaller = max(smaller - smaller % shares, 1)
        try:
            config = dataclasses.replace(config, **{part: dataclasses.replace(options, **{name: smaller})})
            before, wanted = wanted, needed(config)
        except ValueError:  # a size that this option must not have
            return None
        if wanted <= room:
            return smaller
        if wanted > SPARE * before:  # it is not this option that takes the memory
            return None
    return None


def _round(value: float) -> int:
    """The number with two digits below a number, and at least 1."""
    unit = 10 ** max(0, int(math.log10(max(value, 1))) - 1)
    return max(1, int(value // unit * unit))


def _refuse(name: str, value: Any, what: str, wanted: int, room: int, fits: Any) -> None:
    remedy = "choose fewer tasks, smaller networks or shorter lives" if fits is None else f"{name}={fits} fits"
    raise TooLarge(f"{name} is {value}: {what} needs {gib(wanted)} of memory, and {gib(room)} are free; {remedy}")
