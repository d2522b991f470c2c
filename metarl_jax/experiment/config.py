"""The configuration of a run: everything that determines its result, checked before anything is compiled."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jax.sharding import Mesh

from metarl_jax import algorithms, envs
from metarl_jax.algorithms.base import Algorithm, MetaLearned, Recipe
from metarl_jax.core.checks import nearest
from metarl_jax.core.environment import Environment
from metarl_jax.core.life import World
from metarl_jax.core.meta import MetaLearner
from metarl_jax.core.once import once
from metarl_jax.experiment import devices
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.plugins import is_plugin, own_algorithm, own_environment, spelled
from metarl_jax.experiment.presets import PRESETS, preset

if TYPE_CHECKING:
    from metarl_jax.experiment.rule import Rule

MOST_SEED = 2**32 - 1
MOST_STEPS = 2**31  # meta-steps are counted in int32, by JAX and by optax


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The length of a run and the intervals of its reports and checkpoints."""

    seed: int = 0
    """Seed of all randomness: initialisation, tasks, episodes."""
    meta_steps: int = 500
    """Meta-steps of the whole run."""
    log_every: int = 10
    """Meta-steps that are compiled into one program and averaged in one line of metrics."""
    checkpoint_every: int = 100
    """Meta-steps between checkpoints; one is written at the first log line after each multiple, and at the end."""
    checkpoint_minutes: float | None = None
    """Also checkpoint when this many minutes have passed since the last one."""
    keep: int = 3
    """Number of newest checkpoints to keep."""
    most_skipped: int = 10
    """Meta-steps in a row that may be skipped because a number in them is not finite; after one more training stops."""
    evaluation_tasks: int = 200
    """Held-out tasks of the final evaluation; 0 skips it."""
    from_scratch: bool = True
    """Also evaluate an agent that learns each task from scratch, which takes almost half of the evaluation's time."""
    tracker: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Also log to these, each of which needs its package; metrics.jsonl and metrics.csv are always written."""

    def judged(self, tasks: int | None, from_scratch: bool | None) -> dict[str, Any]:
        """The tasks and the from-scratch row of an evaluation, by default those at the end of training."""
        count = self.evaluation_tasks or 200 if tasks is None else tasks
        return {"tasks": count, "from_scratch": self.from_scratch if from_scratch is None else from_scratch}

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: an option is out of range.
        """
        for name in ("meta_steps", "log_every", "checkpoint_every", "keep"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(
            self.meta_steps < MOST_STEPS, "meta_steps", self.meta_steps, f"below {MOST_STEPS}, which int32 can count"
        )
        require(0 <= self.seed < 2**32, "seed", self.seed, "between 0 and 2**32 - 1")
        require(self.evaluation_tasks >= 0, "evaluation_tasks", self.evaluation_tasks, "0 (none) or more")
        require(self.most_skipped >= 0, "most_skipped", self.most_skipped, "0 (training stops at the first) or more")
        minutes = self.checkpoint_minutes
        require(minutes is None or 0 < minutes < math.inf, "checkpoint_minutes", minutes, "positive, or None")


# What `train`, `sweep` and `plan` call options of their own, in Python or as flags: names that no algorithm can use.
SHELL = frozenset({field.name for field in dataclasses.fields(RunOptions)}).union(
    ("environment", "env", "preset", "rule", "out", "seeds", "quiet", "on_log", "over", "together", "json", "measure"),
    ("distributed", "processes", "process", "heartbeat"),
)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """An algorithm, an environment that it accepts, the options of the run, and the rule where φ is given."""

    algorithm: Algorithm
    environment: Environment
    preset: str = "default"
    run: RunOptions = dataclasses.field(default_factory=RunOptions)
    rule: "Rule | None" = None

    def __post_init__(self) -> None:
        """Check the parts against each other.

        Raises:
            UsageError: the preset is unknown, a number is not finite, the algorithm refuses the environment, or the
                rule does not fit them.
        """
        choose("preset", self.preset, PRESETS)
        for part in (self.algorithm, self.environment):
            for name, value in dataclasses.asdict(part).items():
                require(not isinstance(value, float) or math.isfinite(value), name, value, "a finite number")
        refusal = self.algorithm.refuses(self.environment)
        if refusal:
            raise UsageError(f"{self.algorithm.name} cannot run on {self.environment.name}: {refusal}")
        if self.rule is not None:
            devices.prepare()  # a recipe may already use a device
            self.rule.fit(self.algorithm.recipe(self.environment), self.algorithm)

    def learner(self, mesh: Mesh | None = None) -> MetaLearner:
        """The pure meta-learner of this run, with the annealing set to the length of the run.

        Raises:
            UsageError: a file that the algorithm reads is missing or not what it must be.
        """
        try:
            return learner_of(self.annealed(), self.environment, self.rule, mesh)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def annealed(self) -> Algorithm:
        """The algorithm with `anneal` = -1 replaced by the length of the run, where φ is learned."""
        if not isinstance(self.algorithm, MetaLearned) or self.algorithm.anneal >= 0 or self.rule is not None:
            return self.algorithm
        return dataclasses.replace(self.algorithm, anneal=self.run.meta_steps)

    @property
    def recipe(self) -> Recipe:
        """The algorithm in the environment; always the same object, so that its programs are compiled once."""
        return recipe_of(self.algorithm, self.environment, self.rule)

    @property
    def world(self) -> World:
        """The world that trained agents live in."""
        return self.recipe.world

    def to_json(self) -> dict[str, Any]:
        """Plain data from which `from_json` makes an equal configuration; of a rule, its digest."""
        return {
            "algorithm": {"name": spelled(self.algorithm, algorithms.everything()), **_plain(self.algorithm)},
            "environment": {"name": spelled(self.environment, envs.everything()), **_plain(self.environment)},
            "preset": self.preset,
            "run": _plain(self.run),
            "rule": None if self.rule is None else self.rule.digest,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], rule: "Rule | None" = None) -> "RunConfig":
        """The inverse of `to_json`, given the rule.

        Raises:
            UsageError: a part is missing, unknown, of the wrong type or out of range.
        """
        algorithm, environment = dict(data["algorithm"]), dict(data["environment"])
        return cls(
            algorithm=construct(algorithm_class(algorithm.pop("name")), algorithm),
            environment=construct(environment_class(environment.pop("name")), environment),
            preset=data["preset"],
            run=construct(RunOptions, data["run"]),
            rule=rule,
        )

    def digest(self) -> str:
        """SHA-256 of the configuration, in hexadecimal."""
        return digest(self.to_json())


