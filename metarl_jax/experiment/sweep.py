"""Several runs at once: a sweep over options and seeds, in one folder with an ordinary run folder for each run.

Runs that differ only in seed and in float options of the algorithm are a cohort, trained by one program; other options
are further programs, one after another. A sweep that was interrupted continues where it was.
"""

import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from metarl_jax.core.types import Split
from metarl_jax.experiment import api, checkpoint, cohort, devices, rule_file, run_folder
from metarl_jax.experiment.cohort import Cohort
from metarl_jax.experiment.config import RunConfig, digest, learner_of, require, resolve
from metarl_jax.experiment.errors import TrainingDiverged, UsageError
from metarl_jax.experiment.evaluation import Evaluation
from metarl_jax.experiment.figures import write_figure
from metarl_jax.experiment.grid import FORMATS, Grid, Member, Options, label, numbered, read_file
from metarl_jax.experiment.results import Table, read
from metarl_jax.experiment.rule import Rule
from metarl_jax.experiment.run_folder import RunFolder, locked, write_whole
from metarl_jax.experiment.sweep_report import Cell, best, final_return, summary, sweep_figure, training_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("metarl_jax")
STEPS_TOGETHER = 2**20  # environment steps of a meta-step that a device takes at once by default: bounds the memory


class SweepFolder(NamedTuple):
    """The files of a sweep."""

    path: Path

    @property
    def description(self) -> Path:
        return self.path / "sweep.json"

    @property
    def table(self) -> Path:
        return self.path / "table.json"

    @property
    def figure(self) -> Path:
        return self.path / "sweep.png"

    @property
    def rule(self) -> Path:
        """The rule that its runs were given."""
        return self.path / "rule"

    def run(self, member: Member) -> RunFolder:
        """The folder of one of its runs."""
        return RunFolder(self.path / member.name)

    def checkpoints(self, number: int) -> Path:
        """The checkpoints of a cohort until its runs have their own."""
        return self.path / "checkpoints" / str(number)


@dataclasses.dataclass(frozen=True)
class Results:
    """The runs of a sweep, or of several seeds."""

    path: Path
    grid: Grid = dataclasses.field(repr=False)
    cohorts: tuple[Cohort, ...] = dataclasses.field(repr=False)
    runs: tuple[api.Result, ...] = dataclasses.field(repr=False)
    """Those that did not diverge, in the order of the grid, seeds innermost."""
    diverged: tuple[Path, ...]
    """The folders of those that did."""
    table: Table = dataclasses.field(repr=False)
    """Means over seeds, with intervals over seeds; see `summary`."""

    @property
    def best(self) -> api.Result | None:
        """The best run of the best options; None where no run has a return."""
        name = self.grid.base.algorithm.name
        winner = best(self.cells(), name)
        runs = [run for run in self.runs if winner is not None and self._options(run) == winner.options]
        return max(runs, key=lambda run: final_return(_table_of(run), name).value or -np.inf, default=None)

    def cells(self) -> list[Cell]:
        """The combinations of options, with the tables of their runs."""
        return _cells(self, [_table_of(run) for run in self.runs])

    def _options(self, run: api.Result) -> Options:
        folder = SweepFolder(self.path)
        return next(member.options for member in self.grid.members() if folder.run(member).path == run.path)

    def evaluate(
        self, *, split: Split = "test", tasks: int | None = None, seed: int = 0, adaptations: int | None = None
    ) -> Table:
        """Evaluate all runs on the same held-out tasks; the table has the form of `table`."""
        count = tasks if tasks is not None else self.grid.base.run.evaluation_tasks or 200
        how: dict[str, Any] = {"split": split, "tasks": count, "seed": seed, "adaptations": adaptations}
        tables: dict[Path, Table] = {}
        for each in self.cohorts:
            runs = [run for run in self.runs if RunFolder(run.path) in each.folders]
            tables |= {run.path: found.table for run, found in zip(runs, _evaluated(each, runs, **how), strict=True)}
        return summary(self.grid, _cells(self, [tables[run.path] for run in self.runs]))

    def plot(self, kind: Literal["adaptation", "learning", "sweep"] | None = None) -> "Figure":
        """Draw the return against each option; of one combination of options, how its runs adapt, or learned."""
        from metarl_jax.experiment.figures import adaptation_figure, learning_figure

        kind = kind or ("sweep" if self.grid.over else "adaptation")
        if kind == "sweep":
            return sweep_figure(self.table, self.grid)
        require(not self.grid.over, "kind", kind, "sweep, where options vary; draw one of `runs` otherwise")
        if kind == "learning":
            names = [name for name in self.runs[0].metrics if all(name in run.metrics for run in self.runs)]
            metrics = {name: np.stack([run.metrics[name] for run in self.runs]) for name in names}
            return learning_figure(metrics, self.path.name)
        return adaptation_figure(self.table)


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
        env: As in `train`.
        options: As in `train`, for all runs.

    Raises:
        UsageError: a name, type or value is wrong, or `out` is something else; raised before anything is compiled.
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
    return run_grid(grid, together=together, out=out, quiet=quiet)


