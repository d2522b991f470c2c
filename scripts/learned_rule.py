"""Learned rules against actor-critic: LPG and a learned drift, on held-out tasks and in environments never seen.

    python scripts/learned_rule.py [--budget 10800] [--recipes lpg-grid ...] [--seeds 1] [--tasks 256]

Every recipe trains for `budget` seconds a seed (runs/learned_rule/...; a run that is stopped, or that a larger budget
lengthens, is resumed), and actor-critic is tuned for as long on the training tasks of each family. Then fresh agents
learn by each rule from scratch: in the held-out tasks of both families, and in Catch and CartPole. The control is the
same rule before its training. Writes benchmarks/results/learned_rule.json.
"""

import argparse
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import TEST_KEY, merge, parsed, table_parser, write

import metarl_jax
from metarl_jax.algorithms import make
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import evaluate
from metarl_jax.core.life import World
from metarl_jax.experiment.curves import blind_curve
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.training import run_keys
from metarl_jax.oracles import reference

TABLE = "learned_rule"
REFERENCES = "actor-critic"
CHUNK = 20  # meta-steps between two looks at the clock
ENVS, STEPS = 16, 20  # E and T of all agents, so that an adaptation is the same experience for all of them
PLAYED = 4  # trials a report is the mean of


class Family(NamedTuple):
    """Tasks, and how long agents live in them."""

    environment: str
    options: dict[str, Any]
    adaptations: int
    ceiling: float | None = None  # of the return, where the reference is no bound

    def make(self) -> Environment:
        return metarl_jax.make_environment(self.environment, **self.options)


TRAINED: dict[str, Family] = {
    "grid": Family("random_abc", {}, 100),
    "chain": Family("delayed_chain", {"shortest": 5, "longest": 10}, 100),
}
UNSEEN: dict[str, Family] = {"catch": Family("catch", {}, 300), "cartpole": Family("cartpole", {}, 300, 500.0)}
FAMILIES = TRAINED | UNSEEN

LPG: dict[str, Any] = {"envs": ENVS, "steps": STEPS, "tasks": 32, "meta_lr": 3e-3, "lifespan": (2, 20)}
DRIFT: dict[str, Any] = {"envs": ENVS, "steps": STEPS, "adaptations": 20}
RECIPES: dict[str, tuple[str, dict[str, Any], str]] = {  # row: algorithm, options, the family that it is trained on
    "lpg-grid": ("learned_rule", LPG, "grid"),
    "lpg-chain": ("learned_rule", LPG, "chain"),
    "drift-grid": ("drift", DRIFT, "grid"),
    "drift-chain": ("drift", DRIFT, "chain"),
}


def main() -> None:
    parser = table_parser(__doc__)
    rows = [REFERENCES, *RECIPES]
    parser.add_argument("--recipes", nargs="*", default=rows, choices=rows)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--budget", type=float, default=10_800, help="seconds of training, a recipe and seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=256)
    small = {"budget": 0.0, "tasks": 8, "recipes": [REFERENCES, "lpg-grid"], "families": ["grid"]}
    given = parsed(parser, TABLE, **small)
    for row in given.recipes:
        runs = [] if row == REFERENCES else [trained(row, seed, given) for seed in range(given.seeds)]
        for column in given.families:
            family = FAMILIES[column]
            fresh = learned(row, runs, family, column, given) if runs else references(family, column, given)
            write(merge(fresh, given.out), given.out)


def trained(row: str, seed: int, given: argparse.Namespace) -> Any:
    """The run of a recipe, begun or resumed, once its training has taken `budget` seconds."""
    algorithm, options, family = RECIPES[row]
    path = given.runs / f"{row}-{seed}"
    how = {"meta_steps": CHUNK, "log_every": CHUNK, "checkpoint_every": CHUNK, "evaluation_tasks": 0}
    begun = {"env": TRAINED[family].options, "seed": seed, "out": path, **how, **options}
    result = (
        metarl_jax.resume(path) if path.exists() else metarl_jax.train(algorithm, TRAINED[family].environment, **begun)
    )
    while result.metrics["wall_seconds"][-1] < given.budget:
        result = metarl_jax.resume(path, meta_steps=result.step + CHUNK)
    return result


