"""2D navigation: the gradient family beside MAML's published returns and the optimum (Finn et al. 2017, figure 4).

    python scripts/maml_navigation.py [--recipes maml_trpo meta_sgd ...] [--seeds 5] [--tasks 10000]

Trains what is not trained yet (runs/navigation/...; an interrupted run is resumed), lets every learner adapt ten times
on the 40 published goals and on goals of the test split, and writes benchmarks/results/navigation.json. A column is
`published,step=k` or `population,step=k`, k gradient steps after birth. Recipes that are left out keep the rows that
the file has.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from published import Runs, arguments, merge, steps, write

from metarl_jax.algorithms.maml import MAML
from metarl_jax.envs.point import GoalTask
from metarl_jax.experiment.config import recipe_of
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.results import Table
from metarl_jax.oracles import reference

TABLE = "navigation"
ADAPTATIONS = 10
PLACES, LIVES = 40, 20  # published goals, and lives on each
QUICK = {"recipes": ["pretrained"], "tasks": PLACES, "changes": {"meta_steps": 2, "log_every": 2, "tasks": 8}}


class Recipe(NamedTuple):
    """How a row is trained, over the defaults of `metarl train maml navigation`, how often, and how it then adapts."""

    options: dict[str, Any]
    seeds: int = 5  # at most
    adapting: dict[str, Any] = {}  # noqa: RUF012  where it differs from training


# Chosen on tasks of the train split. Judging all rollouts keeps the newborn agent from wandering off; a small spread
# lets it stop at the goal.
ADAM = {"meta_lr": 0.003, "meta_steps": 250, "anneal": -1, "objective": "mean", "spread": 0.2}
THREE = ADAM | {"adaptations": 3, "inner_lr": 0.01, "inner_decay": 0.5}
ONE = {"adaptations": 1, "inner_lr": 0.01, "spread": 0.2}
HALVING = {"inner_decay": 0.5}
RECIPES = {
    "pretrained": Recipe(ADAM | {"adaptations": 0}, adapting=THREE),
    "maml": Recipe(THREE),
    "maml_two": Recipe(THREE | {"adaptations": 2}),
    "meta_sgd": Recipe(THREE | {"learned_rates": True, "meta_steps": 350}),
    "fomaml": Recipe(THREE | {"estimator": "first_order"}, seeds=2),
    "anil": Recipe(THREE | {"adapts": "head"}, seeds=1),
    "cavia": Recipe(THREE | {"adapts": "context"}, seeds=1),
    "e_maml": Recipe(THREE | {"objective": "final", "estimator": "e_maml"}, seeds=1),
    "promp": Recipe(ONE | {"outer": "ppo", "meta_lr": 1e-3, "meta_steps": 100}, seeds=1, adapting=HALVING),
    "maml_trpo": Recipe(ONE | {"outer": "trust_region", "meta_steps": 80}, seeds=1, adapting=HALVING),
    "es_maml": Recipe(ONE | {"estimator": "evolution", "meta_steps": 100}, seeds=1, adapting=HALVING),
}
PUBLISHED = {
    "random": (-82.66, -57.96, -53.84, -46.81),
    "pretrained": (-40.81, -19.73, -11.72, -8.47),
    "maml_trpo": (-40.41, -11.68, -3.33, -3.23),
}


def main() -> None:
    given = arguments(__doc__, TABLE, RECIPES, seeds=5, tasks=10_000, quick=QUICK)
    table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
    for name in given.recipes:
        recipe = RECIPES[name]
        seeds = min(given.seeds, recipe.seeds)
        runs = Runs(given, name, "maml", "navigation", recipe.options, {}, seeds)
        adapting = {name: value for name, value in recipe.adapting.items() if name in vars(runs.algorithm)}
        algorithm = dataclasses.replace(runs.algorithm, **adapting)
        if name == "pretrained":
            born = recipe_of(algorithm, runs.environment).window.world.learner.meta_init
            newborn = [jax.jit(born)(jax.random.key(seed)) for seed in range(seeds)]
            add_rows(table, "random", algorithm, runs, newborn, given)
            add_references(table, runs, given)
        add_rows(table, name, algorithm, runs, [run.meta_params for run in runs.results], given, runs.cost)
        write(merge(table, given.out), given.out)


def goals(runs: Runs, given: Any) -> dict[str, Any]:
    """The 40 published goals, each for several lives, and a population of the test split."""
    published = np.random.RandomState(1).uniform(-0.5, 0.5, (PLACES, 2)).astype(np.float32)
    lives = 1 if given.quick else LIVES
    return {"published": GoalTask(np.repeat(published, lives, axis=0)), "population": runs.tasks(given.tasks)}


def add_rows(
    table: Table, row: str, algorithm: MAML, runs: Runs, learned: list[Any], given: Any, note: str | None = None
) -> None:
    """The return after each gradient step on both sets of goals, pooled over seeds."""
    world = recipe_of(algorithm, runs.environment).window.world
    for where, tasks in goals(runs, given).items():
        curves = [adaptation_curve(world, φ, tasks, jax.random.key(7), (ADAPTATIONS, 1)) for φ in learned]
        values = np.stack([steps(curve) for curve in curves])  # [seeds, N, steps]
        if where == "published":
            values = values.reshape(len(values), PLACES, -1, values.shape[2]).mean(axis=2)
        table.add_columns(row, f"{where},step", values, first=0, note=note)
    for step, value in enumerate(PUBLISHED.get(row, ())):
        cell = table.cell(row, f"published,step={step}")
        table.rows[table.rows.index(cell)] = dataclasses.replace(cell, published=value)


def add_references(table: Table, runs: Runs, given: Any) -> None:
    """The exact optimum with the goal known, the same after every step."""
    known = reference(runs.environment)
    assert known is not None
    for where, tasks in goals(runs, given).items():
        values = np.asarray(known(jax.random.key(9), tasks), np.float64)[None]
        table.add_columns("reference", f"{where},step", values, first=0, note=runs.environment.reference)


if __name__ == "__main__":
    main()
