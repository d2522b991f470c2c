"""The runs of a sweep, or of several seeds of one configuration, and what they found."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Split
from metarl_jax.experiment import api, run_folder
from metarl_jax.experiment.config import learner_of, require
from metarl_jax.experiment.evaluation import Evaluation
from metarl_jax.experiment.figures import adaptation_figure, learning_figure
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.sweep import cohort
from metarl_jax.experiment.sweep.cohort import Cohort
from metarl_jax.experiment.sweep.folder import SweepFolder
from metarl_jax.experiment.sweep.grid import Grid
from metarl_jax.experiment.sweep.report import Cell, best, final_return, summary, sweep_figure, training_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """The runs of a sweep, or of several seeds."""

    path: Path
    grid: Grid
    cohorts: tuple[Cohort, ...]
    """The runs by program."""
    runs: tuple[api.Result, ...]
    """Those that did not diverge, in the order of the grid, seeds innermost."""
    diverged: tuple[Path, ...]
    """The folders of those that did."""

    @property
    def table(self) -> Table:
        """Means over seeds, with intervals over seeds; see `summary`."""
        return summary(self.grid, self.cells())

    @property
    def winner(self) -> Cell | None:
        """The best combination of options, by the mean return; None where no run has a return."""
        return best(self.cells(), self.grid.base.algorithm.name)

    @property
    def best(self) -> api.Result | None:
        """The best run of the best combination of options."""
        winner, name = self.winner, self.grid.base.algorithm.name
        names = {member.name for member in self.grid.members if winner and member.options == winner.options}
        runs = [run for run in self.runs if run.path.name in names]
        returns = [final_return(table_of(run), name).value for run in runs]
        return max(
            zip(returns, runs, strict=True),
            key=lambda pair: -np.inf if pair[0] is None else pair[0],
            default=(None, None),
        )[1]

    def cells(self, tables: Mapping[Path, Table] | None = None) -> list[Cell]:
        """The combinations of options, with the tables of their runs, by default those in their folders."""
        tables = tables or {run.path: table_of(run) for run in self.runs}
        found = []
        for options, members in itertools.groupby(self.grid.members, key=lambda member: member.options):
            mine = [tables.get(self.path / member.name) for member in members]
            known = [table for table in mine if table is not None]
            found.append(Cell(options, known, len(mine) - len(known)))
        return found

    def evaluate(
        self,
        *,
        split: Split = "test",
        tasks: int | None = None,
        seed: int = 0,
        adaptations: int | None = None,
        from_scratch: bool | None = None,
        quiet: bool = False,
    ) -> Table:
        """Evaluate all runs on the same held-out tasks, as `Result.evaluate`; the result has the form of `table`."""
        run = self.grid.base.run
        how: dict[str, Any] = {"split": split, "seed": seed, "adaptations": adaptations, "quiet": quiet}
        how |= run.judged(tasks, from_scratch)
        tables: dict[Path, Table] = {}
        for each in self.cohorts:
            runs = [run for run in self.runs if RunFolder(run.path) in each.folders]
            tables |= {run.path: found.table for run, found in zip(runs, evaluated(each, runs, **how), strict=True)}
        return summary(self.grid, self.cells(tables))

    def plot(self, kind: Literal["adaptation", "learning", "sweep"] | None = None) -> "Figure":
        """Draw the return against each option; of one combination of options, how its runs adapt, or learned."""
        kind = kind or ("sweep" if self.grid.over else "adaptation")
        if kind == "sweep":
            return sweep_figure(self.table, self.grid)
        require(not self.grid.over, "kind", kind, "sweep, where options vary; draw one of `runs` otherwise")
        if kind == "adaptation":
            return adaptation_figure(self.table)
        names = [name for name in self.runs[0].metrics if all(name in run.metrics for run in self.runs)]
        metrics = {name: np.stack([run.metrics[name] for run in self.runs]) for name in names}
        return learning_figure(metrics, self.path.name)

    def __repr__(self) -> str:
        from metarl_jax.experiment.notebook import lines

        return f"<Results {lines(self)}>"

    def _repr_html_(self) -> str:
        from metarl_jax.experiment.notebook import results_html

        return results_html(self)


def gathered(folder: SweepFolder, grid: Grid, parts: tuple[Cohort, ...], found: Sequence[api.Result]) -> Results:
    """The runs of a sweep in the order of its grid."""
    runs = {run.path: run for run in found}
    paths = [folder.run(member).path for member in grid.members]
    diverged = tuple(path for path in paths if path not in runs)
    return Results(folder.path, grid, parts, tuple(runs[path] for path in paths if path in runs), diverged)


def loaded(each: Cohort) -> list[api.Result]:
    """The runs of a cohort that did not diverge."""
    like = jax.eval_shape(learner_of(*each.made_of[:3]).init, key_of(0))
    found = []
    for folder, config in zip(each.folders, each.configs, strict=True):
        run_folder.check_numbers(folder)
        if run_folder.diverged_at(folder) is None and (restored := run_folder.restore(folder, like)):
            found.append(api.result_of(folder, config, *restored))
    return found


def evaluated(each: Cohort, runs: Sequence[api.Result], **how: Any) -> list[Evaluation]:
    """The evaluations of some of the runs of a cohort."""
    if not runs:
        return []
    chosen = each._replace(
        folders=tuple(RunFolder(run.path) for run in runs), configs=tuple(run.config for run in runs)
    )
    found = cohort.evaluated(chosen, [run.meta_params for run in runs], **how)
    return [run.priced(evaluation) for run, evaluation in zip(runs, found, strict=True)]


def table_of(run: api.Result) -> Table:
    """The evaluation of a run, or what its training says of its return."""
    return run.evaluated() or training_table(run.config.algorithm.name, run.config.run.seed, run.metrics)
