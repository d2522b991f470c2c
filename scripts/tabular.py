"""Random decision processes of 10 states and 5 actions, n episodes of 10 steps (Duan et al. 2016, RL², table 2).

    python scripts/tabular.py [--recipes n=10 ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/tabular/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/tabular.json. PSRL, OPSRL, bonus and greedy rules stand in oracles.json. Recipes that are left out
keep the rows that the file has.
"""

from trials import Recipe, fill, oracle, total

KNOWN = oracle("reference", "tabular")  # an episode of an agent that knows the process
PUBLISHED = {10: 156.2, 25: 445.7}
# As many steps in a meta-step, and in a minibatch, whatever the length of a trial.
TRIALS = {10: {}, 25: {"tasks": 512, "meta_steps": 120}}
RECIPES = {
    f"n={n}": Recipe(
        "rl2-attention",
        {"expected_reward": True} | TRIALS[n],
        total(f"n={n}"),
        {"episodes": n},
        beside={f"n={n}": (published, None if KNOWN is None else n * KNOWN)},
    )
    for n, published in PUBLISHED.items()
}

if __name__ == "__main__":
    fill(__doc__, "tabular", "tabular", RECIPES, tasks=10_000)
