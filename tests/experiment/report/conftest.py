"""Runs that were never trained, with made-up returns: what a report says of them is known."""

import numpy as np
import pytest

from metarl_jax.core.evaluation import Curve
from metarl_jax.experiment import run_folder
from metarl_jax.experiment.api import Result
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.evaluation import Evaluation, add_curve
from metarl_jax.experiment.report.run_section import Judged
from metarl_jax.experiment.results import Table

TASKS, EPISODES, STEPS = 12, 10, 4
EVIL = "<img src=x onerror=alert(1)>"


def curve(levels, noise=0.05, seed=0):
    """Returns of TASKS tasks about the given levels [P, episodes]."""
    levels = np.asarray(levels, np.float64)
    returns = levels + noise * np.random.default_rng(seed).normal(size=(TASKS, *levels.shape))
    return Curve(returns, np.full(returns.shape, 5.0), np.ones(returns.shape))


def frames(steps):
    """An agent that moves right, one frame a step."""
    return [[{"kind": "disc", "centre": [step, 1], "radius": 0.4, "colour": "agent"}] for step in range(steps)]


def film(title, steps=STEPS):
    episodes = [
        {
            "name": f"episode {number}",
            "return": float(number),
            "frames": frames(steps),
            "captions": [*map(str, range(steps))],
        }
        for number in (1, 2)
    ]
    floor = {"kind": "line", "points": [[0, 0], [steps, 0]], "colour": "wall", "width": 0.1}
    return {
        "title": title,
        "task": {"goal": [1, 2]},
        "bounds": [-1, -1, steps, 2],
        "background": [floor],
        "episodes": episodes,
    }


@pytest.fixture
def judge(tmp_path):
    """A function that makes a judged run: of rl2 in mazes by episode, or of maml by gradient step."""

    def judged(name="run", rise=0.3, algorithm="rl2", known=True, **options):
        environment = {"rl2": "maze", "maml": "navigation"}[algorithm]
        config = resolve(algorithm, environment, preset="tiny", **({"meta_steps": 10} | options))
        folder = run_folder.create(config, tmp_path / name)
        metrics = {
            "env_steps": np.arange(1, 6) * 1e3,
            "wall_seconds": np.arange(1.0, 6),
            "meta_step": np.arange(1.0, 6),
        }
        metrics |= {"return": np.linspace(0, 1, 5), "return_before": np.zeros(5), "loss": np.linspace(1, 0, 5)}
        shape = (1, EPISODES) if algorithm == "rl2" else (4, 1)
        climb = 0.2 + rise * np.linspace(0, 1, max(shape)).reshape(shape)
        curves = {algorithm: curve(climb), f"{algorithm}-greedy": curve(climb - 0.1)}
        curves |= {"random": curve(np.full((1, shape[1]), 0.1), noise=0.01)}
        table = Table(f"{algorithm}-{environment}-test", seeds=[0], tasks=TASKS)
        for method, found in curves.items():
            add_curve(table, method, found)
        if known:
            best = 1.1 + np.zeros((TASKS, shape[1]))
            table.add_columns("reference", "episode", best, note="the shortest path, known map")
        result = Result(folder.path, config, 5, {}, metrics)
        return Judged(
            name, result, "test", Evaluation(table, curves), [film(f"task 0 of {name} </script>{EVIL}"), film("task 1")]
        )

    return judged