@once
def recipe_of(algorithm: Algorithm, environment: Environment, rule: "Rule | None" = None) -> Recipe:
    """The algorithm in the environment, with the rule as its φ if there is one."""
    recipe = algorithm.recipe(environment)
    return recipe if rule is None else recipe.applied(rule.fit(recipe, algorithm))


def learner_of(
    algorithm: Algorithm, environment: Environment, rule: "Rule | None" = None, mesh: Mesh | None = None
) -> MetaLearner:
    """The pure meta-learner of the algorithm, or the agents that live by the rule."""
    if rule is None:
        return algorithm.build(environment, mesh)
    return algorithm.build(environment, mesh, recipe_of(algorithm, algorithm.training(environment), rule))


def digest(data: dict[str, Any]) -> str:
    """SHA-256 of plain data, in hexadecimal."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def resolve(
    algorithm: str | None,
    environment: str | None,
    /,  # options may have these names
    *,
    preset: str = "default",
    env: dict[str, Any] | None = None,
    rule: "Rule | None" = None,
    **options: Any,
) -> RunConfig:
    """Resolve a configuration: `options` of the run, the algorithm or the environment override the preset.

    `env` holds options of the environment whose names are also options of the algorithm. A rule brings its algorithm
    and the options of that.

    Raises:
        UsageError: a name is unknown, a value has the wrong type or range, or the algorithm refuses the environment.
    """
    return changed(defaults(algorithm, environment, preset, rule), env=env, **options)


def changed(start: RunConfig, /, *, env: dict[str, Any] | None = None, **options: Any) -> RunConfig:
    """The configuration with other `options` of the run, the algorithm or the environment; see `resolve`.

    Raises:
        UsageError: as for `resolve`.
    """
    run, rest = _split(options, type(start.run))
    mine, theirs = _split(rest, type(start.algorithm))
    known = [
        *field_names(start.run),
        *field_names(start.algorithm),
        *field_names(start.environment),
        "preset",
        "out",
        "rule",
    ]
    for name in theirs:
        _check_is_free(type(start.algorithm), name)
        choose(f"option of {start.algorithm.name} on {start.environment.name}", name, known)
    return dataclasses.replace(
        start,
        algorithm=_change(start.algorithm, mine),
        environment=_change(start.environment, theirs | (env or {})),
        run=_change(start.run, run),
    )


def defaults(algorithm: str | None, environment: str | None, name: str, rule: "Rule | None" = None) -> RunConfig:
    """The configuration of the preset `name` for this pair, with the options of the algorithm from the rule, if any.

    Raises:
        UsageError: a name is missing, unknown or not the rule's, or the algorithm refuses the environment.
    """
    algorithm = algorithm if rule is None else rule.algorithm(algorithm)
    if algorithm is None or environment is None:
        missing = "algorithm" if algorithm is None else "environment"
        raise UsageError(f"no {missing} was named; name both, or a rule and an environment; `metarl list` prints all")
    algorithm_type, environment_type = algorithm_class(algorithm), environment_class(environment)
    chosen = preset(choose("preset", name, PRESETS), algorithm_type.variant_of or algorithm, environment)
    options = _applicable(chosen.algorithm, algorithm_type) if rule is None else rule.options
    return RunConfig(
        algorithm=construct(algorithm_type, options),
        environment=construct(environment_type, _applicable(chosen.environment, environment_type)),
        preset=name,
        run=construct(RunOptions, chosen.run),
        rule=rule,
    )


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm `name`, from this package or `module:name`; or a UsageError with the nearest name."""
    if is_plugin(name):
        kind = own_algorithm(name)
    else:
        kind = algorithms.everything()[choose("algorithm", name, algorithms.everything())]
    shared = sorted(SHELL.intersection(field_names(kind)))
    if shared:
        raise UsageError(f"option {shared[0]!r} of {kind.name} has the name of an option of every run; rename it")
    return kind