def learned(row: str, results: list[Any], family: Family, column: str, given: argparse.Namespace) -> Table:
    """The cells of a rule and of its control: agents that begin in the family and learn by it."""
    environment, algorithm = family.make(), results[0].config.algorithm
    world = algorithm.recipe(environment).window.world
    metrics = results[0].metrics
    cost = f"{results[0].step} meta-steps, {metrics['env_steps'][-1]:.3g} environment steps"
    cost += f", {metrics['wall_seconds'][-1]:.0f} s a seed"
    table = new_table(given)
    before = [jax.jit(r.config.learner().init)(run_keys(r.config.run.seed).birth).meta_params for r in results]
    for name, rules, note in (
        (row, [result.meta_params for result in results], cost),
        (f"{row}-untrained", before, "the same rule before its training"),
    ):
        add(table, name, column, family, np.stack([lived(world, rule, family, given.tasks) for rule in rules]), note)
    return table


def references(family: Family, column: str, given: argparse.Namespace) -> Table:
    """The cells of actor-critic, tuned on training tasks, and of agents that act at random."""
    environment, table = family.make(), new_table(given)
    rate, entropy, tried = tuned(family, given.budget)
    note = f"step size {rate:.3g}, entropy bonus {entropy:.3g}: the best of {tried} on training tasks"
    values = lived(actor_critic(environment, rate, entropy), {}, family, given.tasks)
    add(table, REFERENCES, column, family, values[None], note)
    blind = blind_curve(environment, held_out(environment, given.tasks), jax.random.key(8))
    add(table, "random", column, family, blind.returns[:, 0].mean(axis=1)[None], "acts at random")
    return table


def tuned(family: Family, budget: float) -> tuple[float, float, int]:
    """The step size and the entropy bonus with the best return at the end of lives in training tasks; how many tried.

    Both are drawn log-uniformly until the budget is spent.
    """
    environment, generator = family.make(), np.random.default_rng(0)
    tasks = sample_tasks(environment, "train", 32, jax.random.key(1))

    @jax.jit
    def score(rate: Any, entropy: Any) -> Any:
        return jnp.mean(final_returns(actor_critic(environment, rate, entropy), {}, family, tasks))

    best, start, tried = (-np.inf, 0.0, 0.0), time.monotonic(), 0
    while tried == 0 or time.monotonic() - start < budget:
        rate, entropy = 10 ** generator.uniform([-3, -4], [-1, -1])
        best, tried = max(best, (float(score(rate, entropy)), rate, entropy)), tried + 1
    return best[1], best[2], tried


def actor_critic(environment: Environment, rate: Any, entropy: Any) -> World:
    """Agents as large as those of the rules that follow actor-critic by Adam, a step on each rollout."""
    options = {"envs": ENVS, "steps": STEPS, "hidden": (32,), "epochs": 1, "inner_lr": rate, "entropy": entropy}
    world = make("policy_gradient", rule="actor_critic", **options).recipe(environment).window.world
    return world._replace(fresh=False)


def lived(world: World, meta_params: Any, family: Family, count: int) -> np.ndarray:
    """The return of an episode at the end of a life in each held-out task, [N]."""
    tasks = held_out(world.environment, count)
    return np.asarray(jax.jit(functools.partial(final_returns, world, family=family))(meta_params, tasks=tasks))


def final_returns(world: World, meta_params: Any, family: Family, tasks: Any) -> Any:
    """The return of an episode at the end of lives in the tasks, [N]."""
    how = {"stride": family.adaptations, "episodes": 1, "envs": PLAYED}
    return evaluate(world, meta_params, tasks, jax.random.key(7), 1, **how).returns[:, -1, 0]


def held_out(environment: Environment, count: int) -> Any:
    return sample_tasks(environment, "test", count, jax.random.key(TEST_KEY))


def bound(family: Family, count: int) -> float | None:
    """The mean of the best return of an episode in the held-out tasks."""
    environment = family.make()
    known = reference(environment)
    if family.ceiling is not None or known is None:
        return family.ceiling
    return float(known(jax.random.key(9), held_out(environment, count)).mean())


def add(table: Table, row: str, column: str, family: Family, values: np.ndarray, note: str) -> None:
    """The return [seeds, N], and its share of the best."""
    best = bound(family, values.shape[-1])
    table.add_values(row, f"{column},return", values, bound=best, note=note)
    if best is not None:
        table.add_values(row, f"{column},share", values / best, bound=1.0, note=note)


def new_table(given: argparse.Namespace) -> Table:
    return Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)


if __name__ == "__main__":
    main()
