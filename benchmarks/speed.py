"""Speed of the main workloads, end to end, beside the floor that the mathematics sets on this machine.

    python benchmarks/speed.py [WORKLOAD ...] [--tasks N ...] [--seconds S] [--out FILE]

One JSON line a workload and task count: environment steps a second (acting, inner and outer gradients included, after
warm-up), meta-steps a second, seconds to compile, peak memory, the floor, device and versions. Every line is measured
in a process of its own.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import jax
from floor import Work, floor_seconds, rate

from metarl_jax.algorithms import make as make_algorithm
from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.meta import MetaLearner
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import devices

SECONDS, SPELLS = 12.0, 4  # of measurement


@dataclasses.dataclass(frozen=True)
class Workload:
    """A meta-learner, and the work that one meta-step of it is at least."""

    algorithm: str
    options: dict[str, Any]
    environment: str
    env: dict[str, Any]
    tasks: tuple[int, ...]
    work: Callable[[Algorithm, MetaLearner, int], list[Work]]


def maml_work(widths: tuple[int, ...]) -> Callable[[Algorithm, MetaLearner, int], list[Work]]:
    """Second-order MAML with K adaptations, in units of F, the FLOPs of a forward pass over one rollout.

    A task acts K + 1 times (F each; before it adapts, all tasks can act in one product). The inner gradients and the
    outer one are forward, slopes and weights (3 F each). The derivative of an inner gradient, forward over reverse, is
    twice an inner gradient (6 F). With K = 1 that is 14 F for two rollouts. No slope goes back to the observations.
    The narrow first and last layers are counted at the rate of the wide one between them.
    """

    def work(algorithm: Algorithm, learner: MetaLearner, tasks: int) -> list[Work]:
        world, wide = learner.window.world, widths[1]
        rows, adaptations = world.envs * world.steps, learner.window.turns
        products = [2.0 * i * o * rows * tasks for i, o in itertools.pairwise(widths)]
        forward, slopes = sum(products), sum(products[1:])
        share = tasks // max(1, jax.device_count())
        passes = 3 * adaptations + 1  # 1 an inner gradient, 2 its derivative; 1 the outer gradient
        return [
            Work("forward", forward, world.envs * share, wide, wide),
            Work("forward", forward * adaptations, world.envs, wide, wide),
            Work("forward", forward * passes, rows, wide, wide),
            Work("slope", slopes * passes, rows, wide, wide),
            Work("weights", forward * passes, rows, wide, wide),
        ]

    return work


def rl2_work(inputs: int, width: int, outputs: int) -> Callable[[Algorithm, MetaLearner, int], list[Work]]:
    """RL² under PPO: act once, then in each epoch a forward pass, slopes and weights.

    The recurrent products come step by step, three gates in one, with as many rows as a device has trials; all others
    at once.
    """

    def work(algorithm: Algorithm, learner: MetaLearner, tasks: int) -> list[Work]:
        relives = algorithm.passes
        steps, share = learner.window.world.steps, tasks // max(1, jax.device_count())
        batch = share // relives.minibatches
        rows = steps * tasks
        recurrent, outer = 6.0 * width * width * rows, 2.0 * (inputs * 3 * width + (inputs + width) * outputs) * rows
        return [
            Work("forward", recurrent + outer, share, width, 3 * width),
            Work("forward", recurrent * relives.epochs, batch, width, 3 * width),
            Work("slope", recurrent * relives.epochs, batch, 3 * width, width),
            Work("weights", recurrent * relives.epochs, batch * steps, width, 3 * width),
            Work("forward", outer * relives.epochs, batch * steps, inputs, width),
            Work("weights", outer * relives.epochs, batch * steps, inputs, width),
        ]

    return work


def rule_work(inputs: int, actions: int) -> Callable[[Algorithm, MetaLearner, int], list[Work]]:
    """A learned rule over K adaptations of agents with one hidden layer in policy, critic and prediction.

    An adaptation acts, evaluates the agent on what it saw and on what followed, and descends. Its derivative takes each
    evaluation back, and is twice the descent: besides acting 5 forward passes, as many of slopes and of weights. The
    outer gradient and the regularisers of the last agent are 3 of each. No slope goes back to the observations. The
    rule is read in every adaptation and by the regularisers; its recurrent products come step by step.
    """

    def work(algorithm: Algorithm, learner: MetaLearner, tasks: int) -> list[Work]:
        options: Any = algorithm
        world, turns, width, classes = learner.window.world, learner.window.turns, options.width, options.predictions
        (hidden,), rows, each = options.hidden, world.envs * world.steps, 2.0 * world.envs * world.steps * tasks
        slopes = each * hidden * (actions + 1 + classes)
        forward = each * 3 * inputs * hidden + slopes
        recurrent, around = each * 4 * width**2, each * (width * (6 * 4 + 1 + classes) + 2 * 16 * classes)
        passes, reads = 5 * turns + 3, turns + 1
        return [
            Work("forward", forward * turns, world.envs, inputs, hidden),
            *(Work(kind, forward * passes, rows, inputs, hidden) for kind in ("forward", "weights")),
            Work("slope", slopes * passes, rows, hidden, classes),
            Work("forward", recurrent * reads, world.envs, width, 4 * width),
            Work("slope", recurrent * reads, world.envs, 4 * width, width),
            Work("weights", recurrent * reads, rows, width, 4 * width),
            *(Work(kind, around * reads, rows, width, classes) for kind in ("forward", "slope", "weights")),
        ]

    return work


def ppo_work(inputs: int, hidden: tuple[int, ...], actions: int) -> Callable[[Algorithm, MetaLearner, int], list[Work]]:
    """PPO without minibatches: act once, then in each epoch a forward pass, slopes and weights, of policy and critic.

    The critic's forward pass over the record is at least that of one epoch. No slope goes back to the observations.
    """

    def work(algorithm: Algorithm, learner: MetaLearner, tasks: int) -> list[Work]:
        options: Any = algorithm
        world, wide = learner.window.world, hidden[-1]
        rows, each = world.envs * world.steps, 2.0 * world.envs * world.steps * tasks
        layers = [list(itertools.pairwise((inputs, *hidden, outputs))) for outputs in (actions, 1)]
        acting, forward = (each * sum(i * o for net in nets for i, o in net) for nets in (layers[:1], layers))
        slopes = each * sum(i * o for net in layers for i, o in net[1:])
        return [
            Work("forward", acting, world.envs, wide, wide),
            *(Work(kind, forward * options.epochs, rows, wide, wide) for kind in ("forward", "weights")),
            Work("slope", slopes * options.epochs, rows, wide, wide),
        ]

    return work


def navigation(adaptations: int, tasks: tuple[int, ...]) -> Workload:
    """MAML in the plane at the published shapes."""
    options = {"envs": 20, "hidden": (100, 100), "adaptations": adaptations}
    return Workload("maml", options, "navigation", {"steps": 100}, tasks, maml_work((2, 100, 100, 2)))


WORKLOADS = {
    "maml-navigation": navigation(1, (20, 1000)),
    "maml-navigation-3": navigation(3, (20,)),
    "maml-navigation-5": navigation(5, (20,)),
    "maml-cartpole": Workload(
        "maml",
        {"envs": 10, "hidden": (64, 64), "adaptations": 1},
        "cartpole",
        {"steps": 200},
        (20, 1000),
        maml_work((4, 64, 64, 2)),
    ),
    "rl2-bandit": Workload(
        "rl2", {"width": 64}, "bandit", {"arms": 5, "pulls": 100}, (1024,), rl2_work(1 + 5 + 2, 64, 6)
    ),
    "rule-grid": Workload(
        "learned_rule", {"envs": 64, "steps": 20, "adaptations": 5}, "random_abc", {}, (64,), rule_work(10, 5)
    ),
    "ppo-cartpole": Workload(
        "policy_gradient",
        {"envs": 16, "steps": 128},
        "gymnax/CartPole-v1",
        {},
        (64,),
        ppo_work(4, (64, 64), 2),
    ),
    "rl2-maze": Workload("rl2", {"width": 128, "steps": 200}, "maze", {"size": 7}, (256,), rl2_work(28, 128, 5)),
}


def measure(name: str, tasks: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Run one workload in this process."""
    workload = WORKLOADS[name]
    devices.prepare()
    jax.config.update("jax_enable_compilation_cache", False)  # the compile time of a first use
    algorithm = make_algorithm(workload.algorithm, tasks=tasks, **workload.options)
    mesh = devices.task_mesh(tasks, algorithm.passes.minibatches)
    learner = algorithm.build(make_environment(workload.environment, **workload.env), mesh)
    work = workload.work(algorithm, learner, tasks)
    before = floor_seconds(work, mesh)
    line = timed(learner, mesh, seconds)
    rate.cache_clear()
    floor = learner.env_steps / min(before, floor_seconds(work, mesh))
    share = line["env_steps_per_second"] / floor
    return {"workload": name, "tasks": tasks, **line, "floor_env_steps_per_second": floor, "share_of_floor": share}


