"""Evolution beside backpropagation on one learner: reward by environment step, and by second.

    python scripts/estimators_speed.py [--seeds 5] [--steps 12000000] [--out benchmarks/results/estimators_speed.json]

An actor-critic that tunes its own step size, discount, traces and exploration (`meta_gradient`), from a step size that
is far too small, in random finite processes. Lives last for ten windows of two adaptations, after which an agent is
reborn in a new process. All estimators have the same environment steps (`--steps` a seed) and the same Adam; a row
`fixed` keeps φ. Columns: the mean reward of a step, averaged over an eighth of the training, at quarters of the
environment steps (`reward,steps=...`) and at quarters of the time of the fastest row (`reward,time=...`), and
environment steps of all seeds, side by side, in a second of the processor, without compilation.
"""

import time
from typing import Any

import jax
import numpy as np
from published import parsed, table_parser

from metarl_jax.algorithms import make
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.results import Table

TABLE = "estimators_speed"
STEPS = 12_000_000
QUARTERS = (0.25, 0.5, 0.75, 1.0)
SHARED: dict[str, Any] = {
    "tasks": 16,
    "envs": 4,
    "steps": 16,
    "hidden": (),
    "lifespan": 10,
    "inner_lr": 0.05,
    "meta_lr": 0.1,
    "pairs": 2,
    "sigma": 0.3,
}
ROWS: dict[str, dict[str, Any]] = {
    "fixed": {"meta_lr": 0.0},
    "backprop": {},
    "evolution": {"estimator": "evolution"},
    "pes": {"estimator": "pes"},
    "nres": {"estimator": "nres"},
}


def trained(row: str, seeds: int, steps: int) -> tuple[np.ndarray, float, float]:
    """Mean reward of a step [seeds, meta-steps], environment steps of a meta-step, and seconds of the processor."""
    environment = make_environment("tabular", states=5, actions=3)
    learner = make("meta_gradient", **SHARED | ROWS[row]).build(environment)
    count = max(8, steps // learner.env_steps)

    def train(key: Any) -> Any:
        birth, root = jax.random.split(key)
        return jax.lax.scan(learner.step, learner.init(birth), jax.random.split(root, count))[1]["reward"]

    keys = jax.random.split(jax.random.key(0), seeds)
    run = jax.jit(jax.vmap(train)).lower(keys).compile()
    start = time.process_time()
    rewards = np.asarray(run(keys), np.float64)
    return rewards, learner.env_steps, time.process_time() - start


def at(rewards: np.ndarray, share: float) -> np.ndarray:
    """The mean reward of each seed over the eighth of the training that ends at a share of it."""
    stop = max(1, round(share * rewards.shape[1]))
    return rewards[:, max(0, stop - max(1, rewards.shape[1] // 8)) : stop].mean(axis=1)


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parsed(parser, TABLE, rows=["backprop"], seeds=1, steps=24_000)
    table = Table(TABLE, seeds=list(range(arguments.seeds)), tasks=SHARED["tasks"], env_steps=arguments.steps)
    found = {}
    for row in arguments.rows:
        rewards, env_steps, seconds = found[row] = trained(row, arguments.seeds, arguments.steps)
        for share in QUARTERS:
            values = at(rewards, share)
            table.add(row, f"reward,steps={round(share * arguments.steps)}", values.mean(), by_seed=values)
        table.add(row, "env_steps_per_second", rewards.size * env_steps / seconds, made={"wall_seconds": seconds})
        table.write(arguments.out)
    whole = min(seconds for _, _, seconds in found.values())
    for row, (rewards, _, seconds) in found.items():
        for share in QUARTERS:
            values = at(rewards, share * whole / seconds)
            table.add(row, f"reward,time={share:g}", values.mean(), by_seed=values)
    table.wall_seconds = round(sum(seconds for _, _, seconds in found.values()), 1)
    table.write(arguments.out)
    print(table.to_markdown())


if __name__ == "__main__":
    main()
