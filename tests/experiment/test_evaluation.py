"""What an evaluation is of: tasks of its split, the same for agents and reference, and intervals over them."""

from typing import Any

import jax
import numpy as np
import pytest
from shell_toy import toy  # noqa: F401

from metarl_jax.core.evaluation import Curve
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.policy import random_policy
from metarl_jax.envs import make
from metarl_jax.experiment import evaluation
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.curves import adaptation_curve, step_rewards
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.statistics import confidence_interval

TASKS = 20


def curve(returns: Any) -> Curve:
    return Curve(returns, np.ones_like(returns), np.zeros_like(returns))


def evaluated(monkeypatch: pytest.MonkeyPatch, split: Any) -> tuple[Any, list[Any], Any]:
    """The environment of an evaluation, the tasks in which the agents lived, and those of the reference."""
    config, lived, known = resolve("toy", "bandit"), [], []

    def own(tasks: Any, *how: Any, greedy: bool) -> list[Curve]:
        lived.append(tasks)
        return [curve(np.zeros((TASKS, 1, 1)))]

    def reference(key: Any, tasks: Any) -> np.ndarray:
        known.append(tasks)
        return np.zeros((TASKS, 1))

    monkeypatch.setattr(evaluation, "reference", lambda environment: reference)
    evaluation.evaluate_all([config], own, split=split, tasks=TASKS, from_scratch=False)
    return config.environment, lived, known[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_evaluation_lives_in_the_tasks_of_its_split(monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    environment, lived, _ = evaluated(monkeypatch, split)
    for tasks in lived:
        held_out = [environment.holds_out(tasks._replace(mean=mean)) for mean in tasks.mean]
        assert held_out == [split == "test"] * TASKS


def test_the_reference_knows_the_tasks_that_the_agents_live_in(monkeypatch: pytest.MonkeyPatch) -> None:
    _, lived, known = evaluated(monkeypatch, "test")
    for tasks in lived:
        np.testing.assert_array_equal(tasks.mean, known.mean)


def test_intervals_are_over_tasks() -> None:
    """Not over their episodes, which are alike where tasks differ."""
    returns = np.array([1.0, 5.0, 7.0])[:, None, None] + np.array([[0.0, 0.1, 0.0, 0.1], [1.0, 1.1, 1.0, 1.1]])
    table = Table("some", seeds=[0], tasks=3)
    evaluation.add_curve(table, "agent", curve(returns))
    for step in (0, 1):
        assert table.cell("agent", f"step={step}").interval == confidence_interval(returns[:, step].mean(axis=1))
    assert table.cell("agent", "episode=2").interval == confidence_interval(returns[:, -1, 1])


def test_rewards_by_step_are_those_of_the_curve() -> None:
    environment = make("bandit", pulls=4)
    policy = random_policy(environment)
    world = World(environment, policy, frozen(policy.init), envs=1, steps=1)
    tasks, key = evaluation.sample_tasks(environment, "test", TASKS, jax.random.key(0)), jax.random.key(1)
    rewards = step_rewards(world, {}, tasks, key)
    assert rewards.shape == (TASKS, 4)
    np.testing.assert_allclose(rewards.sum(axis=1), adaptation_curve(world, {}, tasks, key, (0, 1)).returns[:, 0, 0])
