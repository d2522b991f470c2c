"""Learned rewards: agents that see only the learned reward, in Random ABC and in Empty Rooms (arXiv:1912.05500, §4).

    python scripts/learned_reward.py [--worlds random_abc empty_rooms] [--meta-steps 2000] [--tasks 200]

Trains the reward on training tasks (five seeds as one program; runs/learned_reward/<world>.npz keeps the reward),
lets newborn agents live in held-out tasks, and writes benchmarks/results/learned_reward.json. Beside them stand agents
of the same architecture with as much experience: on the task's own reward alone, with the factor, the discount and the
entropy bonus that were best for the column on training tasks, on the reward before its training (the task's own
times a gain), and on no reward at all. Rows of `training-tasks` show what was learned of these alone. Columns: the
whole life, and its last tenth (`end`).
"""

import functools
import itertools
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import TEST_KEY, merge, parsed, table_parser, write

from metarl_jax.algorithms import make
from metarl_jax.core.life import begin, run
from metarl_jax.core.types import Tree
from metarl_jax.core.window import returns
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.results import Table
from metarl_jax.oracles import chains

TABLE = "learned_reward"
SEEDS = 5  # side by side in one program
STRETCH = 20  # meta-steps of one program
DISCOUNTS = (0.5, 0.8, 0.9)  # γ among which the task's own reward chooses
ENTROPIES = (0.01, 0.03, 0.1)  # and weights of the entropy bonus
# And factors of the reward in units of 1 / (1 − γ), with which agents learn more than with larger steps.
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)
PRACTICE = 64  # training tasks in which it does
CRITIC_RATE = 0.1  # step size of the agent's critic, far below that of divergence
RATES = {"meta_lr", "critic_lr"}  # which fall to zero in training
COLUMNS = {"life": 0.0, "end": 0.9}  # the share of the life after which it counts
COMMON = {"reads": "history", "judged_by": "lifetime", "hidden": (32,), "width": 16, "envs": 4, "chunk": 0}


class World(NamedTuple):
    """A setting: the environment, the options that shape its program, and numbers chosen on training tasks."""

    environment: Any
    options: dict[str, Any]
    numbers: dict[str, float]
    unit: str


WORLDS = {
    "random_abc": World(  # in a room of 5 x 5, hardly a walk at random reaches an object
        make_environment("random_abc", side=3, steps=8),
        COMMON | {"steps": 16, "adaptations": 2, "lifespan": 15, "tasks": 32},
        {"inner_lr": 3.0, "gamma": 0.5, "entropy": 0.03, "meta_lr": 2e-3, "critic_lr": 2e-3, "gain": 8.0},
        "an episode",
    ),
    "empty_rooms": World(
        make_environment("empty_rooms", room=3, steps=50),
        COMMON | {"steps": 32, "adaptations": 2, "lifespan": 15, "tasks": 32},
        {"inner_lr": 3.0, "gamma": 0.5, "entropy": 0.05, "meta_lr": 2e-4, "critic_lr": 1e-2, "gain": 8.0},
        "100 steps",
    ),
}
EVOLVED = {  # whole lives, judged by evolution: φ is small, as evolution needs more lives for every number of it
    "random_abc": World(
        WORLDS["random_abc"].environment,
        {"reads": "history", "hidden": (8,), "width": 4, "envs": 4, "steps": 16, "chunk": 0, "adaptations": 30}
        | {"lifespan": 1, "estimator": "evolution", "objective": "mean", "pairs": 32, "tasks": 4},
        {"inner_lr": 5.0, "gamma": 0.5, "entropy": 0.03, "meta_lr": 0.03, "sigma": 0.1, "gain": 5.0},
        "an episode",
    ),
}
SETTINGS = WORLDS | {f"{name}-evolution": world for name, world in EVOLVED.items()}
EXPLORER = "walks to the nearest unvisited cell until it has found the goal, then straight to it"
UNTRAINED = "the reward before its training: the task's own, times its gain"
PRACTISED = "in training tasks, with their own bound"
LEARNED = {"task_reward": 0.0, "reward_scale": 1.0}
ALONE = {"task_reward": 1.0, "reward_scale": 0.0}
NOTHING = {"task_reward": 0.0, "reward_scale": 0.0}


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--meta-steps", type=int, default=2000)
    parser.add_argument("--evolution-steps", type=int, default=200, help="0 for no row of evolution")
    parser.add_argument("--tasks", type=int, default=200)
    given = parsed(parser, TABLE, worlds=["random_abc"], meta_steps=STRETCH, evolution_steps=0, tasks=16)
    for name in given.worlds:
        table = Table(TABLE, seeds=list(range(SEEDS)), tasks=given.tasks)
        fill(table, name, given)
        write(merge(table, given.out), given.out)


