"""Learned rules against actor-critic: LPG, a learned drift and a learned optimiser, in held-out tasks and elsewhere.

    python scripts/learned_rule.py [--recipes lpg-grid ...] [--budget 1e7] [--tasks 64]

Every recipe trains for `budget` environment steps a seed (the optimiser for five times as many), on small grids or on
chains (runs/learned_rule/...; a run that is stopped, or that a larger budget lengthens, is resumed). Actor-critic is
tuned in each family on training tasks, with twice as many steps. Then fresh agents learn by each rule from scratch: in
held-out tasks of both families, and in Catch and CartPole, which no rule was trained in. The control is the same rule
before its training. Columns hold the return of an episode at the end of a life, and its share of the best. Writes
benchmarks/results/learned_rule.json.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import TEST_KEY, Runs, merge, parsed, table_parser, write

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
ENVS, STEPS = 16, 20  # E and T of all agents, so that an adaptation is the same experience for all of them
PLAYED = 4  # trials a report is the mean of
TUNED_ON = 32  # training tasks that a step size of actor-critic is judged by


class Family(NamedTuple):
    """Tasks, and how long agents live in them."""

    environment: str
    options: dict[str, Any]
    adaptations: int
    ceiling: float | None = None  # of the return, where the reference is no bound

    def make(self) -> Environment:
        return metarl_jax.make_environment(self.environment, **self.options)


class Recipe(NamedTuple):
    """How a rule is trained."""

    algorithm: str
    options: dict[str, Any]
    family: str
    seeds: int
    control: str | None = None  # row of the rule before its training, where no other recipe has it
    longer: int = 1  # times the budget


FAMILIES: dict[str, Family] = {
    "grid": Family("objects", {"side": 5, "steps": 15}, 100),
    "chain": Family("delayed_chain", {"shortest": 5, "longest": 20}, 50),
    "catch": Family("catch", {}, 200),
    "cartpole": Family("cartpole", {}, 200, 500.0),
}

AGENTS: dict[str, Any] = {"envs": ENVS, "steps": STEPS}
# With the default weight 0.5 the step of the agents' critics diverges in some lives, and their meta-steps are skipped.
LPG = AGENTS | {"tasks": 32, "meta_lr": 3e-3, "inner_lr": 2.0, "value_weight": 0.1, "lifespan": (2, 20)}
EVOLVED = AGENTS | {"tasks": 8, "pairs": 4, "adaptations": 20, "meta_lr": 2e-2, "hidden": (32,)}
RECIPES: dict[str, Recipe] = {
    "lpg-grid": Recipe("learned_rule", LPG, "grid", 5, "lpg-untrained"),
    "lpg-chain": Recipe("learned_rule", LPG, "chain", 5),
    "drift-grid": Recipe("drift", EVOLVED, "grid", 5, "drift-untrained"),
    "optimizer-grid": Recipe("learned_optimizer", EVOLVED, "grid", 5, "optimizer-untrained", longer=5),
}
SMALL = {"meta_steps": 1, "log_every": 1, "tasks": 2, "pairs": 1, "adaptations": 1}


def main() -> None:
    parser = table_parser(__doc__)
    rows = [REFERENCES, *RECIPES]
    parser.add_argument("--recipes", nargs="*", default=rows, choices=rows)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--budget", type=float, default=1e7, help="environment steps of training, a recipe and seed")
    parser.add_argument("--tasks", type=int, default=64)
    small = {"budget": 0.0, "tasks": 4, "recipes": ["drift-grid"], "families": ["chain"]}
    given = parsed(parser, TABLE, **small, changes=SMALL)
    for row in given.recipes:
        runs = None if row == REFERENCES else trained(row, given)
        for column in given.families:
            table = Table(TABLE, seeds=[0], tasks=given.tasks)
            if runs is None:
                add_references(table, column, given)
            else:
                add_rule(table, row, column, runs, given)
            write(merge(table, given.out), given.out)


def trained(row: str, given: argparse.Namespace) -> Runs:
    """The runs of a recipe, begun or resumed, once each has taken its environment steps."""
    recipe = RECIPES[row]
    family = FAMILIES[recipe.family]
    meta_step = make(recipe.algorithm, **recipe.options).build(family.make()).env_steps
    whole = max(1, round(recipe.longer * given.budget / meta_step))
    options = recipe.options | {"meta_steps": whole}
    return Runs(given, row, recipe.algorithm, family.environment, options, family.options, recipe.seeds, whole)


def add_rule(table: Table, row: str, column: str, runs: Runs, given: argparse.Namespace) -> None:
    """The cells of a rule, and of its control: agents that begin in the family and learn by it."""
    family, control = FAMILIES[column], RECIPES[row].control
    returns = final_returns(runs.algorithm.recipe(family.make()).window.world, family, given.tasks)
    add(table, row, column, [returns(result.meta_params) for result in runs.results], runs.cost)
    if control:
        values = [returns(newborn(result)) for result in runs.results]
        add(table, control, column, values, "the same rule before its training")


def newborn(result: Any) -> Any:
    """φ with which a run began."""
    config = result.config
    return jax.jit(lambda key: config.learner().init(key).meta_params)(run_keys(config.run.seed).birth)


def add_references(table: Table, column: str, given: argparse.Namespace) -> None:
    """The cells of actor-critic, tuned on training tasks, and of agents that act at random."""
    family = FAMILIES[column]
    environment = family.make()
    rate, entropy, tried = tuned(family, 2 * given.budget)
    note = f"step size {rate:.3g}, entropy bonus {entropy:.3g}: the best of {tried} on training tasks of the family"
    values = final_returns(actor_critic(environment, rate, entropy), family, given.tasks)({})
    add(table, REFERENCES, column, [values], note)
    blind = blind_curve(environment, held_out(environment, given.tasks), jax.random.key(8))
    add(table, "random", column, [np.asarray(blind.returns[:, 0]).mean(axis=1)], "acts at random")


def tuned(family: Family, budget: float) -> tuple[float, float, int]:
    """The step size and the entropy bonus with the best return at the end of lives in training tasks; how many tried.

    Both are drawn log-uniformly until the environment steps of the budget are spent.
    """
    environment, generator = family.make(), np.random.default_rng(0)
    tasks = sample_tasks(environment, "train", TUNED_ON, jax.random.key(1))
    tried = max(1, round(budget / (TUNED_ON * ENVS * STEPS * (family.adaptations + 1))))

    @jax.jit
    def score(rate: Any, entropy: Any) -> Any:
        return jnp.mean(at_the_end(actor_critic(environment, rate, entropy), family, {}, tasks))

    drawn = [10 ** generator.uniform([-3, -4], [-1, -1]) for _ in range(tried)]
    best = max(drawn, key=lambda numbers: float(score(*numbers)))
    return float(best[0]), float(best[1]), tried


def actor_critic(environment: Environment, rate: Any, entropy: Any) -> World:
    """Agents as large as those of the rules that follow actor-critic by Adam, a step on each rollout."""
    options = AGENTS | {"hidden": (32,), "epochs": 1, "inner_lr": rate, "entropy": entropy}
    world = make("policy_gradient", loss="actor_critic", **options).recipe(environment).window.world
    return world._replace(fresh=False)


def final_returns(world: World, family: Family, count: int) -> Callable[[Any], np.ndarray]:
    """φ -> the return of an episode at the end of a life in each held-out task, [N]."""
    tasks = held_out(world.environment, count)
    program = jax.jit(functools.partial(at_the_end, world, family))
    return lambda meta_params: np.asarray(program(meta_params, tasks))


def at_the_end(world: World, family: Family, meta_params: Any, tasks: Any) -> Any:
    """The return of an episode at the end of lives in the tasks, [N]."""
    how: dict[str, Any] = {"stride": family.adaptations, "episodes": 1, "envs": PLAYED}
    return evaluate(world, meta_params, tasks, jax.random.key(7), 1, **how).returns[:, -1, 0]


def held_out(environment: Environment, count: int) -> Any:
    return sample_tasks(environment, "test", count, jax.random.key(TEST_KEY))


@functools.cache
def best_return(column: str, count: int) -> float:
    """The mean of the best return of an episode in the held-out tasks."""
    family = FAMILIES[column]
    environment = family.make()
    known = reference(environment)
    assert known is not None
    return family.ceiling or float(known(jax.random.key(9), held_out(environment, count)).mean())


def add(table: Table, row: str, column: str, each: list[np.ndarray], note: str) -> None:
    """The returns [N] of each seed, and their share of the best."""
    values = np.stack(each)
    best = best_return(column, values.shape[-1])
    table.add_values(row, f"{column},return", values, bound=best, note=note)
    table.add_values(row, f"{column},share", values / best, bound=1.0, note=note)


if __name__ == "__main__":
    main()
