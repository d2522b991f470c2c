"""Several runs at once: a sweep over options and seeds, in one folder with an ordinary run folder for each run.

Runs that differ only in seed and in float options of the algorithm are a cohort, trained by one program; other options
are further programs, one after another. A sweep that was interrupted continues where it was.
"""

import contextlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_jax.experiment import api, checkpoint, devices, group, run_folder
from metarl_jax.experiment.audience import OnLog
from metarl_jax.experiment.config import RunConfig, require, resolve
from metarl_jax.experiment.errors import TrainingDiverged, UsageError
from metarl_jax.experiment.figures import write_figure
from metarl_jax.experiment.lock import locked
from metarl_jax.experiment.rule import Rule
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.streams import say
from metarl_jax.experiment.sweep import cohort
from metarl_jax.experiment.sweep.cohort import Cohort
from metarl_jax.experiment.sweep.folder import SweepFolder, begin, cohorts, open_or_create, read
from metarl_jax.experiment.sweep.grid import FORMATS, Grid, numbered, read_file
from metarl_jax.experiment.sweep.results import Results, evaluated, gathered, loaded

log = logging.getLogger("metarl_jax")


def sweep(
    algorithm: str | None = None,
    /,  # an option may have this name
    environment: str | None = None,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    together: int | None = None,
    rule: Rule | str | Path | None = None,
    seed: int = 0,
    preset: str = "default",
    out: str | Path | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
    env: dict[str, Any] | None = None,
    **options: Any,
) -> Results:
    """Meta-train and evaluate a run for each combination of values in `over`, and for each seed, in one folder.

    Runs that differ only in seed and in float options of the algorithm are trained by one program, whose lanes are
    divided among the devices; other options are further programs, one after another. The last bits of a run are not
    those of the same run alone, because products are summed in another order.

    Args:
        algorithm: Its name, or a .toml or .json file with the arguments `algorithm`, `environment`, `options`, `env`,
            `preset`, `over` and `seeds`.
        environment: Its name.
        over: Values by option of the algorithm, the run or the environment; `env.size` is the option `size` of the
            environment where the algorithm has one, too.
        seeds: A number of seeds from `seed` on, or a list of them.
        together: Runs in a program; by default as many as have 2**20 environment steps in a meta-step on a device.
        rule: As in `train`; all options are then further programs.
        seed: The first seed.
        preset: As in `train`.
        out: Folder; by default `runs/sweep-<algorithm>-<environment>-<n>`. A sweep that is there already is continued
            if it is the same.
        quiet: Print no progress.
        on_log: As in `train`, for every run.
        env: As in `train`.
        options: As in `train`, for all runs.

    Raises:
        UsageError: a name, type or value is wrong, or `out` is something else; raised before anything is compiled.
        TooLarge: a program needs more memory than there is; raised before it is taken, with a `together` that fits.
        Interrupted: SIGINT or SIGTERM arrived; everything is saved.
        TrainingDiverged: all runs diverged.
    """
    asked: dict[str, Any] = {"over": over or {}, "seeds": seeds, "preset": preset, "env": env, "options": options}
    if environment is None and algorithm is not None and Path(algorithm).suffix in FORMATS:
        given = [name for name, value in asked.items() if value and value not in (1, "default")]
        require(not given, "the file", algorithm, f"alone: it says what {' and '.join(given)} are")
        asked |= {"options": {}} | read_file(algorithm)
        algorithm, environment = asked.pop("algorithm", None), asked.pop("environment", None)
    twice = sorted({*asked["over"]} & {*asked["options"]})
    require(not twice, "over", twice, "of options that have no value beside it: leave that out")
    resolved = {"preset": asked["preset"], "env": asked["env"], "rule": api.given_rule(rule)}
    base = resolve(algorithm, environment, **resolved, **({"seed": seed} | asked["options"]))
    grid = Grid(base, asked["over"], numbered(asked["seeds"], base.run.seed))
    return run_grid(grid, together=together, out=out, quiet=quiet, on_log=on_log)


