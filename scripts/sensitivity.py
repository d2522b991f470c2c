"""What matters to an agent that learns in its memory: one change at a time, in two small worlds, five seeds each.

    python scripts/sensitivity.py [--recipes base memory=linear ...] [--seeds 5] [--tasks 2000]

Trains RL² in a budget short enough that what helps shows, plays trials in fresh tasks of the training split (nothing
here is a result on held-out tasks) and writes benchmarks/results/sensitivity.json: the mean over seeds and that of
each. Changes that are left out keep the cells that the file has.
"""

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from published import arguments, merge, write

from metarl_jax.experiment import devices
from metarl_jax.experiment.config import RunConfig, resolve
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.results import Table

TABLE = "sensitivity"


class Setup(NamedTuple):
    """Where a change is tried, and from which settings."""

    environment: str
    options: dict[str, Any]


SETUPS = {
    "gridnavi": Setup("gridnavi", {"tasks": 256, "meta_steps": 80, "entropy": 0.05, "critic_knows_task": False}),
    "bandit": Setup(
        "bandit",
        {
            "pulls": 30,
            "clock": True,
            "tasks": 512,
            "meta_steps": 60,
            "gamma": 0.97,
            "lambda_": 0.95,
            "meta_lr": 3e-3,
            "epochs": 1,
            "minibatches": 16,
            "entropy": 0.03,
            "expected_reward": True,
        },
    ),
}
EVERYWHERE: dict[str, dict[str, Any]] = {
    "base": {},
    "memory=lstm": {"memory": "lstm"},
    "memory=linear": {"memory": "linear"},
    "memory=attention": {"memory": "attention"},
    "separate": {"separate": True},
    "critic_knows_task": {"critic_knows_task": True},
    "critic_scale=1": {"critic_scale": 1.0},
    "memory=attention,critic_scale=1": {"memory": "attention", "critic_scale": 1.0},
    "epochs=4": {"epochs": 4},
    "meta_lr=1e-3": {"meta_lr": 1e-3},
    "gamma=.9": {"gamma": 0.9},
    "gamma=1": {"gamma": 1.0},
    "entropy=0": {"entropy": 0.0},
    "anneal=0": {"anneal": 0},
}
BANDITS_ONLY: dict[str, dict[str, Any]] = {"no-clock": {"clock": False}, "drawn-rewards": {"expected_reward": False}}
CHANGES = EVERYWHERE | BANDITS_ONLY


def configuration(setup: Setup, change: str, others: dict[str, Any]) -> RunConfig:
    """The settings of a setup, with one change, and others."""
    return resolve("rl2", setup.environment, **setup.options | CHANGES[change] | others)


def trained_return(config: RunConfig, seeds: int, tasks: int) -> np.ndarray:
    """The mean return of a trial after training, a number a seed."""
    algorithm = config.algorithm
    learner = config.learner(devices.task_mesh(algorithm.tasks, algorithm.passes.minibatches))
    init, step = jax.jit(learner.init), jax.jit(learner.step)
    fresh = sample_tasks(config.environment, "train", tasks, jax.random.key(1))

    def one(seed: int) -> float:
        first_key, train_key = jax.random.split(jax.random.key(seed))
        state = init(first_key)
        for key in jax.random.split(train_key, config.run.meta_steps):
            state, _ = step(state, key)
        curve = adaptation_curve(
            learner.window.world, state.meta_params, fresh, jax.random.key(7), (0, 1), expected=True
        )
        return float(curve.returns[:, -1].sum(axis=1).mean())

    return np.array([one(seed) for seed in range(seeds)])


def main() -> None:
    given = arguments(__doc__, TABLE, CHANGES, seeds=5, tasks=2000, quick={"recipes": ["base"]})
    devices.prepare()
    for change in given.recipes:
        table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
        for name in SETUPS if change in EVERYWHERE else ["bandit"]:
            start = time.perf_counter()
            values = trained_return(configuration(SETUPS[name], change, given.changes), given.seeds, given.tasks)
            seconds = (time.perf_counter() - start) / given.seeds
            table.add(change, name, values.mean(), by_seed=values, note=f"{seconds:.0f} s a seed")
        write(merge(table, given.out), given.out)


if __name__ == "__main__":
    main()
