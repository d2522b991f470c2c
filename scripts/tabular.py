"""Random decision processes of 10 states and 5 actions, n episodes of 10 steps (Duan et al. 2016, RL², table 2).

    python scripts/tabular.py [--recipes n=10 ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/tabular/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/tabular.json. PSRL, OPSRL, bonus and greedy rules stand in oracles.json. Recipes that are left out
keep the rows that the file has.
"""

from trials import Recipe, fill, oracle, total

KNOWN = oracle("reference", "tabular")  # an episode of an agent that knows the process
PUBLISHED = {10: 156.2, 25: 445.7}
# Each trial is seen once, by a memory that can write what was earned to the state and action that earned it.
OPTIONS = {"memory": "linear", "expected_reward": True, "tasks": 1024, "epochs": 1, "minibatches": 32} | {
    "gamma": 0.95,
    "lambda_": 0.8,
    "meta_lr": 3e-3,
    "entropy": 0.02,
    "meta_steps": 300,
}
RECIPES = {
    f"n={n}": Recipe(
        "rl2-linear",
        OPTIONS,
        total(f"n={n}"),
        {"episodes": n},
        beside={f"n={n}": (published, None if KNOWN is None else n * KNOWN)},
    )
    for n, published in PUBLISHED.items()
}

if __name__ == "__main__":
    fill(__doc__, "tabular", "tabular", RECIPES, tasks=10_000)
