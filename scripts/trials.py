"""What the tables of agents that learn in their memory share: trials sampled, greedy, without memory, in tasks seen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from published import RESULTS, Runs, arguments, merge, write

from metarl_jax.core.evaluation import Curve
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.results import Table, read

Cells = Callable[[Curve, Any], dict[str, np.ndarray]]  # curve of a trial, its tasks -> column: a number a task, [N]


class Recipe(NamedTuple):
    """How a row is trained, over the defaults of `metarl train ALGORITHM ENVIRONMENT`, and what stands beside it."""

    row: str
    options: dict[str, Any]
    cells: Cells
    env: dict[str, Any] = {}  # noqa: RUF012
    algorithm: str = "rl2"
    environment: str | None = None  # where it is not that of the table
    beside: dict[str, tuple[float | None, float | None]] = {}  # noqa: RUF012  column: published, bound
    erased: bool = False  # also a row of the same agent with its memory erased after each episode
    seen: bool = False  # and one in tasks of the training split, where what is withheld is no part of what was learned
    seeds: int = 1  # at most
    strata: Callable[[Any], np.ndarray] | None = None  # tasks -> labels [N, ...]; groups labelled alike count alike


def episodes_and_total(curve: Curve, tasks: Any) -> dict[str, np.ndarray]:
    """The return of each episode, and of the trial."""
    returns = curve.returns[:, -1]
    return {f"episode={i + 1}": returns[:, i] for i in range(returns.shape[1])} | {"total": returns.sum(axis=1)}


def total(column: str, scale: float = 1.0) -> Cells:
    """The return of the trial times a scale, in that column."""
    return lambda curve, tasks: {column: scale * curve.returns[:, -1].sum(axis=1)}


def oracle(row: str, column: str) -> float | None:
    """A cell of oracles.json."""
    return read(RESULTS / "oracles.json").cell(row, column).value


def fill(
    doc: str | None,
    name: str,
    environment: str,
    recipes: dict[str, Recipe],
    *,
    tasks: int,
    seeds: int = 1,
    quick: dict[str, Any],
) -> Any:
    """Train what is not trained yet, play trials in held-out tasks, and write the table; returns what was given."""
    given = arguments(doc, name, recipes, seeds=seeds, tasks=tasks, quick=quick)
    for key in given.recipes:
        recipe = recipes[key]
        count = min(given.seeds, recipe.seeds)
        table = Table(name, seeds=list(range(count)), tasks=given.tasks)
        runs = Runs(given, key, recipe.algorithm, recipe.environment or environment, recipe.options, recipe.env, count)
        for suffix, how in _ways(recipe).items():
            values = _values(runs, recipe.cells, given.tasks, **how)
            # What stands beside is over all tasks; those of the training split are fewer to tell apart.
            beside = {} if "split" in how else recipe.beside
            strata = recipe.strata and recipe.strata(runs.tasks(given.tasks, how.get("split", "test")))
            for column, numbers in values.items():
                published, bound = beside.get(column, (None, None))
                known = {"published": published if not suffix else None, "bound": bound}
                table.add_values(recipe.row + suffix, column, numbers, strata=strata, note=runs.cost, **known)
        write(merge(table, given.out), given.out)
    return given


def _ways(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """How trials are played, by what the row's name ends with."""
    ways: dict[str, dict[str, Any]] = {"": {}, "-greedy": {"greedy": True}}
    ways |= {"-forgetting": {"forgetting": True}} if recipe.erased else {}
    return ways | ({"-seen": {"split": "train"}} if recipe.seen else {})


def _values(
    runs: Runs, cells: Cells, count: int, greedy: bool = False, forgetting: bool = False, split: str = "test"
) -> dict[str, np.ndarray]:
    """The numbers [seeds, N] of each column."""
    world, tasks = runs.forgetting if forgetting else runs.world, runs.tasks(count, split)
    curves = [
        adaptation_curve(world, run.meta_params, tasks, jax.random.key(7), (0, 1), greedy=greedy, expected=True)
        for run in runs.results
    ]
    by_seed = [cells(curve, tasks) for curve in curves]
    return {column: np.stack([one[column] for one in by_seed]) for column in by_seed[0]}