def timed(learner: MetaLearner, mesh: Any, seconds: float = SECONDS) -> dict[str, Any]:
    """How fast a meta-step is, what it takes to compile, the most memory that this process has used, where and when."""
    step, state, keys, compiled = compile_step(learner, mesh)
    median, count = median_seconds(step, state, keys, seconds)
    return {
        "env_steps_per_second": learner.env_steps / median,
        "meta_steps_per_second": 1 / median,
        "compile_seconds": compiled,
        "peak_gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "meta_steps_timed": count,
        "devices": jax.device_count(),
        "device": devices.describe(),
        "precision": devices.precision(),
        "versions": devices.versions(),
        "date": datetime.date.today().isoformat(),
    }


def compile_step(learner: MetaLearner, mesh: Any) -> tuple[Any, Any, Any, float]:
    """The compiled meta-step, a first state, four keys, and the seconds that compilation took."""
    state = jax.jit(learner.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4)
    whole = None
    if mesh is not None:
        whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        state, keys = jax.device_put((state, keys), whole)
    start = time.perf_counter()
    # Lives that go on would leave the step divided over devices, and not fit its inputs.
    step = jax.jit(learner.step, out_shardings=whole).lower(state, keys[0]).compile()
    return step, state, keys, time.perf_counter() - start


