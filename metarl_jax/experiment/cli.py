"""The command line: metarl train | evaluate | resume | list | doctor."""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional

from metarl_jax.core.checks import nearest
from metarl_jax.experiment.errors import Interrupted, TrainingDiverged, UnusableRun, UsageError
from metarl_jax.experiment.flags import parse, peek

USAGE = """\
usage: metarl COMMAND ...

  train ALGORITHM ENVIRONMENT   meta-train and evaluate; --help after the names lists every option
  evaluate RUN                  evaluate a run on held-out tasks
  resume RUN                    continue an interrupted run, bit for bit
  list                          the algorithms and environments
  doctor                        versions, devices, and whether this machine computes
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="metarl: %(message)s", level=logging.WARNING)
    try:
        return _dispatch(arguments)
    except (UsageError, UnusableRun, TrainingDiverged, Interrupted) as error:
        print(f"metarl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"metarl: {error}", file=sys.stderr)
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        hint = nearest(arguments[0], COMMANDS)
        raise UsageError(f"unknown command {arguments[0]!r}; choose one of {', '.join(COMMANDS)}{hint}")
    return COMMANDS[arguments[0]](arguments[1:])


@dataclasses.dataclass(frozen=True)
class PresetFlag:
    """The flag that the defaults of all others depend on."""

    preset: str = "default"


@dataclasses.dataclass(frozen=True)
class ShellFlags(PresetFlag):
    """Where to write and how to show a training run."""

    out: Path | None = None
    """New run folder; by default runs/<algorithm>-<environment>-<seed>-<n>."""
    quiet: bool = False
    """Show nothing while it lasts."""


def _train(arguments: list[str]) -> int:
    from metarl_jax.experiment import config

    if not arguments or arguments[0].startswith("-"):
        print(f"usage: metarl train ALGORITHM ENVIRONMENT [--help | FLAGS]\n\n{_names()}", end="")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    config.algorithm_class(arguments[0])
    if len(arguments) < 2 or arguments[1].startswith("-"):
        raise UsageError(
            f"train {arguments[0]} lacks its environment; choose one of {', '.join(config.envs.ENVIRONMENTS)}"
        )
    algorithm, environment, *flags = arguments
    program = f"metarl train {algorithm} {environment}"
    start = config.defaults(algorithm, environment, peek(PresetFlag, flags, program).preset)
    parts = {"shell": ShellFlags(start.preset), "run": start.run, "algorithm": start.algorithm}
    given = parse(_flags_of(parts, start.environment), flags, program, _flag_names(parts, start.environment))
    chosen = config.RunConfig(given.algorithm, given.env, given.shell.preset, given.run)
    from metarl_jax.experiment import api

    return _announce(api.run(chosen, out=given.shell.out, quiet=given.shell.quiet), given.shell.quiet)


@dataclasses.dataclass(frozen=True)
class ResumeFlags:
    """Continue a run from its newest usable checkpoint, bit for bit."""

    run: Positional[Path]
    """The run folder."""
    meta_steps: int | None = None
    """A longer run than planned."""
    quiet: bool = False
    """Show nothing while it lasts."""


def _resume(arguments: list[str]) -> int:
    flags = _parse(ResumeFlags, arguments, "metarl resume")
    from metarl_jax.experiment import api

    return _announce(api.resume(flags.run, meta_steps=flags.meta_steps, quiet=flags.quiet), flags.quiet)


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Evaluate a run on held-out tasks, beside random, from-scratch and reference agents."""

    run: Positional[Path]
    """The run folder."""
    json: bool = False
    """Print the table as JSON."""
    split: str = "test"
    """test: unseen tasks of the training law; extrapolation: tasks beyond it."""
    tasks: int | None = None
    """How many tasks; by default as many as at the end of training."""
    adaptations: int | None = None
    """How often agents adapt; by default as often as in training."""
    seed: int = 0
    """Seed of the tasks and episodes."""


def _evaluate(arguments: list[str]) -> int:
    flags = _parse(EvaluateFlags, arguments, "metarl evaluate")
    from metarl_jax.experiment import api
    from metarl_jax.experiment.evaluation import check_request

    check_request(flags.split, 1 if flags.tasks is None else flags.tasks, flags.seed)
    how = {"split": flags.split, "tasks": flags.tasks, "seed": flags.seed, "adaptations": flags.adaptations}
    evaluation = api.load(flags.run).evaluate(**how)
    if flags.json:
        print(evaluation.table.to_json())
    else:
        _print_table(evaluation.table)
    return 0


@dataclasses.dataclass(frozen=True)
class ListFlags:
    """List the algorithms and environments."""

    json: bool = False
    """Print JSON."""


def _list(arguments: list[str]) -> int:
    flags = _parse(ListFlags, arguments, "metarl list")
    from metarl_jax.experiment.catalogue import catalogue

    print(json.dumps(catalogue(), indent=1) + "\n" if flags.json else _names(), end="")
    return 0


@dataclasses.dataclass(frozen=True)
class DoctorFlags:
    """Print versions, devices, cores, memory and cache, and check that this machine computes."""


def _doctor(arguments: list[str]) -> int:
    _parse(DoctorFlags, arguments, "metarl doctor")
    from metarl_jax.experiment import devices, doctor

    devices.prepare()
    findings = doctor.examine()
    for finding in findings:
        print(f"{finding.name:20}{finding.value}" + (f"  PROBLEM: {finding.problem}" if finding.problem else ""))
    return 1 if any(finding.problem for finding in findings) else 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "resume": _resume,
    "list": _list,
    "doctor": _doctor,
}


def _flags_of(parts: dict[str, Any], environment: Any) -> Any:
    """A type that tyro reads as one flag a field: bare for the parts, `env.` before those of the environment."""
    bare = [(name, Annotated[type(part), OmitArgPrefixes], _default(part)) for name, part in parts.items()]
    return dataclasses.make_dataclass("Train", [*bare, ("env", type(environment), _default(environment))])


def _default(part: Any) -> Any:
    return dataclasses.field(default_factory=lambda: part)


def _flag_names(parts: dict[str, Any], environment: Any) -> list[str]:
    bare = [field.name for part in parts.values() for field in dataclasses.fields(part)]
    return [*bare, *(f"env.{field.name}" for field in dataclasses.fields(environment))]


def _parse(kind: Any, arguments: list[str], program: str) -> Any:
    return parse(kind, arguments, program, [field.name for field in dataclasses.fields(kind)])


def _reference(entry: dict[str, Any]) -> str:
    return f" [{entry['reference']}]" if entry.get("reference") else ""


def _names() -> str:
    from metarl_jax.experiment.catalogue import catalogue

    lines = []
    for kind, entries in catalogue().items():
        width = max(len(entry["name"]) for entry in entries) + 2
        splits = entries[0].get("splits")
        lines.append(f"{kind}, splits {', '.join(splits)}; in brackets the reference:" if splits else f"{kind}:")
        lines += [f"  {entry['name']:{width}}{entry['summary']}{_reference(entry)}" for entry in entries]
    return "\n".join(lines) + "\n"


def _announce(result: Any, quiet: bool) -> int:
    """Say where the run is and what it reached."""
    from metarl_jax.experiment import results
    from metarl_jax.experiment.run_folder import RunFolder

    evaluation = RunFolder(result.path).evaluation
    if evaluation.exists() and not quiet:
        _print_table(results.read(evaluation))
    print(result.path)
    return 0


def _print_table(table: Any) -> None:
    """The cells for people: a column of the table a line, a method a column."""
    from rich.console import Console

    Console().print(table.to_rich())


if __name__ == "__main__":
    sys.exit(main())
