"""Learning in context from histories: Dark Room with withheld goals, and two dependent arms, by episode.

    python scripts/distillation.py [--recipes ad-dark_room ...] [--seeds 1] [--tasks 2000]

Algorithm Distillation (Laskin et al. 2022, arXiv:2210.14215) and Decision-Pretrained Transformers (Lee et al. 2023,
arXiv:2306.14892). Trains what is not trained yet (runs/distillation/...; an interrupted run is resumed), plays trials
in held-out tasks and writes benchmarks/results/distillation.json. Beside each student stand its source, as the student
sees it and alone with as many episodes as a trial has; RL² from the tables of dark_room and two_arm; and the bounds.
Recipes that are left out keep the rows that the file has.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from published import RESULTS, TEST_KEY, merge, write
from trials import Cells, Recipe, episodes_and_total, fill, oracle

from metarl_jax.algorithms.in_context.student import Student
from metarl_jax.core.evaluation import Curve, reported
from metarl_jax.core.life import Life, World, begin
from metarl_jax.core.types import Array, Tree
from metarl_jax.envs import TwoArm
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.results import Table, read

TABLE = "distillation"
COSTS = ("regret",)
NAMES = {"ad": "algorithm_distillation", "dpt": "decision_pretrained"}
BESIDE = {
    "dark_room": {
        "total": (None, oracle("search", "dark_room,n=10")),
        "episode=10": (None, oracle("reference", "dark_room,episode")),
    },
    "two_arm": {"regret": (None, oracle("bayes-regret", "two_arm,uniform"))},
}
RL2 = {"dark_room": ("rl2-linear-slower", "dark_room"), "two_arm": ("rl2-linear", "two_arm")}  # row, table


def measured(environment: str) -> Cells:
    """What the table says of a trial: its episodes and total, or its regret."""
    return regret if environment == "two_arm" else episodes_and_total


def regret(curve: Curve, tasks: Any) -> dict[str, np.ndarray]:
    """What the better arm would have paid more over the pulls of a trial."""
    best = TwoArm().pulls * np.asarray(tasks.mean, np.float64).max(axis=1)
    return {"regret": best - curve.returns[:, -1].sum(axis=1)}


RECIPES = {
    f"{short}-{environment}": Recipe(
        f"{short}-{environment}",
        {},
        measured(environment),
        algorithm=name,
        environment=environment,
        beside=BESIDE[environment],
        erased=environment == "dark_room",
        seen=environment == "dark_room",
    )
    for environment in BESIDE
    for short, name in NAMES.items()
}


def sources(environment: str, tasks: int) -> Table:
    """The source of Algorithm Distillation: in all its environments as in a history, and alone in one."""
    config, table = resolve(NAMES["ad"], environment), Table(TABLE, seeds=[0], tasks=tasks)
    algorithm, window = config.algorithm, config.recipe.window
    assert isinstance(algorithm, Student)
    held_out = sample_tasks(config.environment, "test", tasks, jax.random.key(TEST_KEY))
    alone = window.world._replace(envs=1)
    for row, world, stride in (("source", window.world, algorithm.stride), ("source-alone", alone, 1)):
        returns = np.asarray(history(world, window.turns // algorithm.stride, stride)(held_out))
        curve = Curve(returns[:, None], returns[:, None], returns[:, None])
        note = f"{world.envs} environments, {stride} adaptations from one rollout to the next"
        for column, values in measured(environment)(curve, held_out).items():
            table.add_values(f"{row}-{environment}", column, values, note=note)
    return table


def history(world: World, count: int, stride: int) -> Callable[[Tree], Array]:
    """The program tasks [N, ...] -> mean return of each rollout of a history, [N, count + 1]."""

    def paid(life: Life) -> Array:
        seen = life.seen
        reward = seen.reward if isinstance(seen.expected_reward, tuple) else seen.expected_reward
        return jnp.sum(jnp.mean(reward, axis=1))

    def one(task: Tree, key: Array) -> Array:
        return reported(world, {}, begin(world, {}, task, key), count, paid, stride)[1]

    def many(tasks: Tree) -> Array:
        keys = jax.random.split(jax.random.key(7), len(jax.tree.leaves(tasks)[0]))
        return jax.lax.map(lambda pair: one(*pair), (tasks, keys), batch_size=max(1, 128 // world.envs))

    return jax.jit(many)


def borrowed(environment: str) -> Table:
    """The rows of RL² in the same tasks, from the table that has them."""
    row, home = RL2[environment]
    ways = {row + way: f"rl2-{environment}{way}" for way in ("", "-greedy", "-forgetting", "-seen")}
    found = read(RESULTS / f"{home}.json")
    table = Table(TABLE, seeds=found.seeds, tasks=found.tasks)
    for cell in found.rows:
        column = "regret" if cell.column == "dependent-uniform" else cell.column
        if cell.row in ways and (environment == "dark_room" or column == "regret"):
            renamed = dataclasses.replace(cell, row=ways[cell.row], column=column)
            table.rows.append(table.adopted(renamed, found))
    return table


if __name__ == "__main__":
    quick = {"recipes": ["ad-two_arm"], "tasks": 16}
    quick["changes"] = {"meta_steps": 2, "log_every": 2, "tasks": 8}
    given = fill(__doc__, TABLE, "dark_room", RECIPES, tasks=2_000, quick=quick)
    for environment in dict.fromkeys(RECIPES[key].environment for key in given.recipes):
        for table in (borrowed(environment), sources(environment, given.tasks)):
            write(merge(table, given.out), given.out)
