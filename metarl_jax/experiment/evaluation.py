"""Held-out evaluation: returns of a trained learner and of references in held-out tasks."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from metarl_jax.core.contract import check_environment
from metarl_jax.core.environment import Environment, check_split, check_split_has_tasks
from metarl_jax.core.evaluation import Curve, adapted
from metarl_jax.core.keys import key_of
from metarl_jax.core.life import World
from metarl_jax.core.once import once
from metarl_jax.core.rollout import Scene
from metarl_jax.core.types import Agent, Key, Split, Tree
from metarl_jax.core.update import check_parts
from metarl_jax.experiment.config import MOST_SEED, RunConfig, require, whole
from metarl_jax.experiment.curves import SCRATCH, Schedule, adaptation_curve, blind_curve, sampler, scratch_curve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.memory import check_evaluation
from metarl_jax.experiment.progress import screen
from metarl_jax.experiment.results import RANDOM, REFERENCE, Table
from metarl_jax.experiment.statistics import iqm, mean, share
from metarl_jax.oracles import reference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("metarl_jax")
RETURNS = (mean, iqm)  # the statistics of returns


class Evaluation(NamedTuple):
    """The table of an evaluation, and the curves that it summarises."""

    table: Table
    curves: dict[str, Curve]  # by method, NumPy arrays [N, P, episodes]

    def plot(self) -> "Figure":
        """The adaptation curve."""
        from metarl_jax.experiment.figures import adaptation_figure

        return adaptation_figure(self.table)

    def __repr__(self) -> str:
        from metarl_jax.experiment.verdict import verdict

        return f"<Evaluation {self.table.table}: {verdict(self.table)}>"

    def _repr_html_(self) -> str:
        from metarl_jax.experiment.notebook import evaluation_html

        return evaluation_html(self.table, self.plot())


def evaluate_learner(
    config: RunConfig,
    meta_params: Tree,
    *,
    split: Split = "test",
    tasks: int = 200,
    seed: int = 0,
    adaptations: int | None = None,
    from_scratch: bool = True,
    quiet: bool = True,
) -> Evaluation:
    """Evaluate φ on `tasks` tasks of `split`: sampled and greedy, with random, from-scratch and reference agents.

    Agents adapt as often as in training unless `adaptations` says otherwise. The agent that learns from scratch takes
    almost half of the time.

    Raises:
        UsageError: the split is unknown or has no tasks, or `adaptations` is given for agents that never adapt.
    """

    def own(*how: Any, greedy: bool) -> list[Curve]:
        return [adaptation_curve(config.world, meta_params, *how, greedy=greedy)]

    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed, "adaptations": adaptations}
    return evaluate_all([config], own, **how, from_scratch=from_scratch, quiet=quiet)[0]


def evaluate_all(
    configs: Sequence[RunConfig],
    own: Callable[..., list[Curve]],
    *,
    split: Split = "test",
    tasks: int = 200,
    seed: int = 0,
    adaptations: int | None = None,
    from_scratch: bool = True,
    quiet: bool = True,
) -> list[Evaluation]:
    """`evaluate_learner` for runs that differ only in seed and in float options of the algorithm.

    `own(tasks, key, schedule, greedy=...)` returns their curves; the other agents are the same for all.
    """
    tasks, seed = check_request(split, tasks, seed)
    config = configs[0]
    check_evaluation(config, "tasks", tasks)
    name, environment, world = config.algorithm.name, config.environment, config.world
    task_key, *keys = jax.random.split(key_of(seed), 5)
    sampled = sample_tasks(environment, split, tasks, task_key)
    schedule = _schedule(config, adaptations)
    same = len(configs)
    methods: dict[str, Callable[[], list[Curve]]] = {  # one key: the same lives, reported in two ways
        name: lambda: own(sampled, keys[0], schedule, greedy=False),
        f"{name}-greedy": lambda: own(sampled, keys[0], schedule, greedy=True),
    }
    if from_scratch and name != SCRATCH:
        methods[SCRATCH] = lambda: [scratch_curve(environment, world, sampled, keys[1], schedule)] * same
    methods[RANDOM] = lambda: [blind_curve(environment, sampled, keys[2])] * same
    curves = lived(methods, f"{tasks} {split} tasks", quiet)
    warn_of_lost(curves, split, seed)
    known = reference(environment)
    bound = None if known is None else np.asarray(known(keys[3], sampled))  # [N, episodes]
    each = [{method: found[run] for method, found in curves.items()} for run in range(same)]
    return [_summary(*pair, split, tasks, schedule[1], bound) for pair in zip(configs, each, strict=True)]


def _schedule(config: RunConfig, adaptations: int | None) -> Schedule:
    """The reports of an evaluation: as in training, or after each of so many adaptations."""
    if adaptations is None:
        return config.recipe.reports
    adaptations = whole("adaptations", adaptations)
    check_adapts(config, adaptations)
    return adaptations, 1


def _summary(
    config: RunConfig, curves: dict[str, Curve], split: Split, tasks: int, stride: int, bound: np.ndarray | None
) -> Evaluation:
    """The table of the curves by method, and of the reference where there is one."""
    name, environment = config.algorithm.name, config.environment
    table = Table(f"{name}-{environment.name}-{split}", seeds=[config.run.seed], tasks=tasks)
    for method, curve in curves.items():
        add_curve(table, method, curve, stride, bound)
    if bound is not None:
        table.add_columns(REFERENCE, "episode", bound, statistics=RETURNS, note=environment.reference)
    return Evaluation(table, curves)


def lived(methods: dict[str, Callable[[], list[Curve]]], where: str, quiet: bool) -> dict[str, list[Curve]]:
    """The curves of every method, with progress: which method is evaluated, and where."""
    curves = {}
    with screen(quiet) as shown:
        for done, (method, curve) in enumerate(methods.items()):
            shown.show(f"evaluating {method} on {where}", done, len(methods))
            curves[method] = curve()
        shown.show(f"evaluated on {where}", len(methods), len(methods))
    return curves


def warn_of_lost(curves: dict[str, list[Curve]], split: Split, seed: int) -> None:
    """Name the tasks in which returns are not finite; statistics over them are unknown."""
    for method, runs in curves.items():
        returns = np.stack([np.asarray(curve.returns) for curve in runs])  # [M, N, P, episodes]
        lost = np.flatnonzero(~np.isfinite(returns).all(axis=(0, 2, 3)))
        if lost.size:
            which = ", ".join(map(str, lost[:5])) + (" ..." if lost.size > 5 else "")
            tasks = f"{lost.size} of {returns.shape[1]} {split} tasks of seed {seed} ({which})"
            log.warning("%s has returns that are not finite in %s; statistics over them are left empty", method, tasks)


def sample_tasks(environment: Environment, split: Split, count: int, key: Key) -> Tree:
    """The tasks [N, ...] of an evaluation; a smaller `count` gives the first of them.

    Raises:
        UsageError: there are none of this split.
    """
    try:
        check_split_has_tasks(environment, split)
    except ValueError as error:
        raise UsageError(str(error)) from error
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(np.arange(count))
    return sampler(environment, split)(keys)


def add_curve(table: Table, method: str, curve: Curve, stride: int = 1, bound: np.ndarray | None = None) -> None:
    """Add the cells of one method: by gradient step over all episodes, and by episode after the last step.

    `step=k` and `episode=e` are mean returns; with `,iqm` interquartile means, with `,steps` environment steps, with
    `,terminated` the share of episodes that terminated rather than were truncated. `gain` is the last mean return less
    the first: over gradient steps where there are any, otherwise over episodes.
    """
    steps, episodes = np.asarray(curve.returns).mean(axis=2), np.asarray(curve.returns)[:, -1]
    path = steps if steps.shape[1] > 1 else episodes
    if steps.shape[1] > 1:
        table.add_columns(method, "step", steps, first=0, stride=stride, statistics=RETURNS)
    bounds = None if bound is None else bound.mean(axis=0)
    table.add_columns(method, "episode", episodes, statistics=RETURNS, bounds=bounds)
    if path.shape[1] > 1:
        table.add_values(method, "gain", path[:, -1] - path[:, 0])
    others = (("steps", curve.lengths[:, -1], mean), ("terminated", curve.terminated[:, -1], share))
    for kind, values, statistic in others:
        for number, column in enumerate(values.T, start=1):
            table.add_values(method, f"episode={number},{kind}", column, statistic=statistic)


@once
def one_life(world: World, adaptations: int, episodes: int) -> Callable[[Tree, Tree, Key], tuple[Agent, Scene, Curve]]:
    """The program (φ, task, key) -> agent, scene and curve [K+1, episodes] of one life in one task; see `adapted`."""
    return jax.jit(lambda meta_params, task, key: adapted(world, meta_params, task, key, adaptations, episodes))


def check_adapts(config: RunConfig, adaptations: int) -> None:
    """Raise a UsageError if agents that learn only in their memory should adapt."""
    never = config.world.learner.shared
    rule = f"0, or left out: the agents of {config.algorithm.name} learn in their memory, over the episodes of a trial"
    require(not (never and adaptations), "adaptations", adaptations, rule)


def check_tasks(config: RunConfig) -> None:
    """Raise a UsageError unless the environment is sound, and the splits for training and evaluation have tasks.

    The minibatches of a meta-step must also divide its tasks evenly.
    """
    splits: tuple[Split, ...] = ("train", "test") if config.run.evaluation_tasks else ("train",)
    try:
        check_environment(config.environment)
        check_parts(config.algorithm.name, config.algorithm.tasks, config.recipe.update.parts)
        for split in splits:
            check_split_has_tasks(config.environment, split)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_request(split: str, tasks: int, seed: int) -> tuple[int, int]:
    """The number of tasks and the seed of an evaluation; or a UsageError."""
    try:
        check_split(split)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return whole("tasks", tasks, least=1), whole("seed", seed, most=MOST_SEED)
