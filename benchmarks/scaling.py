"""Speed and memory of a meta-step by the number of its tasks, with and without a `chunk`.

    python benchmarks/scaling.py [WORKLOAD ...] [--tasks N ...] [--seconds S] [--dry] [--out FILE]

One JSON line a workload, form and task count: environment steps a second after warm-up, that as a share of the form's
best, the memory that the compiled program takes on all devices by its own analysis, and the most that the process has
used, which holds JAX and its compiler, too. `default` leaves the chunk to the package; `chunk` names one for RL²,
whose tasks share their parameters, and `together` has all tasks of MAML side by side. A program that does not fit is
not run. Rollouts of MAML are short, so that 16,384 tasks take seconds, and the small numbers of tasks of RL² are
multiples of its minibatches on two devices. Every line is measured in a process of its own; `--dry` has few tasks.
"""

import argparse
import datetime
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from speed import checked, compile_step, keep

from metarl_jax.algorithms import make as make_algorithm
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import devices, memory

SECONDS, DRY_SECONDS = 3.0, 0.1  # of measurement, and at least one meta-step
DRY_TASKS = (8,)
MINUTES = 3.0  # that one line may take
CHUNK = 256


class Workload(NamedTuple):
    """A meta-learner, its task counts, and the chunk of each form for a task count; 0 leaves it to the package."""

    algorithm: str
    options: dict[str, Any]
    environment: str
    env: dict[str, Any]
    tasks: tuple[int, ...]
    forms: dict[str, Callable[[int], int]]


WORKLOADS = {
    "rl2-bandit": Workload(
        "rl2",
        {"width": 64},
        "bandit",
        {"arms": 5, "pulls": 100},
        (24, 104, 1000, 4096, 16384),
        {"default": lambda tasks: 0, "chunk": lambda tasks: CHUNK},
    ),
    "maml-navigation": Workload(
        "maml",
        {"envs": 2, "hidden": (100, 100), "adaptations": 1},
        "navigation",
        {"steps": 50},
        (20, 100, 1000, 4096, 16384),
        {"default": lambda tasks: 0, "together": lambda tasks: tasks},
    ),
}


def measure(name: str, form: str, tasks: int, seconds: float) -> dict[str, Any]:
    """One line, in this process."""
    workload = WORKLOADS[name]
    devices.prepare()
    algorithm = make_algorithm(workload.algorithm, tasks=tasks, chunk=workload.forms[form](tasks), **workload.options)
    mesh = devices.task_mesh(tasks, algorithm.passes.minibatches)
    learner = algorithm.build(make_environment(workload.environment, **workload.env), mesh)
    step, state, keys, _ = compile_step(learner, mesh)
    used = 1 if mesh is None else mesh.size
    wanted = memory.of_program(step, used)
    fits = wanted <= memory.available()
    return {
        "workload": name,
        "form": form,
        "tasks": tasks,
        "chunk": learner.window.chunk,
        "env_steps_per_second": learner.env_steps / step_seconds(step, state, keys, seconds) if fits else None,
        "program_gibibytes": wanted / 2**30,
        "peak_gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "devices": used,
        "device": devices.describe(),
        "versions": devices.versions(),
        "date": datetime.date.today().isoformat(),
    } | ({} if fits else {"note": "does not fit in the memory of this machine"})


def step_seconds(step: Any, state: Any, keys: Any, seconds: float) -> float:
    """The median time of a meta-step after one that warms up."""
    state, _ = jax.block_until_ready(step(state, keys[0]))
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, keys[len(times) % len(keys)]))
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def with_shares(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with their speed as a share of the best of their form."""
    best: dict[tuple[str, str], float] = {}
    for line in lines:
        form = line["workload"], line["form"]
        best[form] = max(best.get(form, 0.0), line["env_steps_per_second"] or 0.0)
    return [
        line | {"share_of_best": line["env_steps_per_second"] / best[line["workload"], line["form"]]}
        if line["env_steps_per_second"]
        else line
        for line in lines
    ]


def counts(workload: Workload, form: str, asked: list[int] | None, dry: bool) -> list[int]:
    """The task counts of a form: a chunk is tried where it is smaller than they are."""
    tasks = asked or (DRY_TASKS if dry else workload.tasks)
    return [count for count in tasks if dry or workload.forms[form](count) <= count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--tasks", type=int, nargs="*", help="task counts, instead of each workload's own")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of measurement")
    parser.add_argument("--dry", action="store_true", help="few tasks, to see that everything runs")
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--here", metavar="FORM", help="measure this form in this process")
    arguments = checked(parser, WORKLOADS)
    seconds = DRY_SECONDS if arguments.dry else arguments.seconds
    lines = []
    for name in arguments.workloads:
        for form in [arguments.here] if arguments.here else WORKLOADS[name].forms:
            for tasks in counts(WORKLOADS[name], form, arguments.tasks, arguments.dry):
                if arguments.here:
                    print(json.dumps(measure(name, form, tasks, seconds)))
                    continue
                options = ["--tasks", str(tasks), "--seconds", str(seconds), "--here", form]
                command = [sys.executable, __file__, name, *options, *["--dry"] * arguments.dry]
                result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * MINUTES)
                lines.append(json.loads(result.stdout.splitlines()[-1]))
                print(json.dumps(lines[-1]), flush=True)
    keep([json.dumps(line) for line in with_shares(lines)], arguments.out)


if __name__ == "__main__":
    main()
