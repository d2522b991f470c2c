"""GridNavi: how near each memory comes to the Bayes optimum, 4 + 3 x 11.071 (Zintgraf et al. 2020, VariBAD).

    python scripts/gridnavi.py [--recipes gru varibad ...] [--seeds 5] [--tasks 10000]

Trains what is not trained yet (runs/gridnavi/...; an interrupted run is resumed), plays trials of four episodes and
writes benchmarks/results/gridnavi.json. Recipes that are left out keep the rows that the file has.
"""

import numpy as np
from trials import Recipe, episodes_and_total, evenly, fill, oracle

by_goal = evenly(episodes_and_total, lambda tasks: np.asarray(tasks.goal))  # the optimum is an average over goals
BAYES = {"total": (None, oracle("bayes", "gridnavi"))}


def remembering(memory: str, seeds: int, **options: bool) -> Recipe:
    """The row of RL² with that memory."""
    return Recipe(f"rl2-{memory}", {"memory": memory, **options}, by_goal, beside=BAYES, erased=True, seeds=seeds)


RECIPES = {
    "gru": remembering("gru", 5),
    "linear": remembering("linear", 3),
    "lstm": remembering("lstm", 1, critic_knows_task=False),
    "attention": remembering("attention", 1, critic_knows_task=False),
    "belief": Recipe("belief-oracle", {"memory": "belief"}, by_goal, beside=BAYES),
    "varibad": Recipe("varibad", {}, by_goal, algorithm="varibad", beside=BAYES),
    "multitask": Recipe("multitask", {"memory": "none", "knows_task": True}, by_goal),
    "memoryless": Recipe("memoryless", {"memory": "none"}, by_goal),
}

if __name__ == "__main__":
    fill(__doc__, "gridnavi", "gridnavi", RECIPES, tasks=10_000, seeds=5)