def fill(table: Table, name: str, given: Any) -> None:
    """Add the rows of a world."""
    world = WORLDS[name]
    tasks = sample_tasks(world.environment, "test", given.tasks, jax.random.key(TEST_KEY))
    known, exploring = references(name, tasks)
    φ, note = trained(name, given.meta_steps, given.runs)
    taught, untaught = (lived(name, lanes(world, **numbers), φ, tasks) for numbers in (LEARNED, NOTHING))
    first = lived(name, lanes(world), newborn(name), tasks)
    fixed = [("learned-reward", taught, note), ("untrained-reward", first, UNTRAINED), ("no-reward", untaught, None)]
    if name in EVOLVED and given.evolution_steps:
        evolved, note = trained(f"{name}-evolution", given.evolution_steps, given.runs)
        seen = lived(f"{name}-evolution", lanes(EVOLVED[name], **LEARNED), evolved, tasks)
        fixed.append(("learned-reward,evolution", seen, note))
    for column, best in rivals(name, φ, min(given.tasks, PRACTICE)).items():
        alone = lived(name, lanes(world, **ALONE | best), φ, tasks)
        chosen = "the best on training tasks: " + ", ".join(f"{key} {value:g}" for key, value in best.items())
        for row, seen, remark in [*fixed, ("task-reward", alone, chosen)]:
            values = paid(world, seen, COLUMNS[column])
            table.add_values(row, f"{name},{column}", values, bound=known.mean(), note=remark)
        if exploring is not None:
            walks = exploring if column == "life" else known
            table.add_values("explorer", f"{name},{column}", walks, bound=known.mean(), note=EXPLORER)
    practise(table, name, φ, given.tasks)


def practise(table: Table, name: str, φ: Tree, count: int) -> None:
    """Add the rows of the reward in training tasks, before and after its training."""
    world = WORLDS[name]
    tasks = sample_tasks(world.environment, "train", count, jax.random.key(TEST_KEY))
    bound = references(name, tasks)[0].mean()
    for row, reward in (("learned-reward", φ), ("untrained-reward", newborn(name))):
        seen = lived(name, lanes(world), reward, tasks)
        for column, since in COLUMNS.items():
            values = paid(world, seen, since)
            table.add_values(f"{row},training-tasks", f"{name},{column}", values, bound=bound, note=PRACTISED)


def references(name: str, tasks: Tree) -> tuple[np.ndarray, np.ndarray | None]:
    """What agents earn in each task [N] that know it, and over a life those that explore as fast as they walk."""
    environment, options = WORLDS[name][:2]
    if name == "random_abc":
        bounds = jax.vmap(lambda task: chains.random_abc_returns(environment, jax.random.key(0), task)[0])
        return np.asarray(bounds(tasks), np.float64), None
    goals = tuple(np.asarray(tasks.goal).T)
    away, first = chains.distances(environment)[goals], chains.explorer_steps(environment)[goals]
    experience = (turns(options) + 1) * options["envs"] * options["steps"]
    found = 1 + np.floor((experience - first) / away)
    return 100 / away, 100 * found / experience


def turns(options: dict[str, Any]) -> int:
    """The adaptations of a life."""
    return int(options["adaptations"] * options["lifespan"])


def rivals(name: str, φ: Tree, count: int) -> dict[str, dict[str, float]]:
    """For each column the numbers of the agent with which the task's own reward is best on training tasks."""
    world = WORLDS[name]
    tasks = sample_tasks(world.environment, "train", count, jax.random.key(1))
    found: dict[str, list[float]] = {column: [] for column in COLUMNS}
    choices = [
        {"gamma": gamma, "task_reward": factor / (1 - gamma), "entropy": entropy}
        for gamma, entropy, factor in itertools.product(DISCOUNTS, ENTROPIES, FACTORS)
    ]
    for first in range(0, len(choices), SEEDS):
        several = choices[first : first + SEEDS]
        own = {key: jnp.array([choice[key] for choice in several]) for key in several[0]}
        seen = lived(name, lanes(world, **ALONE) | own, φ, tasks)
        for column, since in COLUMNS.items():
            found[column] += paid(world, seen, since).mean(axis=1).tolist()
    return {column: choices[int(np.argmax(values))] for column, values in found.items()}


