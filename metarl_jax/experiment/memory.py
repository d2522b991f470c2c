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
SMALLER = "choose fewer tasks, smaller networks or shorter lives"
LOOPS = ("scan", "while")
BEYOND = 2  # times the memory: what a loop gives out and nobody reads may yet be saved
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # the same memory
Needed = Callable[..., int]


def check(config: RunConfig, needed: Needed) -> int:
    """The bytes of memory that training needs; a UsageError, with a number that fits, if these are more than there are.

    `needed` says how many bytes that is; with `quickly=True` its program is not used.
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


def check_program(program: Any, *arguments: Any, devices: int = 1) -> None:
    """Raise a UsageError if a jitted program needs more memory than there is. It is then compiled for the call."""
    wanted, room = of_program(program.lower(*arguments).compile(), devices), available()
    if wanted > room:
        remedy = "choose fewer tasks or adaptations"
        raise TooLarge(f"an evaluation needs {gib(wanted)} of memory, and {gib(room)} are free; {remedy}")


def check_together(lanes: int, wanted: int, copies_of: Callable[[int], int]) -> None:
    """Raise a UsageError, with a number of runs that fit, if so many lanes need more memory than there is.

    `copies_of` says how many states of a run the devices hold for a number of runs.
    """
    room = available()
    if wanted > room:
        most = SPARE * room / wanted * copies_of(lanes)
        fits = next((runs for runs in range(lanes - 1, 0, -1) if copies_of(runs) <= most), None)
        remedy = SMALLER if fits is None else f"together={fits} fits"
        needs = f"{gib(wanted)} of memory, and {gib(room)} are free"
        raise TooLarge(f"training {lanes} runs together needs {needs}; {remedy}")


def of_program(compiled: Any, devices: int = 1) -> int:
    """Bytes that a compiled program takes at most, by its own analysis: on each device, or on all that share a memory.

    Arguments and results are counted, and arguments whose memory the results take over once.
    """
    stats = compiled.memory_analysis()
    sizes = ("argument", "output", "temp", "generated_code")
    total = sum(getattr(stats, f"{kind}_size_in_bytes") for kind in sizes) - stats.alias_size_in_bytes
    return int(total * _sharing(devices))


def _sharing(devices: int) -> int:
    """How many of these devices share a memory."""
    return devices if jax.default_backend() == "cpu" else 1


def of_training(chunk: Any, state: Any, arguments: tuple[Any, ...], devices: int = 1, quickly: bool = False) -> int:
    """Bytes that a jitted chunk of meta-steps takes, and the copy of its state that is being saved.

    By the analysis of its compiled program, which is then used, unless it is compiled `quickly`. Or a lower bound,
    where the state or a loop alone is beyond the memory: such a program compiles for a minute.
    """
    stored, room = size(state), available()
    if 2 * stored > room:
        return 2 * stored
    traced = chunk.trace(*arguments)
    looped = of_loops(traced.jaxpr.jaxpr) * _sharing(devices)
    if looped > BEYOND * room:
        return looped
    compiled = traced.lower().compile(compiler_options=QUICKLY if quickly else None)
    return stored + of_program(compiled, devices)


def of_loops(jaxpr: Any) -> int:
    """Bytes that the largest loop of a traced program gives out: a lower bound, since no compiler fuses them away."""
    own = [_given(equation) for equation in jaxpr.eqns if equation.primitive.name in LOOPS]
    inner = [of_loops(each) for equation in jaxpr.eqns for each in _inside(equation)]
    return max([0, *own, *inner])


def _given(equation: Any) -> int:
    used = [var.aval for var in equation.outvars if str(var) != "_"]
    return size([jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in used])


def _inside(equation: Any) -> list[Any]:
    """The programs that an operation is made of."""
    parts = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"))
    parts = [getattr(part, "jaxpr", part) for part in parts]
    return [part for part in parts if hasattr(part, "eqns")]


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
    units = count / 2**30
    return f"{units:,.0f} GiB" if units >= 100 else f"{units:.3g} GiB"


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
    for attempt in range(TRIES):
        options = getattr(config, part)
        value, scale = getattr(options, name), SPARE * room / wanted
        smaller: Any = tuple(_round(x * scale) for x in value) if isinstance(value, tuple) else _round(value * scale)
        if shares > 1:
            smaller = max(smaller - smaller % shares, 1)
        try:
            config = dataclasses.replace(config, **{part: dataclasses.replace(options, **{name: smaller})})
            before, wanted = wanted, needed(config, quickly=True)
        except ValueError:  # a size that this option must not have
            return None
        if wanted <= room:
            return smaller
        if attempt and wanted > SPARE * before:  # it is not this option that takes the memory
            return None
    return None


def _round(value: float) -> int:
    """The number with two digits below a number, and at least 1."""
    unit = 10 ** max(0, int(math.log10(max(value, 1))) - 1)
    return max(1, int(value // unit * unit))


def _refuse(name: str, value: Any, what: str, wanted: int, room: int, fits: Any) -> None:
    remedy = SMALLER if fits is None else f"{name}={fits} fits"
    raise TooLarge(f"{name} is {value}: {what} needs {gib(wanted)} of memory, and {gib(room)} are free; {remedy}")
