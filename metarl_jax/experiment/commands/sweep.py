"""metarl sweep: runs over values of options and over seeds, in one folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from metarl_jax.experiment.commands.output import announce_all
from metarl_jax.experiment.commands.style import STYLE
from metarl_jax.experiment.commands.train import beginning

SUFFIXES = (".toml", ".json")


def sweep(
    file: Positional[Path],
    *,
    together: int | None = None,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Meta-train and evaluate a run for each combination of options, and for each seed, in one folder.

    Options and seeds are given by a file, or by flags after an algorithm and an environment, where --help lists them.
    The same command with the same --out continues a sweep that was interrupted, as does `metarl resume`.

    $ metarl sweep maml navigation --over meta_lr=1e-4,1e-3 --over hidden=16,32x32 --seeds 8
    $ metarl sweep study.toml --out runs/study

    Args:
        file: A .toml or .json file with algorithm, environment, options, env, preset, over and seeds; or an algorithm.
        together: Runs in one program; by default as many as fit a bound on the memory.
        out: Folder; by default runs/sweep-<algorithm>-<environment>-<n>.
        json: Print the table as JSON.
        quiet: Print no progress.
    """
    from metarl_jax.experiment.errors import UsageError
    from metarl_jax.experiment.sweep import sweep as sweeps

    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file} is no .toml or .json file; name one, or an algorithm and an environment")
    return announce_all(sweeps.sweep(str(file), together=together, out=out, quiet=quiet), quiet, json)


def sweep_with_flags(algorithm: str, environment: str, flags: Sequence[str]) -> int:
    """Sweep with the flags that this pair has."""
    from metarl_jax.experiment import config
    from metarl_jax.experiment.sweep import sweep
    from metarl_jax.experiment.sweep.grid import Grid, numbered, read_over

    program = f"metarl sweep {algorithm} {environment}"
    start, flags, _ = beginning(algorithm, environment, flags, program)

    def flagged(
        run: Annotated[config.RunOptions, OmitArgPrefixes, UseAppendAction] = start.run,
        algorithm: Annotated[config.Algorithm, OmitArgPrefixes] = start.algorithm,
        environment: Annotated[config.Environment, tyro.conf.arg(name="env")] = start.environment,
        over: UseAppendAction[tuple[str, ...]] = (),
        seeds: int = 1,
        together: int | None = None,
        preset: str = start.preset,
        out: Path | None = None,
        json: bool = False,
        quiet: bool = False,
    ) -> int:
        """Sweep over values of options and over seeds, in one folder with a run folder for each run.

        Args:
            over: An option and its values: --over meta_lr=1e-4,1e-3 --over hidden=16,32x32 --over env.size=3,5.
            seeds: Number of seeds of every combination, from --seed on.
            together: Runs in one program; by default as many as fit a bound on the memory.
            preset: Selects all other defaults; a tiny run takes seconds.
            out: Folder; by default runs/sweep-<algorithm>-<environment>-<n>. The same sweep there is continued.
            json: Print the table as JSON.
            quiet: Print no progress.
        """
        base = config.RunConfig(algorithm, environment, preset, run, start.rule)
        grid = Grid(base, read_over(base, over), numbered(seeds, run.seed))
        how: dict[str, Any] = {"together": together, "out": out, "quiet": quiet}
        return announce_all(sweep.run_grid(grid, **how), quiet, json)

    return tyro.cli(flagged, prog=program, args=flags, config=STYLE)