def lanes(world: World, **numbers: float) -> dict[str, Any]:
    """The numbers of an agent, the same for every seed, [seeds]."""
    chosen = world.numbers | LEARNED | numbers
    chosen |= {"value_weight": CRITIC_RATE / chosen["inner_lr"]}
    return {name: jnp.full(SEEDS, value) for name, value in chosen.items()}


def trained(name: str, meta_steps: int, runs: pathlib.Path) -> tuple[Tree, str]:
    """φ of every seed in a setting, from where an earlier call left it, and what its training took."""
    world, path = SETTINGS[name], runs / f"{name}.npz"
    numbers, (start, stretch) = lanes(world, **LEARNED), programs(name)
    state = start(births(), numbers)
    if path.exists():
        shape, saved = jax.tree.structure(state.meta_params), np.load(path)
        return jax.tree.unflatten(shape, [saved[f"arr_{i}"] for i in range(shape.num_leaves)]), str(saved["note"])
    stretch = stretch.lower(state, births(), numbers).compile()
    compiled = time.process_time()
    for index in range(meta_steps // STRETCH):
        keys = jax.vmap(lambda seed, i=index: jax.random.fold_in(jax.random.key(seed + 1), i))(jnp.arange(SEEDS))
        now = numbers | {rate: numbers[rate] * (1 - index * STRETCH / meta_steps) for rate in RATES & numbers.keys()}
        state, info = jax.block_until_ready(stretch(state, keys, now))
        report = {key: [float(f"{x:.3g}") for x in np.nanmean(value, axis=1)] for key, value in info.items()}
        print((index + 1) * STRETCH, f"{time.process_time() - compiled:.0f} s", report, flush=True)
    steps = make("intrinsic_reward", **world.options).build(world.environment).env_steps * meta_steps
    took = f"{time.process_time() - compiled:.0f} s of the processor for {SEEDS} seeds, without compilation"
    note = f"trained {steps:.3g} env steps a seed, {took}"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, *jax.tree.leaves(state.meta_params), note=note)
    return state.meta_params, note


def births() -> Any:
    """The key of every seed, [seeds]."""
    return jax.random.split(jax.random.key(0), SEEDS)


def newborn(name: str) -> Tree:
    """φ of every seed before training."""
    return programs(name)[0](births(), lanes(SETTINGS[name])).meta_params


@functools.cache
def programs(name: str) -> tuple[Any, Any]:
    """The first state of every seed, and some meta-steps; numbers are data, so that all settings share a program."""
    world = SETTINGS[name]

    def learner(numbers: dict[str, Any]) -> Any:
        return make("intrinsic_reward", **world.options, **numbers).build(world.environment)

    def stretch(state: Any, key: Any, numbers: dict[str, Any]) -> Any:
        return jax.lax.scan(learner(numbers).step, state, jax.random.split(key, STRETCH))

    return jax.jit(jax.vmap(lambda key, numbers: learner(numbers).init(key))), jax.jit(jax.vmap(stretch))


def lived(name: str, numbers: dict[str, Any], φ: Tree, tasks: Tree) -> tuple[np.ndarray, ...]:
    """Lives of the trained length, [seeds, N, turns]: return and number of the episodes that ended, and mean reward."""
    return jax.device_get(_lives(name)(numbers, φ, tasks, jax.random.split(jax.random.key(7), len(tasks[0]))))


@functools.cache
def _lives(name: str) -> Any:
    world = SETTINGS[name]

    def observe(φ: Tree, life: Any) -> Any:
        return (*returns(life.seen), jnp.mean(life.seen.reward))

    def life(numbers: dict[str, Any], φ: Tree, task: Tree, key: Any) -> Any:
        place = make("intrinsic_reward", **world.options, **numbers).recipe(world.environment).window.world
        newborn = begin(place, φ, task, key)
        later = run(place, φ, newborn, turns(world.options), observe)[1]
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), observe(φ, newborn), later)

    over_tasks = jax.vmap(life, (None, None, 0, 0))
    return jax.jit(jax.vmap(over_tasks, (0, 0, None, None)))


def paid(world: World, seen: tuple[np.ndarray, ...], since: float) -> np.ndarray:
    """The mean return of episodes, or the reward of 100 steps, from a share of the life on, [seeds, N]."""
    total, ended, reward = (x[..., round(since * x.shape[-1]) :] for x in seen)
    if world.unit == "100 steps":
        return 100 * reward.mean(axis=-1)
    return total.sum(axis=-1) / np.maximum(ended.sum(axis=-1), 1.0)


if __name__ == "__main__":
    main()
