"""The two-step task: reward a trial, and what makes the agent choose again as before (Wang et al. 2016, figure 5).

    python scripts/two_step.py [--recipes gru ...] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/two_step/...; an interrupted run is resumed), plays games, and writes
benchmarks/results/two_step.json and docs/two_step.png. A learner without a model chooses again what was rewarded; one
with a model of the transitions does so after common transitions, and after rare ones the other way round.
"""

import pathlib
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from published import Runs, arguments, merge, write
from trials import oracle

from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Experience
from metarl_jax.envs.two_step import PLANETS
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.results import Table

TABLE = "two_step"
KINDS = ("rewarded,common", "rewarded,rare", "unrewarded,common", "unrewarded,rare")
MEMORIES = ("gru", "linear")
OPTIONS = {"expected_reward": True}


def main() -> None:
    given = arguments(__doc__, TABLE, MEMORIES, seeds=1, tasks=10_000, quick={"recipes": ["gru"]})
    table = Table(TABLE, seeds=list(range(given.seeds)), tasks=given.tasks)
    bound = oracle("reference", "two_step")
    for name in given.recipes:
        row = f"rl2-{name}"
        runs = Runs(given, name, "rl2", "two_step", OPTIONS | {"memory": name}, {}, given.seeds)
        trials, tasks = runs.environment.trials, runs.tasks(given.tasks)
        curves = [
            adaptation_curve(runs.world, run.meta_params, tasks, jax.random.key(7), (0, 1), expected=True)
            for run in runs.results
        ]
        paid = np.stack([curve.returns[:, -1, 0] for curve in curves]) / trials  # [seeds, N]
        table.add_values(row, "per-trial", paid, bound=bound and bound / trials, note=runs.cost)
        for kind, shares in zip(KINDS, stay_shares(runs, tasks), strict=True):
            table.add(row, f"stay,{kind}", shares.mean(), by_seed=shares, note=runs.cost)
    table = merge(table, given.out)
    write(table, given.out)
    draw(table, given.figure)


def stay_shares(runs: Runs, tasks: Any) -> np.ndarray:
    """How often the choice is that of the trial before, by what came of it, [kinds, seeds]."""

    @jax.jit
    def play(meta_params: Any) -> Experience:
        def one(task: Any, key: Any) -> Experience:
            open_key, act_key = jax.random.split(key)
            environment, policy = runs.world.environment, runs.world.policy
            scene = opening(environment, policy, task, open_key, 1)
            return rollout(environment, policy, meta_params, task, scene, act_key, environment.horizon)[1]

        return jax.vmap(one)(tasks, jax.random.split(jax.random.key(11), len(tasks.stay)))

    return np.stack([_by_kind(play(run.meta_params), tasks) for run in runs.results], axis=1)


def _by_kind(seen: Experience, tasks: Any) -> np.ndarray:
    choice = np.asarray(seen.action)[:, 0::2, 0]  # [N, trials]
    planet = np.asarray(seen.next_observation)[:, 0::2, 0, :PLANETS].argmax(axis=-1)
    paid = np.asarray(seen.reward)[:, 1::2, 0] > 0
    likely = (
        np.asarray(tasks.first)[:, :, None][np.arange(len(choice))[:, None], choice, 0] > 0.5
    )  # that planet 0 comes
    common = likely == (planet == 0)
    stays = choice[:, 1:] == choice[:, :-1]
    paid, common = paid[:, :-1], common[:, :-1]
    return np.array([stays[(paid == p) & (common == c)].mean() for p in (True, False) for c in (True, False)])


def draw(table: Table, path: pathlib.Path) -> None:
    """Bars of the shares, a panel a memory."""
    rows = list(dict.fromkeys(cell.row for cell in table.rows))
    figure, panels = plt.subplots(1, len(rows), figsize=(4 * len(rows), 3), squeeze=False, sharey=True)
    for panel, row in zip(panels[0], rows, strict=True):
        heights = [table.cell(row, f"stay,{kind}").value or 0.0 for kind in KINDS]
        panel.bar([0, 1, 2.5, 3.5], heights, color=["tab:blue", "tab:orange"] * 2)
        panel.set_xticks([0, 1, 2.5, 3.5], ["common", "rare"] * 2)
        panel.set_xlabel("rewarded                 unrewarded")
        panel.set_title(row)
    panels[0][0].set_ylabel("share of trials with the same choice")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
