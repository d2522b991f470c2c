"""Dark Room: ten episodes in a room whose goal only the reward shows (Laskin et al. 2022, arXiv:2210.14215).

    python scripts/dark_room.py [--recipes gru ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/dark_room/...; an interrupted run is resumed), plays trials and writes
benchmarks/results/dark_room.json. An agent that knows where goals are in training has no reason to look elsewhere, so
the tasks of the training split have a row too. Recipes that are left out keep the rows that the file has.
"""

from trials import Recipe, episodes_and_total, fill, oracle

TABLE = "dark_room"
SEARCH = {
    "total": (None, oracle("search", "dark_room,n=10")),
    "episode=10": (None, oracle("reference", "dark_room,episode")),
}
SLOWER = {"gamma": 0.997, "lambda_": 0.98, "meta_lr": 3e-3}  # a longer horizon, and smaller steps
RECIPES = {
    name: Recipe(f"rl2-{name}", {"memory": name}, episodes_and_total, beside=SEARCH, erased=True, seen=True)
    for name in ("gru", "lstm", "linear", "attention")
}
RECIPES["linear,slower"] = RECIPES["linear"]._replace(row="rl2-linear-slower", options={"memory": "linear"} | SLOWER)

if __name__ == "__main__":
    fill(__doc__, TABLE, "dark_room", RECIPES, tasks=10_000, quick={"recipes": ["linear"]})
