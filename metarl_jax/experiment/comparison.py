"""Runs side by side: the returns of their agents in the same held-out tasks, and the differences with intervals."""

from collections.abc import Mapping

import jax
import numpy as np

from metarl_jax.core.types import Split, Tree
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import check_request, sample_tasks
from metarl_jax.experiment.results import Table


def compared(
    runs: Mapping[str, tuple[RunConfig, Tree]], *, split: Split = "test", tasks: int = 200, seed: int = 0
) -> Table:
    """A row for each run, by name: configuration and φ.

    `episode=e` is the mean return after the last adaptation and `episode=e,difference` what it exceeds that of the
    first run by, with intervals over tasks; as all runs live in the same tasks, the differences are paired. `steps` are
    the environment steps from which an agent has learned by then.

    Raises:
        UsageError: fewer than two runs, or another environment than the first run's.
    """
    check_request(split, tasks, seed)
    if len(runs) < 2:
        raise UsageError(f"a comparison needs two or more different runs, not {len(runs)}")
    first = next(iter(runs))
    environment = runs[first][0].environment
    for name, (config, _) in runs.items():
        if config.environment != environment:
            raise UsageError(f"{name} lives in {config.environment}, and {first} in {environment}; compare runs in one")
    task_key, key = jax.random.split(jax.random.key(seed), 5)[:2]  # the tasks and the lives of `evaluate_learner`
    sampled = sample_tasks(environment, split, tasks, task_key)
    table = Table(f"comparison-{environment.name}-{split}", [config.run.seed for config, _ in runs.values()], tasks)
    returns: dict[str, np.ndarray] = {}
    for name, (config, meta_params) in runs.items():
        reports, stride = config.recipe.reports
        curve = adaptation_curve(config.world, meta_params, sampled, key, (reports, stride))
        returns[name] = np.asarray(curve.returns)[:, -1]  # [N, episodes]
        table.add_columns(name, "episode", returns[name])
        for number, difference in enumerate((returns[name] - returns[first]).T, start=1):
            if name != first:
                table.add_values(name, f"episode={number},difference", difference)
        table.add(name, "steps", reports * stride * config.world.envs * config.world.steps)
    return table