def run_grid(grid: Grid, *, together: int | None = None, out: str | Path | None = None, quiet: bool = False) -> Results:
    """`sweep` with a given grid."""
    devices.prepare()
    members = [member for member in grid.members() if member.config.run.seed == grid.seeds[0]]
    for member in members:
        api.check(member.config)
    require(together is None or together >= 1, "together", together, "at least 1")
    folder = SweepFolder(Path(out)) if out is not None else None
    if folder is not None and folder.description.is_file():
        before, width = _read(folder)
        same = before.to_json() == grid.to_json() and together in (None, width)
        remedy = "continue that one with `metarl resume`, or name another folder"
        require(same, "out", out, f"a new folder, because another sweep is in it: {remedy}")
        return _finish(folder, grid, width, quiet)
    width = together or min(fitting(member.config) for member in members)
    stem = f"{grid.base.algorithm.name}-{grid.base.environment.name}"
    stem = f"sweep-{stem}" if grid.over else f"{stem}-seeds"
    folder = SweepFolder(run_folder.make_numbered(stem) if out is None else run_folder.make_new(Path(out)))
    if grid.base.rule is not None:
        rule_file.write(grid.base.rule, folder.rule)
    request = grid.to_json() | {"together": width}
    written = {"request": request, "digest": digest(request), **run_folder.circumstances()}
    write_whole(folder.description, json.dumps(written, indent=1) + "\n")
    return _finish(folder, grid, width, quiet)


def resume_sweep(path: str | Path, *, quiet: bool = False) -> Results:
    """Continue a sweep, or runs of several seeds, where it was interrupted.

    Raises:
        UsageError: the folder is no sweep, or its request was edited.
    """
    devices.prepare()
    folder = SweepFolder(Path(path))
    return _finish(folder, *_read(folder), quiet)


def load_sweep(path: str | Path) -> Results:
    """A finished sweep, or finished runs of several seeds.

    Raises:
        UsageError: the folder is no sweep, its request was edited, or it is not finished.
    """
    devices.prepare()
    folder = SweepFolder(Path(path))
    grid, width = _read(folder)
    if not folder.table.exists():
        raise UsageError(f"{path} is not finished; continue it with `metarl resume {path}`")
    return _results(folder, grid, cohorts(folder, grid, width))


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is that of a sweep."""
    return SweepFolder(Path(path)).description.is_file()


def fitting(config: RunConfig) -> int:
    """How many such runs one program trains by default."""
    learner = learner_of(config.annealed(), config.environment, config.rule)
    return max(1, STEPS_TOGETHER // max(1, learner.env_steps)) * len(jax.devices())


def cohorts(folder: SweepFolder, grid: Grid, together: int) -> tuple[Cohort, ...]:
    """The runs of a grid by program, at most `together` at a time."""
    groups: dict[str, list[Member]] = {}
    for member in grid.members():
        static = {name: value for name, value in member.options.items() if name not in grid.varied}
        groups.setdefault(label(static), []).append(member)
    found: list[Cohort] = []
    for members in groups.values():
        width = -(-len(members) // -(-len(members) // together))
        for start in range(0, len(members), width):
            chosen = members[start : start + width]
            runs = tuple(folder.run(member) for member in chosen), tuple(member.config for member in chosen)
            where = folder.path, folder.checkpoints(len(found))
            found.append(Cohort(members[0].config, grid.varied, *runs, *where, width))
    return tuple(found)


def _read(folder: SweepFolder) -> tuple[Grid, int]:
    """The grid of a sweep, and how many of its runs a program trains."""
    if not folder.description.is_file():
        raise UsageError(f"{folder.path} is not a sweep: it has no {folder.description.name}")
    edited = UsageError(f"{folder.description} was edited; restore it, or start another sweep")
    try:
        written = json.loads(folder.description.read_text())
        request, seal = written["request"], written["digest"]
    except (LookupError, TypeError, ValueError) as error:
        raise edited from error
    if digest(request) != seal:
        raise edited
    rule = rule_file.read(folder.rule) if request["config"]["rule"] is not None else None
    base = RunConfig.from_json(request["config"], rule)
    return Grid(base, request["over"], tuple(request["seeds"])), int(request["together"])


def _finish(folder: SweepFolder, grid: Grid, together: int, quiet: bool) -> Results:
    """Train and evaluate what is left, then write the table and the figure."""
    with locked(RunFolder(folder.path)):
        parts = cohorts(folder, grid, together)
        for each in parts:
            for run, config in zip(each.folders, each.configs, strict=True):
                _begin(run, config)
        for number, each in enumerate(parts, start=1):
            if len(parts) > 1 and not quiet:
                print(f"program {number} of {len(parts)}: {len(each.folders)} runs", file=sys.stderr)
            _complete(each, quiet)
        results = _results(folder, grid, parts)
        results.table.write(folder.table)
        if results.runs and (grid.over or grid.base.run.evaluation_tasks):
            write_figure(results.plot(), folder.figure)
    for path in results.diverged:
        log.warning("%s diverged at meta-step %d", path, run_folder.diverged_at(RunFolder(path)))
    if not results.runs:
        raise TrainingDiverged(
            f"all {len(results.diverged)} runs in {folder.path} diverged; a smaller learning rate or "
            "gradient clip is the usual remedy"
        )
    return results


def _begin(folder: RunFolder, config: RunConfig) -> None:
    """Make the folder of a run, or see that it is that run's."""
    if folder.description.exists():
        require(run_folder.open_run(folder.path)[1] == config, "the folder", folder.path, "as its sweep has made it")
    else:
        folder.path.mkdir(exist_ok=True)
        run_folder.fill(folder, config)


