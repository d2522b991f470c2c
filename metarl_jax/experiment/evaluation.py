"""Held-out evaluation: what a trained learner gets in tasks it has never seen, beside references."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from metarl_jax.core.environment import Environment, check_split
from metarl_jax.core.evaluation import Curve, adapt_once, random_curve, trial
from metarl_jax.core.lifetime import Lifetime, begin_lifetime
from metarl_jax.core.statistics import bootstrap_interval, iqm
from metarl_jax.core.types import Agent, Array, Key, Split, Tree
from metarl_jax.experiment.config import RunConfig, require
from metarl_jax.experiment.curves import SCRATCH, adaptation_curve, on_host, scratch_curve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.results import Table
from metarl_jax.oracles import reference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALLED_REFERENCE = "reference"


class Evaluation(NamedTuple):
    """The table of an evaluation, and the curves that it summarises."""

    table: Table
    curves: dict[str, Curve]  # by method, NumPy arrays [N, P, episodes]

    def plot(self) -> "Figure":
        """The adaptation curve."""
        from metarl_jax.experiment.figures import adaptation_figure

        return adaptation_figure(self.table)


def evaluate_learner(
    config: RunConfig,
    meta_params: Tree,
    *,
    split: Split = "test",
    tasks: int = 200,
    seed: int = 0,
    adaptations: int | None = None,
) -> Evaluation:
    """Evaluate φ on `tasks` tasks of `split`: sampled and greedy, beside random, from-scratch and reference agents.

    Agents adapt as often as in training unless `adaptations` says otherwise.

    Raises:
        UsageError: the split is unknown, there are no tasks, or agents are to adapt that never do.
    """
    check_request(split, tasks, seed)
    name, environment = config.algorithm.name, config.environment
    task_key, *keys = jax.random.split(jax.random.key(seed), 5)
    sampled = sample_tasks(environment, split, tasks, task_key)
    lifetime, schedule = config.algorithm.lifetime(environment), config.algorithm.schedule
    if adaptations is not None:
        require(adaptations >= 0, "adaptations", adaptations, "0 or more")
        require(not lifetime.learner.shared, "adaptations", adaptations, f"left out: the agents of {name} never adapt")
        schedule = adaptations, 1
    curves = {  # one key: the same lives, reported in two ways
        name: adaptation_curve(lifetime, meta_params, sampled, keys[0], schedule),
        f"{name}-greedy": adaptation_curve(lifetime, meta_params, sampled, keys[0], schedule, greedy=True),
    }
    if name != SCRATCH:
        curves[SCRATCH] = scratch_curve(environment, lifetime, sampled, keys[1], schedule)
    curves["random"] = on_host(jax.jit(lambda tasks, key: random_curve(environment, tasks, key))(sampled, keys[2]))
    known = reference(environment)
    bound = None if known is None else np.asarray(known(keys[3], sampled))  # [N, episodes]
    table = Table(f"{name}-{environment.name}-{split}", seeds=[config.run.seed], tasks=tasks)
    for method, curve in curves.items():
        add_curve(table, method, curve, schedule[1], bound)
    if bound is not None:
        numbers = range(1, bound.shape[1] + 1)
        _add_returns(table, CALLED_REFERENCE, "episode", bound, numbers, note=environment.reference)
    return Evaluation(table, curves)


def sample_tasks(environment: Environment, split: Split, count: int, key: Key) -> Tree:
    """The tasks [N, ...] of an evaluation; fewer are the first of more."""
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(np.arange(count))
    return jax.jit(jax.vmap(lambda key: environment.sample_task(key, split)))(keys)


def add_curve(table: Table, method: str, curve: Curve, stride: int = 1, bound: np.ndarray | None = None) -> None:
    """Add the cells of one method: by gradient step over all episodes, and by episode after the last step.

    `step=k` and `episode=e` are mean returns; with `,iqm` interquartile means, with `,steps` environment steps, with
    `,terminated` the share of episodes that the task ended rather than the clock.
    """
    reports, episodes = curve.returns.shape[1:]
    if reports > 1:
        _add_returns(table, method, "step", curve.returns.mean(axis=2), range(0, reports * stride, stride))
    numbers = range(1, episodes + 1)
    _add_returns(table, method, "episode", curve.returns[:, -1], numbers, bound)
    for kind, values in (("steps", curve.lengths[:, -1]), ("terminated", curve.terminated[:, -1])):
        for number, column in zip(numbers, values.T, strict=True):
            table.add(method, f"episode={number},{kind}", column.mean(), bootstrap_interval(column))


def adapt_agent(
    lifetime: Lifetime, meta_params: Tree, task: Tree, key: Key, adaptations: int, episodes: int
) -> tuple[Agent, Curve]:
    """One life in one task: the agent at its end, and its curve [K+1, episodes] before and after each adaptation."""
    birth_key, first_key, life_key = jax.random.split(key, 3)
    state = begin_lifetime(lifetime, meta_params, task, birth_key)

    def turn(state: Any, key: Key) -> tuple[Any, Curve]:
        adapt_key, report_key = jax.random.split(key)
        _, state = adapt_once(lifetime, meta_params, state, adapt_key)
        return state, trial(lifetime, state, report_key, episodes, 1, False)

    first = trial(lifetime, state, first_key, episodes, 1, False)
    state, later = jax.lax.scan(turn, state, jax.random.split(life_key, adaptations))
    return state.agent, jax.tree.map(lambda x, xs: jax.numpy.concatenate([x[None], xs]), first, later)


def _add_returns(
    table: Table,
    method: str,
    kind: str,
    values: np.ndarray | Array,  # [N, columns]
    numbers: range,
    bound: np.ndarray | None = None,
    note: str | None = None,
) -> None:
    for index, number in enumerate(numbers):
        column = np.asarray(values)[:, index]
        best = None if bound is None else bound[:, index].mean()
        table.add(method, f"{kind}={number}", column.mean(), bootstrap_interval(column), bound=best, note=note)
        middle = bootstrap_interval(column, statistic=iqm)
        table.add(method, f"{kind}={number},iqm", float(iqm(column)), middle, note=note)


def check_request(split: str, tasks: int, seed: int) -> None:
    """Raise a UsageError unless an evaluation can be made of this."""
    try:
        check_split(split)
    except ValueError as error:
        raise UsageError(str(error)) from error
    require(tasks >= 1, "tasks", tasks, "at least 1")
    require(0 <= seed < 2**32, "seed", seed, "between 0 and 2**32 - 1")