def environment_class(name: str) -> type[Environment]:
    """The environment `name`, from this package or `module:name`; or a UsageError with the nearest name."""
    if is_plugin(name):
        return own_environment(name)
    choose("environment", name, envs.everything(), listed=envs.ENVIRONMENTS)
    if name in envs.ADAPTED:
        devices.prepare()  # building an environment of gymnax already uses a device
    return envs.everything()[name]


def choose(kind: str, name: str, choices: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """Return `name` if it is one of the choices; otherwise raise a UsageError with the nearest name and the list."""
    choices = list(choices)
    if name in choices:
        return name
    raise UsageError(f"unknown {kind} {name!r}; choose one of {', '.join(listed or choices)}{nearest(name, choices)}")


def require(holds: bool, name: str, value: Any, rule: str) -> None:
    """Raise a UsageError unless the rule holds."""
    if not holds:
        raise UsageError(f"{name} is {value}; it must be {rule}")


def whole(name: str, value: Any, least: int = 0, most: float = math.inf) -> int:
    """A count or a seed as a Python number; NumPy's are welcome.

    Raises:
        UsageError: it is no whole number from `least` to `most`.
    """
    require(isinstance(value, int | np.integer) and not isinstance(value, bool), name, repr(value), "a whole number")
    rule = f"at least {least}" if math.isinf(most) else f"between {least} and {most:.10g}"
    require(least <= value <= most, name, value, rule)
    return int(value)


def construct(kind: type[Any], options: dict[str, Any]) -> Any:
    """Make a `kind` from options after checking their names and types; its range errors become UsageErrors."""
    hints = typing.get_type_hints(kind)
    for name in options:
        choose(f"option of {getattr(kind, 'name', 'the run')}", name, field_names(kind))
    try:
        return kind(**{name: conform(name, value, hints[name]) for name, value in options.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error


def conform(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the annotated type: an int is accepted for a float and a list for a tuple.

    Raises:
        UsageError: the value has another type.
    """
    # Only for Python and JSON: tyro reads strings, which do not distinguish True, "True", 1 and "1".
    if isinstance(value, np.generic | np.ndarray):
        return conform(name, value.tolist(), hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return choose(name, value, arguments)
    if origin in (types.UnionType, typing.Union):
        return _conform_optional(name, value, arguments)
    if origin is tuple:
        require(isinstance(value, list | tuple), name, repr(value), f"a list of {_called(arguments[0])}")
        return tuple(conform(name, item, arguments[0]) for item in value)
    accepted = (int, float) if hint is float else (hint,)
    is_bool = isinstance(value, bool)
    require(isinstance(value, accepted) and is_bool == (hint is bool), name, repr(value), f"of type {_called(hint)}")
    return hint(value)


def field_names(part: Any) -> list[str]:
    """The names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(part)]


def _conform_optional(name: str, value: Any, arguments: tuple[Any, ...]) -> Any:
    if value is None and type(None) in arguments:
        return None
    errors = []
    for argument in arguments:
        if argument is not type(None):
            try:
                return conform(name, value, argument)
            except UsageError as error:
                errors.append(error)
    raise errors[-1]


def _plain(part: Any) -> dict[str, Any]:
    """The fields of a dataclass in JSON types: lists for tuples, Python's numbers for NumPy's."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    return {name: plain(value) for name, value in vars(part).items()}


def _called(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _split(options: dict[str, Any], kind: type[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are fields of `kind`, and the others."""
    names = field_names(kind)
    mine = {name: value for name, value in options.items() if name in names}
    return mine, {name: value for name, value in options.items() if name not in names}


def _check_is_free(kind: type[Algorithm], option: str) -> None:
    try:
        algorithms.check_is_free(kind, option)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _applicable(overrides: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    return _split(overrides, kind)[0]


def _change(part: Any, options: dict[str, Any]) -> Any:
    values = {name: getattr(part, name) for name in field_names(part)}
    return construct(type(part), values | options)
