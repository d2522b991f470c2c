"""Two Colours: one stream whose boxes exchange their rewards (Flennerhag et al. 2022, §5.1; Luketina et al. 2022).

    python scripts/two_colours.py [--rows meta-gradient ...] [--seeds 5] [--steps 10000000]

The setting of arXiv:2109.04504: one agent and one environment in one episode of ten million steps, the colours swap
every 100,000, a meta-step for every rollout of 16 steps, γ = .99, SGD .1 inside, a meta-learned entropy bonus by Adam
with epsilon 1e-4, a context of the mean rewards of the last 10 rollouts. The losses of the papers are in units of a
reward: `SCALE` undoes the package's division by the horizon. Not published: two layers of 64 and the step sizes below.

Writes benchmarks/results/two_colours.json: reward a step, over the whole stream and over its last fifth. A reward of
.1 a step is a million over ten million steps.
"""

import argparse
import pathlib
import time
from typing import Any

import jax
import numpy as np
import optax
from published import merge, write

from metarl_jax.algorithms.meta_gradient import MetaGradient
from metarl_jax.core.backprop import backprop
from metarl_jax.core.meta import MetaLearner, meta_learner
from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs.two_colours import TwoColours, TwoColoursTask, published_task
from metarl_jax.experiment.results import Table
from metarl_jax.oracles.two_colours import average_reward

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results"
STREAM, SWAP, ROLLOUT = 10_000_000, 100_000, 16
SCALE = ROLLOUT  # the package divides rewards by the horizon, or by the rollout where that is shorter
CHUNK = 2_000  # meta-steps of one compiled call
COMMON: dict[str, Any] = {
    "envs": 1,
    "tasks": 1,
    "steps": ROLLOUT,
    "adaptations": 1,
    "tunes": ("entropy",),
    "gamma": 0.99,
    "entropy": 0.01 / SCALE,
    "inner_lr": 0.1 * SCALE,
    "value_weight": 0.5 / SCALE,
}
ROWS: dict[str, tuple[float, dict[str, Any]]] = {  # step size of the outer Adam, options
    "actor-critic": (0.0, {}),
    "meta-gradient": (1e-4, {}),
    "meta-gradient,context": (1e-4, {"context": "reward"}),
    "bootstrapped": (1e-4, {"target": "bootstrapped"}),
    "bootstrapped,context": (1e-4, {"target": "bootstrapped", "context": "reward"}),
}
PUBLISHED = {  # millions of reward in ten million steps
    "actor-critic": 1.24,
    "meta-gradient": 1.29,
    "meta-gradient,context": 1.58,
    "bootstrapped": 1.32,
    "bootstrapped,context": 1.79,
}


class Published(TwoColours):
    """The environment with the task of the paper alone."""

    def draw_task(self, key: Key, split: Split) -> TwoColoursTask:
        return published_task()


def built(meta_lr: float, options: dict[str, Any]) -> MetaLearner:
    """One life in one stream."""
    environment = Published(swap=SWAP, steps=STREAM)
    algorithm = MetaGradient(**COMMON, **options, lifespan=STREAM // ROLLOUT)
    recipe = algorithm.recipe(environment)
    assert recipe.objective is not None
    update = backprop(recipe.window, recipe.objective, optax.adam(meta_lr, eps=1e-4))
    return meta_learner(recipe.window, update, 1, lifespan=STREAM // ROLLOUT)


def lived(meta: MetaLearner, seeds: int, steps: int) -> np.ndarray:
    """The reward of a step, mean over each compiled call, [seeds, calls]."""

    def step(state: Any, key: Key) -> tuple[Any, Array]:
        state, info = meta.step(state, key)
        return state, info["reward"]

    @jax.jit
    @jax.vmap
    def call(state: Any, key: Key) -> tuple[Any, Array]:
        state, rewards = jax.lax.scan(step, state, jax.random.split(key, CHUNK))
        return state, rewards.mean()

    keys = jax.random.split(jax.random.key(0), seeds)
    state, rewards = jax.jit(jax.vmap(meta.init))(keys), []
    for index in range(max(1, steps // (CHUNK * ROLLOUT))):
        state, reward = call(state, jax.vmap(jax.random.fold_in, (0, None))(keys, index))
        rewards.append(np.asarray(reward))
    return np.stack(rewards, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STREAM)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "two_colours.json")
    given = parser.parse_args()
    bound = average_reward(published_task().pay)
    for row in given.rows:
        start = time.perf_counter()
        rewards = lived(built(*ROWS[row]), given.seeds, given.steps)
        steps = rewards.shape[1] * CHUNK * ROLLOUT
        made = {"wall_seconds": time.perf_counter() - start, "env_steps": steps}
        table = Table("two_colours", seeds=list(range(given.seeds)), tasks=1, **made)
        whole, late = rewards.mean(axis=1), rewards[:, -(-rewards.shape[1] * 4 // 5) :].mean(axis=1)
        published = PUBLISHED[row] * 1e6 / STREAM if steps >= STREAM // 2 else None
        note = f"over {steps:,} steps of one stream; published over {STREAM:,}: {PUBLISHED[row]} million"
        table.add(row, "reward", whole.mean(), by_seed=whole, published=published, bound=bound, note=note)
        table.add(row, "reward,last-fifth", late.mean(), by_seed=late, bound=bound)
        write(merge(table, given.out), given.out)


if __name__ == "__main__":
    main()
