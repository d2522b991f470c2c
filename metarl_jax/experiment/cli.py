"""The command line: metarl train | evaluate | compare | resume | list | doctor.

tyro parses the arguments, prints help and refuses illegal ones with exit code 2; errors that only a command detects are
one sentence. Each command imports the modules with JAX itself, so that help is printed without delay.
"""

import logging
import re
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import DisallowNone, OmitArgPrefixes, Positional, PositionalMetavarFromFieldName
from tyro.extras import SubcommandApp

from metarl_jax.experiment.errors import Interrupted, TrainingDiverged, UnusableRun, UsageError

STYLE = (DisallowNone, PositionalMetavarFromFieldName)
app = SubcommandApp()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Raises:
        SystemExit: tyro printed help (code 0), or refused the arguments (code 2).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.path += [""] * ("" not in sys.path)  # the user's modules, after those installed
    logging.basicConfig(format="metarl: %(message)s", level=logging.WARNING)
    try:
        return _dispatch(words)
    except (UsageError, UnusableRun, TrainingDiverged, Interrupted) as error:
        print(f"metarl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"metarl: {error}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    """Dispatch with tyro, except for `train`, whose options depend on its first two arguments."""
    match _with_rule_last(words):
        case ["train", algorithm, environment, *flags] if "-" not in (algorithm[:1], environment[:1]):
            return _train(algorithm, environment, flags)
        case ["train", environment, *flags] if environment[:1] != "-" and _has_rule(flags):
            return _train(None, environment, flags)
    description = "Meta-reinforcement learning as one fused JAX program."
    return int(app.cli(prog="metarl", description=description, args=words, config=STYLE))


def _with_rule_last(words: list[str]) -> list[str]:
    """The words of `metarl train --rule RUN ENVIRONMENT` with the names first, as without a rule."""
    match words:
        case ["train", "--rule", rule, *rest]:
            return ["train", *rest, "--rule", rule]
        case ["train", first, *rest] if first.startswith("--rule="):
            return ["train", *rest, first]
    return words


def _has_rule(flags: Sequence[str]) -> bool:
    return any(word.split("=")[0] == "--rule" for word in flags)


@app.command
def train(algorithm: Positional[str], environment: Positional[str], *, rule: Path | None = None) -> int:
    """Meta-train and evaluate; --help after both names lists every option.

    Args:
        algorithm: Name of the algorithm, which a rule makes superfluous; `metarl list` prints all.
        environment: Name of the environment; `metarl list` prints all.
        rule: Folder of a run that has learned a rule, by which fresh agents learn: metarl train --rule RUN ENVIRONMENT.
    """
    return _train(algorithm, environment, [])


def _train(algorithm: str | None, environment: str, flags: Sequence[str]) -> int:
    from metarl_jax.experiment import api, config

    program = " ".join(["metarl train", *([] if algorithm is None else [algorithm]), environment])
    flags = [re.sub(r"^--lambda(?=$|=)", "--lambda_", word) for word in flags]  # only Python needs the underscore
    preset, given = _preset_and_rule(flags, program)
    start = config.defaults(algorithm, environment, preset, None if given is None else api.load_rule(given))

    def flagged(
        run: Annotated[config.RunOptions, OmitArgPrefixes] = start.run,
        algorithm: Annotated[config.Algorithm, OmitArgPrefixes] = start.algorithm,
        environment: Annotated[config.Environment, tyro.conf.arg(name="env")] = start.environment,
        preset: str = start.preset,
        rule: Path | None = given,
        out: Path | None = None,
        quiet: bool = False,
    ) -> int:
        """Meta-train and evaluate in a new run folder.

        Args:
            preset: Selects all other defaults; a tiny run takes seconds.
            rule: Folder of a run that has learned a rule, by which fresh agents learn; it sets the algorithm's options.
            out: New run folder; by default runs/<algorithm>-<environment>-<seed>-<n>.
            quiet: Print no progress.
        """
        chosen = config.RunConfig(algorithm, environment, preset, run, start.rule)
        return _announce(api.run(chosen, out=out, quiet=quiet), quiet)

    return tyro.cli(flagged, prog=program, args=flags, config=STYLE)


def _preset_and_rule(flags: Sequence[str], program: str) -> tuple[str, Path | None]:
    """The preset and the rule, which are parsed first because the defaults of all other flags depend on them."""

    def named(preset: str = "default", rule: Path | None = None) -> tuple[str, Path | None]:
        return preset, rule

    return tyro.cli(named, prog=program, args=flags, return_unknown_args=True, add_help=False)[0]


@app.command
def evaluate(
    run: Positional[Path],
    *,
    json: bool = False,
    split: str = "test",
    tasks: int | None = None,
    adaptations: int | None = None,
    seed: int = 0,
) -> int:
    """Evaluate a run on held-out tasks, in comparison with random, from-scratch and reference agents.

    Args:
        run: The run folder.
        json: Print the table as JSON.
        split: test: held-out tasks of the training distribution; extrapolation: tasks outside it.
        tasks: Number of tasks; by default as in the evaluation at the end of training.
        adaptations: Number of adaptations; by default as in training.
        seed: Seed of the tasks and episodes.
    """
    from metarl_jax.experiment import api
    from metarl_jax.experiment.evaluation import check_request

    check_request(split, 1 if tasks is None else tasks, seed)
    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed, "adaptations": adaptations}
    table = api.load(run).evaluate(**how).table
    if json:
        print(table.to_json())
    else:
        _print_table(table)
    return 0


