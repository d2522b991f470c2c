"""Strategies of evosax improve φ as our own evolution does, and what does not fit is refused by name."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import compiled
from linear import START, Linear

from metarl_jax.algorithms import make
from metarl_jax.core.strategies import strategy
from metarl_jax.envs import make as make_environment


def test_a_missing_package_is_named(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "evosax.algorithms", None)
    life = Linear(windows=1)
    with pytest.raises(ValueError, match=r"evosax:Open_ES needs the package evosax; install it"):
        strategy("Open_ES", life.window(), life.objective(), optax.sgd(0.1))


def test_a_name_without_its_package_is_no_estimator() -> None:
    for name in ("evosax:", "evosax", "backpropp"):
        with pytest.raises(ValueError, match=f"unknown estimator of q_learning '{name}'; choose one of backprop"):
            make("q_learning", estimator=name)


@pytest.mark.parametrize("name", ["Open_ES", "CMA_ES", "SNES"])
def test_a_strategy_descends(name: str) -> None:
    """With our optimiser or a rule of its own, on lives that go on; the gradient step is that of evolution in kind."""
    pytest.importorskip("evosax")
    life = Linear(turns=2, windows=3)
    update = strategy(name, life.window(), life.objective(), optax.adam(0.1), pairs=8, sigma=0.3)
    learner = life.learner(update, tasks=3)
    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    np.testing.assert_array_equal(state.meta_params, START)
    state, info = step(state, jax.random.key(2))
    assert compiled(lambda: step(state, jax.random.key(3))) == 0
    losses = [float(info["loss"])]
    for key in jax.random.split(jax.random.key(1), 60):
        state, info = step(state, key)
        losses.append(float(info["loss"]))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.memory) if jnp.issubdtype(x.dtype, jnp.inexact))
    assert learner.env_steps == (2 * 8 + 1) * 3 * 2 + 1


def test_a_strategy_trains_an_algorithm() -> None:
    pytest.importorskip("evosax")
    options: dict[str, Any] = {"tasks": 2, "envs": 2, "hidden": (4,), "pairs": 2, "sigma": 0.5}
    environment = make_environment("tabular", states=3, actions=2, steps=3, episodes=2)
    for name in ("q_learning", "maml"):
        learner = make(name, **options, estimator="evosax:Open_ES").build(environment)
        state = jax.jit(learner.init)(jax.random.key(0))
        moved = jax.jit(learner.step)(state, jax.random.key(1))[0].meta_params
        assert 0 < optax.tree.norm(optax.tree.sub(moved, state.meta_params)) < 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("PersistentES", "choose estimator=pes"), ("PSO", "unknown strategy of evosax"), ("open_es", "'Open_ES'")],
)
def test_a_strategy_that_does_not_fit_is_refused(name: str, reason: str) -> None:
    pytest.importorskip("evosax")
    life = Linear(windows=1)
    with pytest.raises(ValueError, match=reason):
        strategy(name, life.window(), life.objective(), optax.sgd(0.1))
