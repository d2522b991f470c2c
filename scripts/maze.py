"""Mazes of 7 x 7 cells: steps to the exit over the shortest path, attempt by attempt; 9 x 9 as extrapolation.

    python scripts/maze.py [--recipes rl2-gru maml ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/maze/...; an interrupted run is resumed), evaluates on held-out mazes and writes
benchmarks/results/maze.json. A column is `7x7,attempt=k`, or `7x7,step=k` of learners that take a gradient step between
rollouts of ten attempts. Recipes that are left out keep the rows that the file has.
"""

from typing import Any

import jax
import numpy as np
from published import Measure, Runs, arguments, merge, write

from metarl_jax.core.evaluation import Curve
from metarl_jax.experiment.curves import blind_curve
from metarl_jax.experiment.results import Table
from metarl_jax.oracles.maze import explorer_steps, shortest_steps

TABLE = "maze"
# Meta-steps of the GRU in all: after the 4,000 of the default, what is annealed starts again at 38 % of itself. Chosen
# on other mazes than those of the table.
LENGTHENED = {"rl2-gru": 6500}
MEMORIES: dict[str, dict[str, Any]] = {
    "rl2-gru": {"memory": "gru"},
    "rl2-lstm": {"memory": "lstm", "meta_steps": 1600},
    "rl2-linear": {"memory": "linear", "meta_steps": 1600},
    "rl2-attention": {"memory": "attention", "meta_steps": 800},
}
STEPS: dict[str, Any] = {"adaptations": 3, "inner_lr": 0.3, "meta_lr": 2e-3, "meta_steps": 300}
RECIPES = MEMORIES | {
    "maml": STEPS,
    "meta_sgd": STEPS,
    "promp": STEPS | {"meta_lr": 1e-3, "meta_steps": 100},
}


def main() -> None:
    given = arguments(__doc__, TABLE, RECIPES, seeds=1, tasks=10_000, quick={"recipes": ["rl2-gru"]})
    for name in given.recipes:
        table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
        if name in MEMORIES:
            longer = LENGTHENED.get(name)
            runs = Runs(given, f"7x7-{name}", "rl2", "maze", RECIPES[name], {"size": 7}, given.seeds, longer)
            for column, split in (("7x7", "test"), ("9x9", "extrapolation")):
                add_mazes(table, runs, name, column, split, given.tasks)
        else:
            runs = Runs(given, f"7x7-{name}", name, "maze", RECIPES[name], {"size": 7, "episodes": 1}, given.seeds)
            add_steps(table, runs, name, given.tasks)
        write(merge(table, given.out), given.out)


def add_steps(table: Table, runs: Runs, row: str, count: int) -> None:
    """Steps of an attempt over the shortest path, and the share of attempts that get out, after each gradient step."""
    shortest = np.asarray(jax.jit(jax.vmap(shortest_steps))(runs.tasks(count)), np.float64)
    runs.add(table, row, "7x7", count, lambda curve: curve.lengths[:, :, 0] / shortest[:, None], kind="step", first=0)
    runs.add(table, row, "7x7,success", count, lambda curve: curve.terminated[:, :, 0], kind="step", first=0)


def add_mazes(table: Table, runs: Runs, row: str, column: str, split: str, count: int) -> None:
    """The rows of one kind of maze; a score of 1 is the shortest path, an attempt that fails counts the whole clock."""
    environment, tasks = runs.environment, runs.tasks(count, split)
    shortest = np.asarray(jax.jit(jax.vmap(shortest_steps))(tasks), np.float64)
    ratio = over(shortest)
    runs.add(table, row, f"{column},success", count, succeeded, kind="attempt", split=split)
    for suffix, how in (("", {}), ("-greedy", {"greedy": True}), ("-forgetting", {"forgetting": True})):
        runs.add(table, row + suffix, column, count, ratio, kind="attempt", split=split, **how)
    explorer = np.asarray(jax.jit(jax.vmap(lambda task: explorer_steps(environment, task)))(tasks), np.float64)
    explorer = np.where(np.isfinite(explorer), explorer, environment.horizon)
    table.add_columns("depth-first-explorer", f"{column},attempt", (explorer / shortest[:, None])[None])
    walk = blind_curve(environment, tasks, jax.random.key(8))
    table.add_columns("random", f"{column},attempt", ratio(walk)[None])
    note = f"shortest path, known map: {shortest.mean():.4g} steps"
    table.add_columns("reference", f"{column},attempt", np.ones((1, count, environment.episodes)), note=note)


def over(shortest: np.ndarray) -> Measure:
    """Steps of each attempt in multiples of the shortest path."""
    return lambda curve: curve.lengths[:, -1] / shortest[:, None]


def succeeded(curve: Curve) -> np.ndarray:
    """Whether each attempt got out in time."""
    return curve.terminated[:, -1]


if __name__ == "__main__":
    main()
