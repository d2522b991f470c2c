"""CartPole with unknown physics: memories by episode, gradients by step, references beside.

    python scripts/cartpole.py [--recipes mild+flip wide+flip scrambled maml ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/cartpole/...; an interrupted run is resumed), evaluates on held-out tasks and
writes benchmarks/results/cartpole.json. Recipes that are left out keep the rows that the file has.
"""

from typing import Any, NamedTuple

from published import Runs, arguments, merge, steps, write

from metarl_jax.experiment.results import Table

TABLE = "cartpole"


class Recipe(NamedTuple):
    """A row of the table, the column that it fills, and how: over the defaults of `metarl train ALGORITHM cartpole`."""

    row: str
    column: str
    algorithm: str
    options: dict[str, Any]
    environment: dict[str, Any]


WIDE = {"meta_steps": 4000, "epochs": 4, "meta_lr": 3e-3}
SCRAMBLED = {"physics": "wide", "scrambled": True, "steps": 200, "episodes": 16}
SHORT = {"steps": 200, "episodes": 1}
MAML = {"adaptations": 3, "inner_lr": 0.3, "meta_lr": 2e-3, "meta_steps": 300}
UNMOVED = MAML | {"inner_lr": 0.0}
MILD = {"physics": "mild", **SHORT}
RECIPES = {
    "mild+flip": Recipe("rl2-gru", "mild+flip", "rl2", {}, {"physics": "mild"}),
    "mild+flip-lstm": Recipe("rl2-lstm", "mild+flip", "rl2", {"memory": "lstm"}, {"physics": "mild"}),
    "mild+flip-linear": Recipe("rl2-linear", "mild+flip", "rl2", {"memory": "linear"}, {"physics": "mild"}),
    "mild+flip-attention": Recipe("rl2-attention", "mild+flip", "rl2", {"memory": "attention"}, {"physics": "mild"}),
    "wide+flip": Recipe("rl2-gru", "wide+flip", "rl2", WIDE, {"physics": "wide"}),
    "scrambled": Recipe(
        "rl2-gru",
        "scrambled",
        "rl2",
        {
            "meta_steps": 2750,
            "gamma": 0.98,
            "lifespan": 50,
            "width": 128,
            "tasks": 512,
            "epochs": 2,
            "minibatches": 8,
            "meta_lr": 1.5e-3,
        },
        SCRAMBLED,
    ),
    "maml": Recipe("maml", "mild+flip", "maml", MAML, MILD),
    "meta_sgd": Recipe("meta_sgd", "mild+flip", "meta_sgd", MAML, MILD),
    "promp": Recipe("promp", "mild+flip", "promp", MAML | {"meta_lr": 1e-3, "meta_steps": 100}, MILD),
    # the control: the same pipeline, and no step is taken
    "maml-without-steps": Recipe("maml-without-steps", "mild+flip", "maml", UNMOVED, MILD),
    "scrambled-meta_sgd": Recipe("meta_sgd", "scrambled", "meta_sgd", MAML, SCRAMBLED | SHORT),
    "scrambled-memoryless": Recipe("memoryless", "scrambled", "maml", UNMOVED | {"adaptations": 0}, SCRAMBLED | SHORT),
}


def main() -> None:
    given = arguments(__doc__, TABLE, RECIPES, seeds=1, tasks=10_000, quick={"recipes": ["mild+flip"]})
    table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
    for name in given.recipes:
        recipe = RECIPES[name]
        runs = Runs(given, name, recipe.algorithm, "cartpole", recipe.options, recipe.environment, given.seeds)
        add = by_episode if recipe.algorithm == "rl2" else by_step
        add(table, recipe, runs, given.tasks)
    write(merge(table, given.out), given.out)


def by_episode(table: Table, recipe: Recipe, runs: Runs, tasks: int) -> None:
    """A memory's return in each episode of the trial, with its memory kept and with it erased."""
    runs.add(table, recipe.row, recipe.column, tasks)
    runs.add(table, f"{recipe.row}-greedy", recipe.column, tasks, greedy=True)
    runs.add(table, f"{recipe.row}-forgetting", recipe.column, tasks, forgetting=True)
    runs.add_scratch(table, recipe.column, tasks)
    runs.add_references(table, recipe.column, tasks)


def by_step(table: Table, recipe: Recipe, runs: Runs, tasks: int) -> None:
    """The return after each gradient step, and that of a random network given the same experience."""
    runs.add(table, recipe.row, recipe.column, tasks, steps, kind="step", first=0)
    if recipe.row == "maml":
        runs.add_scratch(table, recipe.column, tasks, steps, kind="step")


if __name__ == "__main__":
    main()