def _complete(each: Cohort, quiet: bool) -> None:
    """Train a cohort and evaluate its runs, as far as that is left to do."""
    pairs = list(zip(each.folders, each.configs, strict=True))
    if not all(_is_trained(folder, config) for folder, config in pairs):
        cohort.advance(each, quiet)
    shutil.rmtree(each.checkpoints, ignore_errors=True)
    runs = _loaded(each)
    for run in runs:
        if not RunFolder(run.path).rule.exists():
            api.save_rule(RunFolder(run.path), run)
    left = [run for run in runs if not RunFolder(run.path).evaluation.exists()]
    tasks = each.like.run.evaluation_tasks
    if tasks and left:
        for run, evaluation in zip(left, _evaluated(each, left, tasks=tasks), strict=True):
            evaluation.table.write(RunFolder(run.path).evaluation)


def _is_trained(folder: RunFolder, config: RunConfig) -> bool:
    last = f"step-{config.run.meta_steps:08d}"
    return run_folder.diverged_at(folder) is not None or (folder.checkpoints / last).exists()


def _loaded(each: Cohort) -> list[api.Result]:
    """The runs of a cohort that did not diverge."""
    like = jax.eval_shape(learner_of(*each.made_of[:3]).init, jax.random.key(0))
    found = []
    for folder, config in zip(each.folders, each.configs, strict=True):
        if run_folder.diverged_at(folder) is None and (restored := checkpoint.newest(folder.checkpoints, like)):
            found.append(api.result_of(folder, config, *restored))
    return found


def _evaluated(each: Cohort, runs: Sequence[api.Result], **how: Any) -> list[Evaluation]:
    """The evaluations of some of the runs of a cohort."""
    if not runs:
        return []
    chosen = each._replace(
        folders=tuple(RunFolder(run.path) for run in runs), configs=tuple(run.config for run in runs)
    )
    found = cohort.evaluated(chosen, [run.meta_params for run in runs], **how)
    return [run.priced(evaluation) for run, evaluation in zip(runs, found, strict=True)]


def _results(folder: SweepFolder, grid: Grid, parts: tuple[Cohort, ...]) -> Results:
    loaded = {run.path: run for each in parts for run in _loaded(each)}
    paths = [folder.run(member).path for member in grid.members()]
    runs = tuple(loaded[path] for path in paths if path in loaded)
    diverged = tuple(path for path in paths if path not in loaded)
    results = Results(folder.path, grid, parts, runs, diverged, Table("", [], 0))
    table = summary(grid, _cells(results, [_table_of(run) for run in runs]))
    return dataclasses.replace(results, table=table)


def _table_of(run: api.Result) -> Table:
    """The evaluation of a run, or what its training says of its return."""
    saved = RunFolder(run.path).evaluation
    if saved.exists():
        return read(saved)
    return training_table(run.config.algorithm.name, run.config.run.seed, run.metrics)


def _cells(results: Results, tables: Sequence[Table]) -> list[Cell]:
    """The combinations of options, with the tables of the runs that did not diverge."""
    of_run = {run.path: table for run, table in zip(results.runs, tables, strict=True)}
    cells: dict[str, Cell] = {}
    for member in results.grid.members():
        cell = cells.get(label(member.options), Cell(member.options, [], 0))
        table = of_run.get(SweepFolder(results.path).run(member).path)
        lost = cell.diverged + (table is None)
        cells[label(member.options)] = Cell(cell.options, cell.tables + ([] if table is None else [table]), lost)
    return list(cells.values())
