"""Updates that follow the meta-gradient: in passes, with a penalty, with annealed step sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import ENVIRONMENT, SMALL

from metarl_jax.algorithms import make
from metarl_jax.core import backprop as backprop_module
from metarl_jax.core.batching import Devices
from metarl_jax.envs import make as make_environment


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rl2", {"estimator": "evolution", "width": 4, "sigma": 1.0}),
        ("rl2", {"width": 4, "epochs": 2, "minibatches": 2}),
        ("maml", {"hidden": (4,), "outer": "ppo", "epochs": 3}),
    ],
    ids=["evolution", "epochs", "ppo"],
)
def test_an_annealed_step_size_reaches_zero_on_time(name: str, options: dict[str, Any]) -> None:
    """Adam's step in meta-step i is (1 − i / 3) of the first, so φ stands still from the fourth on."""
    learner = make(name, **{**SMALL, **options}, anneal=3).build(make_environment("bandit", arms=3, pulls=4))
    state, step = learner.init(jax.random.key(0)), jax.jit(learner.step)
    moved = []
    for key in jax.random.split(jax.random.key(1), 5):
        before = state.meta_params
        state, _ = step(state, key)
        pairs = zip(*map(jax.tree.leaves, (before, state.meta_params)), strict=True)
        moved.append(any(bool(np.any(a != b)) for a, b in pairs))
    assert moved == [True, True, True, False, False]


@pytest.mark.parametrize(("target", "factor"), [(1e3, 0.5), (1e-9, 2.0)])
def test_the_penalty_weight_follows_its_target(target: float, factor: float) -> None:
    learner = make("promp", hidden=(4,), envs=2, tasks=4, divergence=target).build(ENVIRONMENT)
    state = learner.init(jax.random.key(0))
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    _, (_, penalty) = after.memory  # of the record, of the penalised update
    assert penalty == pytest.approx(factor * backprop_module.FIRST_PENALTY)
    assert info["penalty"] == penalty
    assert info["divergence"] > 0


def test_a_heavier_penalty_keeps_policies_closer_to_those_that_acted() -> None:
    """The heavier it is, the less the policies before adaptation change."""

    def distance(weight: float) -> Any:
        learner = make("promp", hidden=(4,), envs=2, tasks=4, meta_lr=0.05).build(ENVIRONMENT)
        state = learner.init(jax.random.key(0))
        none, (optimiser, _) = state.memory
        state = state._replace(memory=(none, (optimiser, jnp.float32(weight))))
        return jax.jit(learner.step)(state, jax.random.key(1))[1]["divergence"]

    assert distance(100.0) < 0.5 * distance(0.0)


def test_an_epoch_of_minibatches_holds_every_task_once() -> None:
    dealt = backprop_module._minibatches(jax.random.key(0), 3, jnp.arange(12), Devices())
    assert dealt.shape == (3, 4)
    np.testing.assert_array_equal(np.sort(dealt, axis=None), np.arange(12))
