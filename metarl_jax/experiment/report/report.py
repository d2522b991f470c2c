"""`metarl_jax.report`: runs are judged in held-out tasks, filmed, and described in one HTML file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Split
from metarl_jax.experiment.api import Result, members
from metarl_jax.experiment.comparison import briefly, shared_environment
from metarl_jax.experiment.curves import step_rewards
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import Evaluation, check_request, sample_tasks
from metarl_jax.experiment.files import write_whole
from metarl_jax.experiment.films import films
from metarl_jax.experiment.report.comparison_section import comparison_section
from metarl_jax.experiment.report.page import page
from metarl_jax.experiment.report.run_section import Judged, run_section
from metarl_jax.experiment.sweep.results import Results

NAME = "report.html"
FILMED = 3  # tasks of each run


def report(
    *runs: Result | Results | str | Path,
    out: str | Path | None = None,
    split: Split = "test",
    tasks: int | None = None,
    seed: int = 0,
    from_scratch: bool | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Write a report of one or more runs to `out`, and return its path.

    By default it is `report.html` in the folder of the run, or in the current folder for several runs. All agents adapt
    to the same `tasks` held-out tasks of `split`: by default as many as in the evaluation of the first run. Without
    `from_scratch`, no agent learns the tasks from scratch, which takes almost half of the time. Runs of several seeds,
    or their folder, stand for each of their runs.

    Raises:
        UsageError: no run, a run that is not usable, runs in different environments, or `out` exists.
    """
    check_request(split, 1 if tasks is None else tasks, seed)
    if not runs:
        raise UsageError("a report needs a run; name one or more run folders")
    path = None if out is None else _free(Path(out), overwrite)
    results = {str(result.path): result for run in runs for result in members(run)}
    path = path or _free(_home(results) / NAME, overwrite)
    if len(results) > 1:
        shared_environment({name: result.config for name, result in results.items()})
    count = tasks or next(iter(results.values())).config.run.evaluation_tasks or 200
    short = briefly(results)
    how: dict[str, Any] = {"from_scratch": from_scratch, "quiet": quiet}
    judged = [_judged(short[name], result, split, count, seed, **how) for name, result in results.items()]
    write_whole(path, report_page(judged))
    return path


def report_page(judged: list[Judged]) -> str:
    """The HTML of a report on runs that have been judged."""
    title = judged[0].name if len(judged) == 1 else f"{len(judged)} runs compared"
    return page(title, [run_section(each) for each in judged], comparison_section(judged) if len(judged) > 1 else None)


def _judged(name: str, result: Result, split: Split, count: int, seed: int, **how: Any) -> Judged:
    evaluation = result.evaluate(split=split, tasks=count, seed=seed, **how)
    shown = films(result, split=split, tasks=min(count, FILMED), seed=seed)
    rewards = rewards_by_step(result, evaluation, split, count, seed)
    return Judged(name, result, split, evaluation, [film.to_json() for film in shown], rewards)


def rewards_by_step(result: Result, evaluation: Evaluation, split: Split, count: int, seed: int) -> np.ndarray | None:
    """The rewards [N, T] of an evaluation, if each trial is one episode and all are equally long; None otherwise."""
    config = result.config
    lengths = evaluation.curves[config.algorithm.name].lengths
    if lengths[0].size > 1 or (lengths != config.environment.horizon).any():
        return None
    task_key, life_key, *_ = jax.random.split(key_of(seed), 5)  # as in `evaluate_learner`
    tasks = sample_tasks(config.environment, split, count, task_key)
    return step_rewards(config.world, result.meta_params, tasks, life_key)


def _home(paths: Iterable[str]) -> Path:
    """The folder of the only run, or the current one."""
    first, *others = paths
    return Path() if others else Path(first)


def _free(path: Path, overwrite: bool) -> Path:
    """A path that may be written.

    Raises:
        UsageError: it exists, or it has no folder.
    """
    if path.exists() and not (overwrite and path.is_file()):
        raise UsageError(f"{path} exists, and is not overwritten; name another with --out, or pass --overwrite")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it, or name another with --out")
    return path
