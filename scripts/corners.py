"""Four corners, one of which pays: does credit to the actions before an adaptation teach where to look?

    python scripts/corners.py [--recipes lvc e_maml ...] [--seeds 3] [--tasks 2000]

MAML with one adaptation in the sparse world of Stadie et al. 2018 and Rothfuss et al. 2019, its estimators side by
side. Trains what is not trained yet (runs/corners/...; an interrupted run is resumed), evaluates on held-out tasks and
writes benchmarks/results/corners.json. A column is `step=k`, k gradient steps after birth. Recipes that are left out
keep the rows that the file has.
"""

from typing import Any

from published import Runs, arguments, merge, steps, write

from metarl_jax.experiment.results import Table

TABLE = "corners"
ONE = {"envs": 20, "inner_lr": 0.1, "meta_lr": 2e-3, "meta_steps": 200, "anneal": -1}
RECIPES: dict[str, dict[str, Any]] = {
    "naive": ONE | {"estimator": "naive"},
    "lvc": ONE,
    "dice": ONE | {"estimator": "dice"},
    "e_maml": ONE | {"estimator": "e_maml"},
    "promp": ONE | {"outer": "ppo", "meta_steps": 100},
}


def main() -> None:
    given = arguments(__doc__, TABLE, RECIPES, seeds=3, tasks=2000, quick={"recipes": ["lvc"]})
    table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
    for name in given.recipes:
        runs = Runs(given, name, "maml", "corners", RECIPES[name], {"episodes": 1}, given.seeds)
        runs.add(table, name, "return", given.tasks, steps, kind="step", first=0)
        if name == given.recipes[0]:
            runs.add_references(table, "return", given.tasks, steps, kind="step")
        write(merge(table, given.out), given.out)


if __name__ == "__main__":
    main()
