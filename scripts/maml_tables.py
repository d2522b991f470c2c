"""MAML on bandits and random decision processes, beside the published returns (Duan et al. 2016, Mishra et al. 2018).

    python scripts/maml_tables.py [--recipes bandit_n=10,k=5 ...] [--seeds 1] [--tasks 100000]

An agent adapts after every pull, or after every episode, and all it earns in a trial counts. Trains what is not
trained yet (runs/maml_tables/...; an interrupted run is resumed), lives trials in tasks of the test split and writes
benchmarks/results/maml_tables.json. Recipes that are left out keep the rows that the file has.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import RESULTS, Runs, arguments, merge, write

from metarl_jax.core.batching import map_tasks
from metarl_jax.core.life import unborn
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.core.window import Window, entered, live
from metarl_jax.experiment.results import Table, read

TABLE = "maml_tables"
CHUNK = 2000  # tasks lived side by side


class Recipe(NamedTuple):
    """How a cell is trained, over the defaults of `metarl train maml ENVIRONMENT`, and what stands beside it."""

    environment: str
    env: dict[str, Any]
    options: dict[str, Any]
    published: float | None
    beside: tuple[str, str]  # the cell of oracles.json with the best that is known
    episodes: int = 1  # of that cell in a trial


# A linear policy on what little there is to see; its critic is what an unknown arm is worth.
LEARNING = {
    "hidden": (),
    "inner_loss": "actor_critic",
    "normalise": False,  # of one step nothing would be left
    "outer_normalise": False,
    "learned_rates": True,
    "objective": "mean",
    "envs": 1,
    "entropy": 0.0,
}
BANDIT = LEARNING | {"inner_lr": 3.0, "gamma": 0.0, "tasks": 2000, "meta_lr": 0.03, "meta_steps": 400, "anneal": -1}
TABULAR = LEARNING | {"inner_lr": 3.0, "gamma": 0.9, "tasks": 500, "meta_lr": 0.01, "meta_steps": 400, "anneal": -1}
# From a step of 3 the critic would overshoot ever further; the gradient all the way back has no more to say.
LONG = {"adaptations": 99, "tasks": 500, "inner_lr": 1.0, "estimator": "truncated", "depth": 5}
RECIPES = {
    "bandit_n=10,k=5": Recipe(
        "bandit", {"arms": 5, "pulls": 1}, BANDIT | {"adaptations": 9}, 6.5, ("bayes", "bandit,n=10,k=5")
    ),
    "bandit_n=10,k=10": Recipe(
        "bandit", {"arms": 10, "pulls": 1}, BANDIT | {"adaptations": 9}, 6.6, ("bayes", "bandit,n=10,k=10")
    ),
    "bandit_n=100,k=5": Recipe("bandit", {"arms": 5, "pulls": 1}, BANDIT | LONG, 67.1, ("gittins", "bandit,n=100,k=5")),
    "tabular_n=10": Recipe(
        "tabular", {"episodes": 1}, TABULAR | {"adaptations": 9}, None, ("reference", "tabular"), episodes=10
    ),
}


def main() -> None:
    given = arguments(__doc__, TABLE, RECIPES, seeds=1, tasks=100_000, quick={"recipes": ["bandit_n=10,k=5"]})
    table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
    for name in given.recipes:
        recipe = RECIPES[name]
        runs = Runs(given, name, "maml", recipe.environment, recipe.options, recipe.env, given.seeds)
        earned = jax.jit(functools.partial(earnings, runs.window))
        tasks = runs.tasks(given.tasks)
        values = [np.asarray(earned(run.meta_params, tasks, jax.random.key(7)), np.float64) for run in runs.results]
        best = read(RESULTS / "oracles.json").cell(*recipe.beside).value
        beside = {"published": recipe.published, "bound": None if best is None else recipe.episodes * best}
        table.add_values("maml", name, np.stack(values), note=runs.cost, **beside)
        write(merge(table, given.out), given.out)


def earnings(window: Window, meta_params: Tree, tasks: Tree, key: Key) -> Array:
    """All that agents earn from birth on, in each task, [N]."""

    def one(task: Tree, key: Key) -> Array:
        seen = live(window, meta_params, entered(window, meta_params, unborn(task, key))).seen
        return jnp.sum(seen.reward * seen.weight)

    count = jax.tree.leaves(tasks)[0].shape[0]
    return map_tasks(one, CHUNK, tasks, jax.random.split(key, count))


if __name__ == "__main__":
    main()