@app.command
def compare(
    runs: Positional[tuple[Path, ...]], *, json: bool = False, split: str = "test", tasks: int = 200, seed: int = 0
) -> int:
    """Compare runs in one environment on the same held-out tasks, with their differences to the first.

    Args:
        runs: The run folders.
        json: Print the table as JSON.
        split: test: held-out tasks of the training distribution; extrapolation: tasks outside it.
        tasks: Number of tasks.
        seed: Seed of the tasks and episodes.
    """
    from metarl_jax.experiment import api

    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed}
    table = api.compare(*runs, **how)
    if json:
        print(table.to_json())
    else:
        _print_table(table)
    return 0


@app.command
def resume(run: Positional[Path], *, meta_steps: int | None = None, quiet: bool = False) -> int:
    """Continue a run from its newest usable checkpoint, bit for bit.

    Args:
        run: The run folder.
        meta_steps: New total number of meta-steps, to extend the run.
        quiet: Print no progress.
    """
    from metarl_jax.experiment import api

    return _announce(api.resume(run, meta_steps=meta_steps, quiet=quiet), quiet)


@app.command(name="list")
def list_names(*, json: bool = False) -> int:
    """List the algorithms and environments.

    Args:
        json: Print JSON.
    """
    from metarl_jax.experiment.catalogue import catalogue

    print(dumps(catalogue(), indent=1) if json else _names(catalogue()))
    return 0


@app.command
def doctor() -> int:
    """Print versions, devices, cores, memory and cache, and check that this machine computes."""
    from metarl_jax.experiment import devices
    from metarl_jax.experiment.doctor import examine

    devices.prepare()
    findings = examine()
    for finding in findings:
        print(f"{finding.name:20}{finding.value}" + (f"  PROBLEM: {finding.problem}" if finding.problem else ""))
    return 1 if any(finding.problem for finding in findings) else 0


def _names(catalogue: dict[str, Any]) -> str:
    lines = []
    for kind, entries in catalogue.items():
        width = max(len(entry["name"]) for entry in entries) + 2
        splits = entries[0].get("splits")
        lines.append(f"{kind}, splits {', '.join(splits)}; in brackets the reference:" if splits else f"{kind}:")
        lines += [f"  {entry['name']:{width}}{entry['summary']}{_reference(entry)}" for entry in entries]
    return "\n".join(lines)


def _reference(entry: dict[str, Any]) -> str:
    return f" [{entry['reference']}]" if entry.get("reference") else ""


def _announce(result: Any, quiet: bool) -> int:
    """Print the path and the evaluation of the run."""
    from metarl_jax.experiment import results
    from metarl_jax.experiment.run_folder import RunFolder

    evaluation = RunFolder(result.path).evaluation
    if evaluation.exists() and not quiet:
        _print_table(results.read(evaluation))
    print(result.path)
    return 0


def _print_table(table: Any) -> None:
    """Print the table for a terminal, transposed: one line for each column and one column for each method."""
    from rich.console import Console

    Console().print(table.to_rich())


if __name__ == "__main__":
    sys.exit(main())
