"""MAML on bandits and random decision processes, beside the published returns (Duan et al. 2016, Mishra et al. 2018).

    python scripts/maml_tables.py [--recipes bandit_n=10,k=5 ...] [--seeds 1] [--tasks 100000]

An agent adapts after every pull, or after every episode, and all it earns in a trial counts. Trains what is not
trained yet (runs/maml_tables/...; an interrupted run is resumed), lives trials in tasks of the test split and writes
benchmarks/results/maml_tables.json. Recipes that are left out keep the rows that the file has.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import Runs, merge, write

from metarl_jax.core.batching import map_tasks
from metarl_jax.core.lifetime import Lifetime, begin_lifetime, run_lifetime
from metarl_jax.core.statistics import bootstrap_interval
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.experiment.results import Table

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "maml_tables.json"
CHUNK = 2000  # tasks lived side by side


class Recipe(NamedTuple):
    """How a cell is trained, over the defaults of `metarl train maml ENVIRONMENT`, and what stands beside it."""

    environment: str
    env: dict[str, Any]
    options: dict[str, Any]
    published: float | None
    bound: float


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
    "bandit_n=10,k=5": Recipe("bandit", {"arms": 5, "pulls": 1}, BANDIT | {"adaptations": 9}, 6.5, 6.65999),
    "bandit_n=10,k=10": Recipe("bandit", {"arms": 10, "pulls": 1}, BANDIT | {"adaptations": 9}, 6.6, 6.71395),
    "bandit_n=100,k=5": Recipe("bandit", {"arms": 5, "pulls": 1}, BANDIT | LONG, 67.1, 78.65),
    "tabular_n=10": Recipe("tabular", {"episodes": 1}, TABULAR | {"adaptations": 9}, None, 218.37),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=100_000)
    arguments = parser.parse_args()
    table = Table("maml_tables", seeds=list(range(arguments.seeds)), tasks=arguments.tasks)
    for name in arguments.recipes:
        recipe = RECIPES[name]
        runs = Runs("maml_tables", name, "maml", recipe.environment, recipe.options, recipe.env, arguments.seeds)
        earned = jax.jit(lambda φ, tasks, key, life=runs.lifetime: earnings(life, φ, tasks, key))
        tasks = runs.tasks(arguments.tasks)
        values = [np.asarray(earned(run.meta_params, tasks, jax.random.key(7)), np.float64) for run in runs.results]
        by_task, beside = np.mean(values, axis=0), {"published": recipe.published, "bound": recipe.bound}
        table.add("maml", name, by_task.mean(), bootstrap_interval(by_task), note=runs.cost, **beside)
        write(merge(table, RESULTS), RESULTS)


def earnings(lifetime: Lifetime, meta_params: Tree, tasks: Tree, key: Key) -> Array:
    """All that agents earn from birth on, in each task, [N]."""

    def one(task: Tree, key: Key) -> Array:
        birth_key, key = jax.random.split(key)
        state = begin_lifetime(lifetime, meta_params, task, birth_key)
        history = run_lifetime(lifetime, None, meta_params, state, key)[2]
        return jnp.sum(history.reward * history.weight)

    count = jax.tree.leaves(tasks)[0].shape[0]
    return map_tasks(one, CHUNK, tasks, jax.random.split(key, count))


if __name__ == "__main__":
    main()
