"""Two arms whose odds add up to one: regret over 100 pulls against the Bayes optimum (Wang et al. 2016, section 3.1).

    python scripts/two_arm.py [--recipes dependent-easy ...] [--seeds 1] [--tasks 100000]

Trains what is not trained yet (runs/two_arm/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/two_arm.json. Regret is what the better arm would have paid on average over what the arms pulled
pay. Recipes that are left out keep the rows that the file has.
"""

from typing import Any

import numpy as np
from trials import Cells, Recipe, fill, oracle

from metarl_jax.core.evaluation import Curve
from metarl_jax.experiment.presets import PAIRS

TABLE = "two_arm"
COSTS = ("dependent", "independent")  # regret: the less, the better
PULLS = 100
PRESET = PAIRS["rl2", "two_arm"]  # of the independent arms too
OPTIONS: dict[str, Any] = PRESET.algorithm | PRESET.run | {"expected_reward": True}


def regret(column: str) -> Cells:
    """What the better arm would have paid more."""

    def cells(curve: Curve, tasks: Any) -> dict[str, np.ndarray]:
        best = PULLS * np.asarray(tasks.mean, np.float64).max(axis=1)
        return {column: best - curve.returns[:, -1].sum(axis=1)}

    return cells


def recipe(column: str, environment: str, env: dict[str, Any], best: str, **options: Any) -> Recipe:
    """The row of RL² under one law of arms."""
    beside = {column: (None, oracle("bayes-regret", best))}
    return Recipe("rl2-linear", OPTIONS | options, regret(column), env, environment=environment, beside=beside)


INDEPENDENT = {"arms": 2, "pulls": PULLS, "clock": True}
RECIPES = {
    f"dependent-{law}": recipe(f"dependent-{law}", "two_arm", {"law": law}, f"two_arm,{law}")
    for law in ("uniform", "easy", "medium", "hard")
} | {
    "independent": recipe(
        "independent", "bandit", INDEPENDENT, "bandit,n=100,k=2", critic_knows_task=True, meta_steps=400
    )
}

if __name__ == "__main__":
    fill(__doc__, TABLE, "two_arm", RECIPES, tasks=100_000, quick={"recipes": ["independent"]})
