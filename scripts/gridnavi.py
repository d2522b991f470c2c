"""GridNavi: how near each memory comes to the Bayes optimum, 4 + 3 x 11.071 (Zintgraf et al. 2020, VariBAD).

    python scripts/gridnavi.py [--recipes gru varibad ...] [--seeds 5] [--tasks 10000]

Trains what is not trained yet (runs/gridnavi/...; an interrupted run is resumed), plays trials of four episodes and
writes benchmarks/results/gridnavi.json. Recipes that are left out keep the rows that the file has.
"""

from typing import Any

import numpy as np
from trials import Recipe, episodes_and_total, fill, oracle

TABLE = "gridnavi"
BAYES = {"total": (None, oracle("bayes", "gridnavi"))}


def recipe(row: str, options: dict[str, Any], beside: Any = BAYES, **how: Any) -> Recipe:
    """A row in which all goals count alike: the optimum is an average over goals."""
    return Recipe(row, options, episodes_and_total, beside=beside, strata=lambda tasks: np.asarray(tasks.goal), **how)


def remembering(memory: str, seeds: int, **options: bool) -> Recipe:
    """The row of RL² with that memory."""
    return recipe(f"rl2-{memory}", {"memory": memory, **options}, erased=True, seeds=seeds)


RECIPES = {
    "gru": remembering("gru", 5),
    "linear": remembering("linear", 3),
    "lstm": remembering("lstm", 1, critic_knows_task=False),
    "attention": remembering("attention", 1, critic_knows_task=False),
    "belief": recipe("belief-oracle", {"memory": "belief"}),
    "varibad": recipe("varibad", {}, algorithm="varibad"),
    "multitask": recipe("multitask", {"memory": "none", "knows_task": True}, beside={}),
    "memoryless": recipe("memoryless", {"memory": "none"}, beside={}),
}

if __name__ == "__main__":
    fill(__doc__, TABLE, "gridnavi", RECIPES, tasks=10_000, seeds=5, quick={"recipes": ["varibad"]})
