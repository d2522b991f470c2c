"""Environment steps a second under random actions, beside gymnax's environments of the same kind.

    python benchmarks/environments.py [PAIR ...] [--tasks 4096] [--out FILE]

One JSON line a pair: the median over rounds that alternate between the two, each a scan of as many steps, episodes
restarted where they end; gymnax through `step_env` and `reset_env`, without its automatic reset. The last line is what
the tasks of fresh mazes cost beside a meta-step that uses them.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.algorithms import RL2
from metarl_jax.envs import Maze, make
from metarl_jax.experiment import devices
from metarl_jax.experiment.config import defaults

ROUNDS = 9
STEPS = 200
PAIRS: dict[str, tuple[dict[str, Any], str]] = {
    "cartpole": ({"physics": "mild"}, "CartPole-v1"),
    "pendulum": ({}, "Pendulum-v1"),
    "point_robot": ({}, "PointRobot-misc"),
    "reacher": ({}, "Reacher-misc"),
    "bandit": ({"arms": 2, "pulls": 100}, "BernoulliBandit-misc"),
    "maze": ({}, "MetaMaze-misc"),
    "catch": ({}, "Catch-bsuite"),
    "discounting_chain": ({}, "DiscountingChain-bsuite"),
}
Walk = Callable[[Any, jax.Array], tuple[Any, jax.Array]]  # (state of all, key) -> state of all, rewards [N]


def ours(name: str, options: dict[str, Any], count: int) -> tuple[Any, Walk]:
    """The first states of `count` tasks, and one random step of all of them."""
    environment = make(name, **options)
    tasks = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "train")))(keys(0, count))
    space = environment.action_space

    def act(key: jax.Array) -> jax.Array:
        if space.dtype == jnp.int32:
            return jax.random.randint(key, (), 0, space.n)
        return jax.random.uniform(key, space.shape, minval=space.low, maxval=space.high)

    def move(state: Any, task: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        step = environment.step(step_key, state, act(act_key), task)
        fresh = environment.reset(reset_key, task)[1]
        return restarted(step.terminated | step.truncated, fresh, step.state), step.reward

    def walk(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        return jax.vmap(move)(state, tasks, jax.random.split(key, count))

    return jax.vmap(environment.reset)(keys(1, count), tasks)[1], walk


def theirs(name: str, count: int) -> tuple[Any, Walk]:
    """The same with gymnax."""
    import gymnax

    environment, params = gymnax.make(name)
    space = environment.action_space(params)

    def move(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        _, after, reward, terminated, _ = environment.step_env(step_key, state, space.sample(act_key), params)
        fresh = environment.reset_env(reset_key, params)[1]
        return restarted(terminated | environment.is_truncated(after, params), fresh, after), reward

    def walk(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        return jax.vmap(move)(state, jax.random.split(key, count))

    return jax.vmap(lambda key: environment.reset_env(key, params)[1])(keys(1, count)), walk


def keys(seed: int, count: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def restarted(over: jax.Array, fresh: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, state: jnp.where(over, new, state).astype(state.dtype), fresh, old)


def timer(start: Any, walk: Walk) -> Callable[[], float]:
    """A function that runs the compiled scan once and returns its seconds."""
    scan = jax.jit(lambda state, key: jax.lax.scan(walk, state, jax.random.split(key, STEPS)))  # all of it is asked for
    jax.block_until_ready(scan(start, jax.random.key(2)))

    def seconds() -> float:
        begun = time.perf_counter()
        jax.block_until_ready(scan(start, jax.random.key(2)))
        return time.perf_counter() - begun

    return seconds


def compare(name: str, count: int) -> dict[str, Any]:
    """Both environments in turn, and how much faster ours is."""
    options, other = PAIRS[name]
    timers = timer(*ours(name, options, count)), timer(*theirs(other, count))
    rounds = [[seconds() for seconds in timers] for _ in range(ROUNDS)]
    rates = [count * STEPS / statistics.median(column) for column in zip(*rounds, strict=True)]
    ratio = statistics.median(there / here for here, there in rounds)
    return {"pair": name, "gymnax": other, "tasks": count, "ours": rates[0], "theirs": rates[1], "ratio": ratio}


def maze_share() -> dict[str, Any]:
    """What drawing new mazes costs, as a share of the default meta-step.

    A trained agent's trial of ten attempts takes 140 steps, three windows of the meta-step: a third of the lives end
    with it, and their tasks are drawn in blocks, twice as many as reach their span at once.
    """
    config = defaults("rl2", "maze", "default")
    algorithm, environment = config.algorithm, config.environment
    assert isinstance(algorithm, RL2)
    assert isinstance(environment, Maze)
    learner = algorithm.build(environment, None)
    state = jax.jit(learner.init)(jax.random.key(0))
    step = jax.jit(learner.step)
    sample = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "train")))
    block = -(-2 * algorithm.tasks // algorithm.lifespan)
    blocks = -(-algorithm.tasks // (3 * block))
    seconds: dict[str, list[float]] = {"step": [], "sample": []}
    for i in range(ROUNDS):
        for kind, call in (
            ("step", lambda i=i: step(state, jax.random.key(i))),
            ("sample", lambda i=i: sample(keys(i, block))),
        ):
            begun = time.perf_counter()
            jax.block_until_ready(call())
            seconds[kind].append(time.perf_counter() - begun)
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    drawing = medians["sample"] * blocks
    share = drawing / medians["step"]
    return {"maze_task_seconds": drawing, "meta_step_seconds": medians["step"], "maze_task_share": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", default=list(PAIRS), metavar="PAIR")
    parser.add_argument("--tasks", type=int, default=4096)
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    arguments = parser.parse_args()
    for name in arguments.pairs:
        if name not in PAIRS:
            parser.error(f"unknown pair {name!r}; choose one of {', '.join(PAIRS)}")
    where = {"device": devices.describe(), "versions": devices.versions(), "date": datetime.date.today().isoformat()}
    lines = []
    for measured in [*(lambda name=name: compare(name, arguments.tasks) for name in arguments.pairs), maze_share]:
        lines.append(json.dumps(measured() | where))
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("[\n " + ",\n ".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
