"""The memories side by side: what they learn, how fast they act and train, what they compile and hold.

    python benchmarks/memories.py [--memories gru linear ...] [--lengths 100 400 1600] [--meta-steps 30] [--out FILE]

RL² on five-armed bandits, the same number of pulls in a meta-step whatever the length of a trial. One JSON line a
memory and length, measured in a process of its own: environment steps a second of training and of acting, seconds to
compile, peak memory, and the share of what the best arm pays that is earned per pull, on held-out tasks, after
`--meta-steps`.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from speed import SECONDS, keep, timed

from metarl_jax.algorithms import make as make_algorithm
from metarl_jax.core.life import begin
from metarl_jax.core.meta import MetaLearner
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import devices
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.evaluation import sample_tasks

MEMORIES = ("gru", "lstm", "linear", "attention")
LENGTHS = (100, 400, 1600)
PULLS = 51_200  # in a meta-step
OPTIONS = {"width": 64, "expected_reward": True, "gamma": 0.98, "meta_lr": 3e-3, "epochs": 2}
TASKS = 1000  # held out, behind a share


def measure(memory: str, length: int, meta_steps: int, seconds: float, pulls: int) -> dict[str, Any]:
    """One memory at one length, in this process."""
    devices.prepare()
    jax.config.update("jax_enable_compilation_cache", False)  # the compile time of a first use
    tasks = pulls // length
    algorithm = make_algorithm("rl2", memory=memory, tasks=tasks, anneal=meta_steps, **OPTIONS)
    mesh = devices.task_mesh(tasks, algorithm.passes.minibatches)
    learner = algorithm.build(make_environment("bandit", pulls=length, clock=True), mesh)
    line = timed(learner, mesh, seconds)
    acting = acting_steps_per_second(learner, tasks, seconds / 2)
    learned = {"meta_steps": meta_steps, "share_of_best": share_of_best(learner, meta_steps)} if meta_steps else {}
    return {"workload": memory, "trial": length, "acting_steps_per_second": acting, **line, **learned}


def acting_steps_per_second(learner: MetaLearner, tasks: int, seconds: float) -> float:
    """Environment steps a second of acting alone, on one device."""
    world = learner.window.world

    @jax.jit
    def act(meta_params: Any, keys: Any) -> Any:
        def one(key: Any) -> Any:
            task_key, life_key = jax.random.split(key)
            return begin(world, meta_params, world.environment.sample_task(task_key, "train"), life_key).seen

        return jax.vmap(one)(keys).reward

    meta_params, keys = learner.init(jax.random.key(0)).meta_params, jax.random.split(jax.random.key(1), tasks)
    jax.block_until_ready(act(meta_params, keys))
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        jax.block_until_ready(act(meta_params, keys))
        times.append(time.perf_counter() - start)
    return tasks * world.steps / sorted(times)[len(times) // 2]


def share_of_best(learner: MetaLearner, meta_steps: int) -> float:
    """What is earned per pull after training, over what the best arm pays."""
    step, state = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))
    for key in jax.random.split(jax.random.key(1), meta_steps):
        state, _ = step(state, key)
    world = learner.window.world
    tasks = sample_tasks(world.environment, "test", TASKS, jax.random.key(5))
    curve = adaptation_curve(world, state.meta_params, tasks, jax.random.key(7), (0, 1), expected=True)
    best = world.steps * np.asarray(tasks.mean).max(axis=1)
    return float(curve.returns[:, -1, 0].sum() / best.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", nargs="*", default=list(MEMORIES), choices=MEMORIES)
    parser.add_argument("--lengths", type=int, nargs="*", default=list(LENGTHS))
    parser.add_argument(
        "--meta-steps", type=int, default=30, help="of training before the share is measured; 0 for none"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of measurement")
    parser.add_argument("--pulls", type=int, default=PULLS, help="in a meta-step")
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    how = arguments.meta_steps, arguments.seconds, arguments.pulls
    if arguments.here:
        print(json.dumps(measure(arguments.memories[0], arguments.lengths[0], *how)), flush=True)
        return
    lines = []
    for length, memory in itertools.product(arguments.lengths, arguments.memories):
        lines.append(_in_own_process(memory, length, *how))
        keep(lines, arguments.out)


def _in_own_process(memory: str, length: int, meta_steps: int, seconds: float, pulls: int) -> str:
    options = ["--memories", memory, "--lengths", str(length), "--meta-steps", str(meta_steps)]
    options += ["--seconds", str(seconds), "--pulls", str(pulls), "--here"]
    done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
    print(done.stdout.strip(), flush=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
