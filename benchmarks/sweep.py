"""Speed of a sweep in one program over the same runs one after another.

    python benchmarks/sweep.py [WORKLOAD ...] [--out FILE]

Each workload is trained twice, in fresh processes without a cache of compiled programs: by `metarl_jax.sweep`, and by
`metarl_jax.train` for each run in turn, as a loop over a command would. Seconds are of the wall clock, and in columns
with `cpu` of the processor, where other programs run beside it; with compilation and files, without evaluation.
`in_turn_compiled` are those of the runs in turn with nothing left to compile: what compiling once cannot save.
"""

import argparse
import dataclasses
import datetime
import json
import multiprocessing
import os
import pathlib
import tempfile
import time
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A sweep: `over` in Python values."""

    algorithm: str
    environment: str
    over: dict[str, list[float]]
    seeds: int
    options: dict[str, Any]


RATES = {"meta_lr": [1e-3, 4e-3]}
WORKLOADS = {
    "maml-bandit-tiny": Workload("maml", "bandit", RATES, 4, {"preset": "tiny", "meta_steps": 100}),
    "rl2-bandit-tiny": Workload("rl2", "bandit", RATES, 4, {"preset": "tiny", "meta_steps": 20, "tasks": 64}),
}
QUIET: dict[str, Any] = {"quiet": True, "evaluation_tasks": 0}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Spent = dict[str, np.ndarray]  # by what was done: seconds of the wall clock and of the processor


def now() -> np.ndarray:
    """The wall clock, and that of this process."""
    return np.array([time.monotonic(), time.process_time()])


def together(workload: Workload, folder: pathlib.Path) -> Spent:
    """Seconds of the sweep."""
    import metarl_jax

    start = now()
    how = {"over": workload.over, "seeds": workload.seeds, "out": folder / "sweep"} | workload.options | QUIET
    metarl_jax.sweep(workload.algorithm, workload.environment, **how)
    return {"sweep": now() - start}


def in_turn(workload: Workload, folder: pathlib.Path) -> Spent:
    """Seconds of the same runs one after another, and without those of compilation."""
    import metarl_jax

    start, trained = now(), np.zeros(2)
    ((name, values),) = workload.over.items()
    for value in values:
        for seed in range(workload.seeds):
            how = {name: value, "seed": seed, "out": folder / f"{value}-{seed}"} | workload.options | QUIET
            began = now()
            metarl_jax.train(workload.algorithm, workload.environment, **how)
            trained += (now() - began) * (seed > 0)  # another seed compiles nothing
    share = workload.seeds / (workload.seeds - 1)
    return {"in_turn": now() - start, "in_turn_compiled": trained * share}


def measured(measure: Any, workload: Any) -> Spent:
    """The result of a measurement in a fresh process with an empty cache."""
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1, isolate, (folder,)) as pool,
    ):
        return dict(pool.apply(measure, (workload, pathlib.Path(folder))))


def isolate(folder: str) -> None:
    """Keep the compiled programs of this process apart."""
    import jax

    jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")


def line(name: str) -> dict[str, Any]:
    """The measurements of a workload, and the speed-up, by either clock."""
    workload = WORKLOADS[name]
    took = measured(together, workload) | measured(in_turn, workload)
    found = {"workload": name, "runs": workload.seeds * sum(map(len, workload.over.values())), "cores": cores()}
    for clock, suffix in enumerate(("", "_cpu")):
        seconds = {f"{what}{suffix}": float(spent[clock]) for what, spent in took.items()}
        found |= {f"{what}_seconds": x for what, x in seconds.items()}
        found[f"speed_up{suffix}"] = seconds[f"in_turn{suffix}"] / seconds[f"sweep{suffix}"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=[], help=f"by default all: {', '.join(WORKLOADS)}")
    parser.add_argument("--out", type=pathlib.Path, help="such as benchmarks/results/sweep.json")
    given = parser.parse_args()
    from speed import keep  # whose imports would slow down the processes that are timed

    from metarl_jax.experiment import devices

    lines = []
    for name in given.workloads or WORKLOADS:
        found = {key: round(x, 2) if isinstance(x, float) else x for key, x in line(name).items()}
        made = {"device": devices.describe(), "versions": devices.versions(), "date": datetime.date.today().isoformat()}
        lines.append(json.dumps(found | made))
        print(lines[-1], flush=True)
    keep(lines, given.out)


if __name__ == "__main__":
    main()
