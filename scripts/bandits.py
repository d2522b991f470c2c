"""Bernoulli bandits: k arms, n pulls (Duan et al. 2016, RL², table 1), beside the exact optimum.

    python scripts/bandits.py [--recipes n=10,k=5 ...] [--seeds 1] [--tasks 100000]

Trains what is not trained yet (runs/bandits/...; an interrupted run is resumed), plays trials in tasks of the test
split and writes benchmarks/results/bandits.json. What is learned from and reported is the chance that the pulled arm
pays, in place of the drawn reward; the agent perceives what was drawn. Gittins, Thompson, UCB1 and greedy rows stand in
oracles.json. Recipes that are left out keep the rows that the file has.
"""

from trials import Recipe, fill, oracle, total

from metarl_jax.experiment.presets import PULLS

# RL²'s column of the table; (10, 50) is above the optimum, so evaluation noise
PUBLISHED = {
    (10, 5): 6.7,
    (10, 10): 6.7,
    (10, 50): 6.8,
    (100, 5): 78.7,
    (100, 10): 83.5,
    (100, 50): 84.9,
    (500, 5): 401.6,
    (500, 10): 432.5,
    (500, 50): 438.9,
}
BEST = {10: "bayes", 100: "gittins"}  # Gittins indices are no strict bound
# For a GPU: pulls by the billion. A critic that knows the arms.
MANY = PULLS | {"critic_knows_task": True, "gamma": 0.99}
LONG = {100: MANY | {"tasks": 16384, "width": 256, "meta_steps": 800}, 500: MANY | {"width": 128, "meta_steps": 400}}
SPECIAL = {
    (100, 5): {"lambda_": 0.98, "meta_steps": 500},
    (100, 10): {"lambda_": 0.98},
    (500, 50): {"meta_steps": 450},
}


def recipe(n: int, k: int) -> Recipe:
    """The row of RL² for n pulls of k arms."""
    column = f"n={n},k={k}"
    best = oracle(BEST[n], f"bandit,{column}") if n in BEST else None
    beside = {column: (PUBLISHED[n, k], best)}
    options = {"expected_reward": True} | LONG.get(n, {}) | SPECIAL.get((n, k), {})
    env = {"arms": k, "pulls": n, "clock": n in LONG}
    return Recipe("rl2-linear" if n in LONG else "rl2-gru", options, total(column), env, beside=beside)


TABLE = "bandits"
RECIPES = {f"n={n},k={k}": recipe(n, k) for n, k in PUBLISHED}

if __name__ == "__main__":
    fill(__doc__, TABLE, "bandit", RECIPES, tasks=100_000, quick={"recipes": ["n=10,k=5"]})