def median_seconds(step: Any, state: Any, keys: Any, seconds: float = SECONDS) -> tuple[float, int]:
    """The median time of a meta-step after two that warm up, in the quietest of several spells; how many were timed.

    Other guests of a shared machine slow whole spells down, never up.
    """
    for key in keys[:2]:
        state, _ = jax.block_until_ready(step(state, key))
    medians, count = [], 0
    for _ in range(SPELLS):
        times: list[float] = []
        while sum(times) < seconds / SPELLS or len(times) < 3:
            start = time.perf_counter()
            state, _ = jax.block_until_ready(step(state, keys[len(times) % 4]))
            times.append(time.perf_counter() - start)
        medians.append(sorted(times)[len(times) // 2])
        count += len(times)
    return min(medians), count


def checked(parser: argparse.ArgumentParser, known: Collection[str]) -> argparse.Namespace:
    """What the command line says, whose `workloads` are all known."""
    arguments = parser.parse_args()
    for name in arguments.workloads:
        if name not in known:
            parser.error(f"unknown workload {name!r}; choose one of {', '.join(known)}")
    return arguments


def keep(lines: list[str], out: pathlib.Path | None) -> None:
    """Write lines of JSON as a list, where that is asked for."""
    if out:
        out.write_text("[\n " + ",\n ".join(lines) + "\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--tasks", type=int, nargs="*", help="task counts, instead of each workload's own")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of measurement")
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    arguments = checked(parser, WORKLOADS)
    lines = []
    for name in arguments.workloads:
        for tasks in arguments.tasks or WORKLOADS[name].tasks:
            if arguments.here:
                print(json.dumps(measure(name, tasks, arguments.seconds)), flush=True)
                continue
            options = ["--tasks", str(tasks), "--seconds", str(arguments.seconds), "--here"]
            command = [sys.executable, __file__, name, *options]
            lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
            print(lines[-1], flush=True)
    keep(lines, arguments.out)


if __name__ == "__main__":
    main()
