"""What the recipes share: train or resume one run a seed, pool their held-out curves, keep the rows that a file has."""

import argparse
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

import metarl_jax
from metarl_jax.core.evaluation import Curve
from metarl_jax.core.life import World
from metarl_jax.experiment.curves import adaptation_curve, blind_curve, scratch_curve
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.results import Table, read
from metarl_jax.experiment.run_folder import RunFolder, trained_on
from metarl_jax.oracles import reference

ROOT = pathlib.Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
SMALL = {"seeds": 1, "tasks": 64, "changes": {"meta_steps": 2, "log_every": 2, "tasks": 64}}  # of --quick
TEST_KEY = 20_261_124  # of all held-out tasks; nothing is tuned on them
Measure = Callable[[Curve], np.ndarray]  # curve [N, P, episodes] -> values [N, columns]


def episodes(curve: Curve) -> np.ndarray:
    """The return of each episode after the last adaptation."""
    return curve.returns[:, -1]


def steps(curve: Curve) -> np.ndarray:
    """The return after each adaptation, mean over episodes."""
    return curve.returns.mean(axis=2)


def table_parser(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a table script, with the options that all of them have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small budgets, which show that it runs: no results")
    parser.add_argument("--out", type=pathlib.Path, help="JSON of the table, by default that of benchmarks/results")
    return parser


def parsed(parser: argparse.ArgumentParser, table: str, **quick: Any) -> Any:
    """What the command line says, whose defaults with --quick are `quick`.

    Beside the options it has `figure`, a file for one; `runs`, the folder of runs; and `changes` of all recipes.
    """
    if (given := parser.parse_args()).quick:
        parser.set_defaults(**quick)
        given = parser.parse_args()
    committed = RESULTS / f"{table}.json"
    given.out = given.out or (pathlib.Path("runs", "quick", f"{table}.json") if given.quick else committed)
    given.figure = DOCS / f"{table}.png" if given.out == committed else given.out.with_suffix(".png")
    given.runs = pathlib.Path(_passing().name if given.quick else "runs", table)
    given.changes = quick.get("changes", {}) if given.quick else {}
    return given


@functools.cache
def _passing() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process: what a quick run trains is nothing to continue."""
    return tempfile.TemporaryDirectory()


def arguments(
    doc: str | None, table: str, recipes: Iterable[str], *, seeds: int, tasks: int, quick: dict[str, Any]
) -> Any:
    """The command line of a script: which recipes, on how many seeds, evaluated on how many tasks; see `parsed`."""
    parser = table_parser(doc)
    parser.add_argument("--recipes", nargs="*", default=list(recipes), choices=list(recipes))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--tasks", type=int, default=tasks)
    return parsed(parser, table, **SMALL | quick)


class Runs:
    """The runs of one recipe, a seed each, in folders <setting>-<seed> of `given.runs`."""

    def __init__(
        self,
        given: Any,  # by `arguments`
        setting: str,
        algorithm: str,
        environment: str,
        options: dict[str, Any],
        env: dict[str, Any],
        seeds: int,
        lengthened: int | None = None,
    ) -> None:
        options, lengthened = options | given.changes, None if given.quick else lengthened
        self.results = [
            _trained(given.runs / f"{setting}-{seed}", algorithm, environment, options, env, seed, lengthened)
            for seed in range(seeds)
        ]
        config = self.results[0].config
        self.algorithm, self.environment = config.algorithm, config.environment
        self.window, self.reports = config.recipe.window, config.recipe.reports
        self.world = config.world
        self._tasks: dict[tuple[int, str], Any] = {}

    @functools.cached_property
    def cost(self) -> str:
        """What the training took, in words."""
        seconds = max(float(result.metrics["wall_seconds"][-1]) for result in self.results)
        where = " then ".join(trained_on(RunFolder(self.results[0].path)))
        return f"trained {self.results[0].metrics['env_steps'][-1]:.3g} env steps on {where}, {seconds:.0f} s a seed"

    def tasks(self, count: int, split: str = "test") -> Any:
        """The held-out tasks, the same in every row."""
        if (count, split) not in self._tasks:
            self._tasks[count, split] = sample_tasks(self.environment, split, count, jax.random.key(TEST_KEY))
        return self._tasks[count, split]

    @property
    def forgetting(self) -> World:
        """The world of the same agents with their memory erased after each episode."""
        return self.world._replace(policy=self.algorithm.policy(self.world.environment, forgets=True))

    @functools.lru_cache(maxsize=1)  # noqa: B019  the runs live as long as the script
    def curves(self, count: int, split: str, greedy: bool, forgetting: bool) -> list[Curve]:
        """The held-out curves, a seed each; with its memory erased after each episode if it is `forgetting`."""
        world = self.forgetting if forgetting else self.world
        tasks, key = self.tasks(count, split), jax.random.key(7)
        return [
            adaptation_curve(world, result.meta_params, tasks, key, self.reports, greedy=greedy)
            for result in self.results
        ]

    def add(
        self,
        table: Table,
        row: str,
        column: str,
        count: int,
        measure: Measure = episodes,
        *,
        kind: str = "episode",
        first: int = 1,
        greedy: bool = False,
        forgetting: bool = False,
        split: str = "test",
    ) -> None:
        """Add a method's cells `column,kind=1` ..., pooled over seeds; a note says what training took."""
        values = np.stack([measure(curve) for curve in self.curves(count, split, greedy, forgetting)])
        table.add_columns(row, f"{column},{kind}", values, first=first, note=self.cost)

    def add_references(
        self, table: Table, column: str, count: int, measure: Measure = episodes, *, kind: str = "episode"
    ) -> None:
        """Add the rows of agents that act at random and of those that know the task."""
        tasks = self.tasks(count)
        blind = blind_curve(self.environment, tasks, jax.random.key(8))
        table.add_columns("random", f"{column},{kind}", measure(blind)[None])
        known = reference(self.environment)
        if known is not None:
            values = np.asarray(known(jax.random.key(9), tasks), np.float64)
            table.add_columns("reference", f"{column},{kind}", values[None], note=self.environment.reference)

    def add_scratch(
        self, table: Table, column: str, count: int, measure: Measure = episodes, *, kind: str = "episode"
    ) -> None:
        """Add the row of a random network that adapts as often, or after each episode, to as much experience."""
        curve = scratch_curve(self.environment, self.world, self.tasks(count), jax.random.key(10), self.reports)
        table.add_columns("from-scratch", f"{column},{kind}", measure(curve)[None], first=int(kind == "episode"))


def merge(table: Table, path: pathlib.Path) -> Table:
    """The new rows, and those of the file whose cells are not among them, from where they came."""
    if not path.exists():
        return table
    fresh = {(row.row, row.column) for row in table.rows}
    before = read(path)
    kept = [table.adopted(row, before) for row in before.rows if (row.row, row.column) not in fresh]
    return dataclasses.replace(table, rows=kept + table.rows)


def write(table: Table, path: pathlib.Path) -> None:
    """Write the JSON and print the cells."""
    table.write(path)
    for row in table.rows:
        over_tasks, over_seeds = (x and f"  [{x[0]:.4g}, {x[1]:.4g}]" for x in (row.interval, row.seed_interval))
        between = f"  seeds{over_seeds}" if over_seeds else ""
        print(f"{row.row:22s} {row.column:28s} {row.value:10.4g}{over_tasks or ''}{between}")


def _trained(
    path: pathlib.Path, algorithm: str, environment: str, options: Any, env: Any, seed: int, lengthened: int | None
) -> Any:
    extra = {"checkpoint_minutes": 5.0, "evaluation_tasks": 0}
    if path.exists():
        result = metarl_jax.resume(path)
    else:
        result = metarl_jax.train(algorithm, environment, seed=seed, out=path, env=env, **extra, **options)
    return result if lengthened is None else metarl_jax.resume(path, meta_steps=lengthened)
