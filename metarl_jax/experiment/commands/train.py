"""metarl train, resume: what makes a run."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from metarl_jax.experiment.commands.output import announce, announce_all
from metarl_jax.experiment.commands.style import STYLE

if TYPE_CHECKING:
    from metarl_jax.experiment.config import RunConfig


def train(algorithm: Positional[str], environment: Positional[str], *, rule: Path | None = None) -> int:
    """Meta-train and evaluate; --help after both names lists every option.

    $ metarl train maml navigation --preset tiny
    $ metarl train rl2 bandit --seed 1 --meta-steps 200 --out runs/mine
    $ metarl train my_module:MyAlgorithm maze --help
    $ metarl train --rule runs/learned_rule-catch-0-1 maze

    Args:
        algorithm: Name of the algorithm, which a rule makes superfluous; `metarl list` prints all.
        environment: Name of the environment; `metarl list` prints all.
        rule: Folder of a run that has learned a rule, by which fresh agents learn: metarl train --rule RUN ENVIRONMENT.
    """
    return with_flags(algorithm, environment, [])


def with_flags(algorithm: str | None, environment: str, flags: Sequence[str]) -> int:
    from metarl_jax.experiment import api, config
    from metarl_jax.experiment.group import Group

    program = " ".join(["metarl train", *([] if algorithm is None else [algorithm]), environment])
    join_by(flags, program)
    start, flags, given = beginning(algorithm, environment, flags, program)

    def flagged(
        run: Annotated[config.RunOptions, OmitArgPrefixes, UseAppendAction] = start.run,
        algorithm: Annotated[config.Algorithm, OmitArgPrefixes] = start.algorithm,
        environment: Annotated[config.Environment, tyro.conf.arg(name="env")] = start.environment,
        preset: str = start.preset,
        rule: Path | None = given,
        seeds: int | None = None,
        out: Path | None = None,
        quiet: bool = False,
        group: Annotated[Group, OmitArgPrefixes] = Group(),  # noqa: B008
    ) -> int:
        """Meta-train and evaluate in a new run folder.

        For example with --preset tiny, with --seed 1 --meta-steps 200 --out runs/mine, or with --tracker tensorboard.

        Args:
            seeds: Number of runs, with seeds from --seed on, that one program trains in one folder.
            preset: Selects all other defaults; a tiny run takes seconds.
            rule: Folder of a run that has learned a rule, by which fresh agents learn; it sets the algorithm's options.
            out: New run folder; by default runs/<algorithm>-<environment>-<seed>-<n>.
            quiet: Print no progress.
        """
        chosen = config.RunConfig(algorithm, environment, preset, run, start.rule)
        if seeds is not None:
            return announce_all(api.run_seeds(chosen, seeds, out=out, quiet=quiet), quiet)
        return announce(api.run(chosen, out=out, quiet=quiet), quiet)

    return tyro.cli(flagged, prog=program, args=flags, config=STYLE)


def join_by(flags: Sequence[str], program: str) -> None:
    """Become one of the processes that flags name, before anything else uses a device."""
    from metarl_jax.experiment.group import Group, join

    def grouped(group: Annotated[Group, OmitArgPrefixes] = Group()) -> Group:  # noqa: B008
        return group

    join(tyro.cli(grouped, prog=program, args=flags, return_unknown_args=True, add_help=False)[0])


def beginning(
    algorithm: str | None, environment: str, flags: Sequence[str], program: str
) -> tuple["RunConfig", list[str], Path | None]:
    """The configuration that flags change, the flags as tyro knows them, and the folder of the rule."""
    from metarl_jax.experiment import api, config

    flags = _with_underscore(flags)
    preset, given = _preset_and_rule(flags, program)
    rule = None if given is None else api.load_rule(given)
    return config.defaults(algorithm, environment, preset, rule), flags, given


def _with_underscore(flags: Sequence[str]) -> list[str]:
    return [re.sub(r"^--lambda(?=$|=)", "--lambda_", word) for word in flags]  # only Python needs the underscore


def _preset_and_rule(flags: Sequence[str], program: str) -> tuple[str, Path | None]:
    """The preset and the rule, which are parsed first because the defaults of all other flags depend on them."""

    def named(preset: str = "default", rule: Path | None = None) -> tuple[str, Path | None]:
        return preset, rule

    return tyro.cli(named, prog=program, args=flags, return_unknown_args=True, add_help=False)[0]


def resume(run: Positional[Path], *, meta_steps: int | None = None, quiet: bool = False) -> int:
    """Continue a run from its newest usable checkpoint, bit for bit; or a sweep. RUN --help lists what may change.

    $ metarl resume runs/maml-navigation-0-1
    $ metarl resume runs/maml-navigation-0-1 --meta-steps 1000
    $ metarl resume runs/maml-navigation-0-1 --meta-lr 0.0001

    Args:
        run: The run folder, or that of a sweep.
        meta_steps: New total number of meta-steps, to extend the run.
        quiet: Print no progress.
    """
    from metarl_jax.experiment import api, config
    from metarl_jax.experiment.sweep import sweep

    if sweep.is_sweep(run):
        rule = "left out for a sweep: extend one of its runs"
        config.require(meta_steps is None, "meta_steps", meta_steps, rule)
        return announce_all(sweep.resume_sweep(run, quiet=quiet), quiet)
    return announce(api.resume(run, meta_steps=meta_steps, quiet=quiet), quiet)


def is_run(path: str) -> bool:
    from metarl_jax.experiment.run_folder import RunFolder

    return RunFolder(Path(path)).description.is_file()


def resume_with_flags(path: str, flags: Sequence[str]) -> int:
    from metarl_jax.experiment import api, config
    from metarl_jax.experiment.group import Group, together
    from metarl_jax.experiment.run_folder import open_run

    join_by(flags, f"metarl resume {path}")
    folder, before = together(lambda: open_run(path))

    def flagged(
        run: Annotated[config.RunOptions, OmitArgPrefixes, UseAppendAction] = before.run,
        algorithm: Annotated[config.Algorithm, OmitArgPrefixes] = before.algorithm,
        quiet: bool = False,
        group: Annotated[Group, OmitArgPrefixes] = Group(),  # noqa: B008
    ) -> int:
        """Continue a run from its newest usable checkpoint, bit for bit unless options change.

        Args:
            quiet: Print no progress.
        """
        chosen = dataclasses.replace(before, run=run, algorithm=algorithm)
        with api.owned(folder):
            same = together(lambda: open_run(path)[1] == before)
            config.require(
                same, "the run", path, "as it was when the flags were read, but has changed since: try again"
            )
            return announce(api.go_on(folder, before, chosen, quiet=quiet), quiet)

    return tyro.cli(flagged, prog=f"metarl resume {path}", args=_with_underscore(flags), config=STYLE)
