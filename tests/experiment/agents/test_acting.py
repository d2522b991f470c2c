"""What `adapt` returns acts on, with what it has learned."""

from typing import Any

import jax
import numpy as np
import pytest
from probes import LEARNERS, Secret

import metarl_jax
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.experiment.errors import UsageError

SHORT: dict[str, Any] = {"meta_steps": 150, "log_every": 75, "evaluation_tasks": 0, "quiet": True}


@pytest.fixture(scope="module", params=["rl2", "maml"])
def result(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    ENVIRONMENTS[Secret.name] = Secret
    out = tmp_path_factory.mktemp("secret") / "run"
    yield metarl_jax.train(request.param, Secret.name, out=out, **LEARNERS[request.param], **SHORT)
    del ENVIRONMENTS[Secret.name]


def test_an_adapted_agent_takes_the_action_that_it_found_to_pay(result: Any) -> None:
    """One of two actions pays. After one episode the agent takes it, whether parameters or a memory adapt."""
    for seed in range(8):
        good = seed % 2
        agent = metarl_jax.adapt(result, {"good": good}, episodes=1, seed=seed).agent
        assert agent.act(np.ones(1), greedy=True) == good


def test_observing_rewards_updates_the_memory(result: Any) -> None:
    """A reward of 0 for the action that paid shows that the task has changed."""
    if result.config.algorithm.name != "rl2":
        assert metarl_jax.adapt(result, {"good": 1}, episodes=1).agent.memory == ()
        return
    agent = metarl_jax.adapt(result, {"good": 1}, episodes=1).agent
    before = jax.device_get(agent.memory)
    agent.act(np.ones(1))
    agent.observe(0.0, terminated=True)
    agent.act(np.ones(1))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (before, agent.memory)), strict=True))


def test_wrong_shapes_and_options_are_refused(result: Any) -> None:
    agent = metarl_jax.adapt(result, {"good": 1}).agent
    with pytest.raises(
        UsageError, match=r"observation is of shape \(2,\); it must be of shape \(1,\), as secret shows it"
    ):
        agent.act(np.ones(2))
    if result.config.algorithm.name == "rl2":
        with pytest.raises(UsageError, match="adaptations is 2; it must be 0, or left out: the agents of rl2 learn in"):
            metarl_jax.adapt(result, {"good": 1}, adaptations=2)