def run_grid(
    grid: Grid,
    *,
    together: int | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
) -> Results:
    """`sweep` with a given grid."""
    require(together is None or together >= 1, "together", together, "at least 1")
    number = group.count()
    require(number == 1, "the number of processes", number, "1 for several runs: start each of them by itself")
    devices.prepare()
    for config in grid.configs:
        api.check(config)
    if out is not None and is_sweep(out):
        return _finish(*open_or_create(grid, together, out), quiet, on_log)
    folder, grid, width = open_or_create(grid, together, out)
    with run_folder.discarded_if_unused(folder.path, map(folder.run, grid.members)):
        return _finish(folder, grid, width, quiet, on_log)


def resume_sweep(path: str | Path, *, quiet: bool = False, on_log: OnLog | None = None) -> Results:
    """Continue a sweep, or runs of several seeds, where it was interrupted; `on_log` as in `train`.

    Raises:
        UsageError: the folder is no sweep, or its request was edited.
    """
    devices.prepare()
    folder = SweepFolder(Path(path))
    return _finish(folder, *read(folder), quiet, on_log)


def load_sweep(path: str | Path) -> Results:
    """A finished sweep, or finished runs of several seeds.

    Raises:
        UsageError: the folder is no sweep, its request was edited, or it is not finished.
    """
    devices.prepare()
    folder = SweepFolder(Path(path))
    grid, together = read(folder)
    if not folder.table.exists():
        raise UsageError(f"{path} is not finished; continue it with `metarl resume {path}`")
    parts = cohorts(folder, grid, together)
    return gathered(folder, grid, parts, [run for each in parts for run in loaded(each)])


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is that of a sweep."""
    return SweepFolder(Path(path)).description.is_file()


def _finish(folder: SweepFolder, grid: Grid, together: int, quiet: bool, on_log: OnLog | None) -> Results:
    """Train and evaluate what is left, then write the table and the figure."""
    parts = cohorts(folder, grid, together)
    with locked(folder.path):
        for member in grid.members:
            begin(folder.run(member), member.config)
        runs = []
        for number, each in enumerate(parts, start=1):
            if len(parts) > 1 and not quiet:
                say(f"program {number} of {len(parts)}: {len(each.folders)} runs")
            with contextlib.ExitStack() as stack:
                for run in each.folders:
                    stack.enter_context(locked(run.path))
                    run.clear_drafts()
                runs += _complete(each, quiet, on_log)
        shutil.rmtree(folder.checkpoints(0).parent, ignore_errors=True)
        results = gathered(folder, grid, parts, runs)
        results.table.write(folder.table)
        if results.runs and (grid.over or grid.base.run.evaluation_tasks):
            write_figure(results.plot(), folder.figure)
    for path in results.diverged:
        log.warning("%s diverged at meta-step %d", path, run_folder.diverged_at(RunFolder(path)))
    if not results.runs:
        remedy = "a smaller learning rate or gradient clip is the usual remedy"
        raise TrainingDiverged(f"all {len(results.diverged)} runs in {folder.path} diverged; {remedy}")
    return results


def _complete(each: Cohort, quiet: bool, on_log: OnLog | None) -> list[api.Result]:
    """Train a cohort and evaluate its runs, as far as that is left to do; the runs that did not diverge."""
    if not all(map(_is_trained, each.folders, each.configs)):
        cohort.advance(each, quiet, on_log)
    shutil.rmtree(each.checkpoints, ignore_errors=True)
    runs = loaded(each)
    for run in runs:
        if not RunFolder(run.path).rule.exists():
            api.save_rule(RunFolder(run.path), run)
    left = [run for run in runs if run.evaluated() is None]
    if tasks := each.like.run.evaluation_tasks:
        how = {"tasks": tasks, "from_scratch": each.like.run.from_scratch, "quiet": quiet}
        for run, evaluation in zip(left, evaluated(each, left, **how), strict=True):
            evaluation.table.write(RunFolder(run.path).evaluation)
    return runs


def _is_trained(folder: RunFolder, config: RunConfig) -> bool:
    last = checkpoint.name_of(config.run.meta_steps)
    return run_folder.diverged_at(folder) is not None or (folder.checkpoints / last).exists()
