"""Learners in environments of known value: the critic finds the value, the learner finds the secret."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import LEARNERS, Nothing, Secret, Twin

from metarl_jax.algorithms import make
from metarl_jax.core.evaluation import evaluate
from metarl_jax.core.life import begin, run
from metarl_jax.core.types import Timestep

GAMMA = 0.5
HORIZON = 1 / (1 - GAMMA)  # critics learn values per step of it


@pytest.mark.parametrize(
    ("ends", "values"),
    [("terminated", [1 + GAMMA, 1.0]), ("truncated", [1 / (1 - GAMMA)] * 2)],
    ids=["terminated", "truncated"],
)
def test_a_critic_bootstraps_past_truncation_and_not_past_termination(ends: Any, values: list[float]) -> None:
    options = {"loss": "actor_critic", "gamma": GAMMA, "hidden": (8,), "inner_lr": 0.01, "entropy": 0.0}
    world = make("policy_gradient", envs=4, **options).recipe(Twin(ends)).window.world
    start = begin(world, {}, Nothing(jnp.float32(1.0)), jax.random.key(0))

    agent = jax.jit(lambda life: run(world, {}, life, 200)[0])(start).agent
    both = Timestep(jnp.eye(2), jnp.zeros(2, jnp.int32), jnp.zeros(2), jnp.zeros(2, bool))
    found = world.policy.apply(agent.params, (), both)[1].value * HORIZON
    np.testing.assert_allclose(found, values, atol=0.1)


# The others are trained as long, and act as wisely, in tests/experiment/agents/test_acting.py.
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "q_learning")) for n in LEARNERS])
def test_learners_find_the_paying_action_after_one_episode(name: str) -> None:
    meta = make(name, **LEARNERS[name]).build(Secret())

    @jax.jit
    def train_and_test(key: Any) -> Any:
        state, _ = jax.lax.scan(meta.step, meta.init(key), jax.random.split(key, 150))
        tasks = jax.vmap(lambda k: Secret().sample_task(k, "test"))(jax.random.split(jax.random.key(9), 500))
        curve = evaluate(meta.window.world, state.meta_params, tasks, jax.random.key(8), meta.window.turns)
        return curve.returns.mean(axis=0)  # [reports, episodes]

    returns = train_and_test(jax.random.key(0))
    ignorant, wise = returns[0] if name == "rl2" else returns.mean(axis=1)
    assert abs(ignorant - 0.5) < 0.08
    assert wise > 0.95
