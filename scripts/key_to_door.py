"""Key-to-Door: find a hidden key, then a hidden door, ten times over (Laskin et al. 2022, arXiv:2210.14215).

    python scripts/key_to_door.py [--recipes gru ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/key_to_door/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/key_to_door.json. Recipes that are left out keep the rows that the file has.
"""

import numpy as np
from trials import Recipe, episodes_and_total, fill, oracle

from metarl_jax.core.evaluation import Curve

TABLE = "key_to_door"
KNOWN = {"episode=last": (None, oracle("reference", "key_to_door,episode"))}


def and_last(curve: Curve, tasks: object) -> dict[str, np.ndarray]:
    """Every episode, and the last by that name."""
    columns = episodes_and_total(curve, tasks)
    return columns | {"episode=last": curve.returns[:, -1, -1]}


RECIPES = {
    name: Recipe(f"rl2-{name}", {"memory": name} | options, and_last, beside=KNOWN, erased=True, seen=True)
    for name, options in {"gru": {}, "linear": {"meta_steps": 800}}.items()
}

if __name__ == "__main__":
    fill(__doc__, TABLE, "key_to_door", RECIPES, tasks=10_000, quick={"recipes": ["linear"]})
