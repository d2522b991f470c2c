"""Random decision processes of 10 states and 5 actions, n episodes of 10 steps (Duan et al. 2016, RL², table 2).

    python scripts/tabular.py [--recipes n=10 ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/tabular/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/tabular.json. PSRL, OPSRL, bonus and greedy rules stand in oracles.json. Recipes that are left out
keep the rows that the file has.
"""

from trials import Recipe, fill, oracle, total

TABLE = "tabular"
KNOWN = oracle("reference", "tabular")  # an episode of an agent that knows the process
PUBLISHED = {10: 156.2, 25: 445.7}
# About as many steps in a meta-step whatever the length of a trial.
SETTINGS = {
    "n=10": (10, "attention", {}),
    "n=25": (25, "attention", {"tasks": 512, "meta_steps": 360}),
    "n=10,linear": (10, "linear", {"width": 128, "meta_steps": 300}),
}


def recipe(n: int, memory: str, special: dict[str, int]) -> Recipe:
    """The row of that memory over n episodes."""
    options = {"memory": memory, "expected_reward": True} | special
    beside = {f"n={n}": (PUBLISHED[n], None if KNOWN is None else n * KNOWN)}
    return Recipe(f"rl2-{memory}", options, total(f"n={n}"), {"episodes": n}, beside=beside)


RECIPES = {name: recipe(*setting) for name, setting in SETTINGS.items()}

if __name__ == "__main__":
    fill(__doc__, TABLE, "tabular", RECIPES, tasks=10_000, quick={"recipes": ["n=10"]})
