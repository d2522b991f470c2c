"""Evolution strategies: ranks, fitness and objectives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import SMALL, played
from probes import Line

from metarl_jax.algorithms import make
from metarl_jax.core.batching import Devices
from metarl_jax.core.evolution import centred_ranks, fitness
from metarl_jax.core.life import unborn
from metarl_jax.core.update import Lives, Now
from metarl_jax.envs import make as make_environment


def test_ranks_are_centred_and_ties_get_zero() -> None:
    np.testing.assert_allclose(centred_ranks(jnp.array([3.0, 1.0, 2.0])), [0.5, -0.5, 0.0])
    np.testing.assert_allclose(centred_ranks(jnp.array([2.0, 2.0, 2.0])), 0.0)


@pytest.mark.parametrize(
    ("pays", "slow", "fast"), [("arrival", 0.34, 1 - 1e-7), ("survival", 0.5, 0.9)], ids=["arrival", "survival"]
)
def test_the_fitness_of_a_window_is_higher_for_better_agents(pays: Any, slow: float, fast: float) -> None:
    """The better agent arrives three times as often, or falls less often where every step pays the same."""
    how: dict[str, Any] = {"steps": 12, "lifespan": 50, "across_episodes": False, "estimator": "evolution"}
    better, worse = (-played(Line(pays), go, **how)["loss"] for go in (fast, slow))
    assert better > 1.3 * worse > 0


def test_the_fitness_of_a_window_is_the_mean_discounted_return() -> None:
    """An arrival every fourth step gives rewards 0, 0, 0, 1 an episode; the mean is over the 12 steps of a window."""
    how: dict[str, Any] = {"steps": 12, "lifespan": 50, "estimator": "evolution", "gamma": 0.5}
    found = played(Line("arrival"), 1 - 1e-7, across_episodes=False, **how)
    units = sum(0.5**t for t in range(12))
    assert -found["loss"] == pytest.approx(np.mean([0.125, 0.25, 0.5, 1.0]) / units, rel=1e-4)
    assert found["reward"] == pytest.approx(0.25)
    assert found["return"] == pytest.approx(1.0)


@pytest.mark.parametrize("objective", ["final", "mean"])
def test_evolution_optimises_the_chosen_objective(objective: str) -> None:
    options = {"estimator": "evolution", "objective": objective, "hidden": (4,), "inner_lr": 5.0, "pairs": 4}
    learner = make("maml", **{**SMALL, **options}).build(
        make_environment("bandit", arms=3, pulls=4, rewards="gaussian")
    )
    _, info = jax.jit(learner.step)(learner.init(jax.random.key(0)), jax.random.key(2))
    before, after = float(info["return_before"]), float(info["return"])
    assert abs(before - after) > 1e-3
    expected = after if objective == "final" else (before + after) / 2
    assert -float(info["loss"]) == pytest.approx(expected, rel=1e-5)


def test_members_that_are_alike_live_alike() -> None:
    """All members have the same tasks and keys, so that a pair differs by its noise alone."""
    environment = make_environment("bandit", arms=3, pulls=4, rewards="gaussian")
    recipe = make("maml", **SMALL, estimator="evolution", hidden=()).recipe(environment)
    keys = jax.random.split(jax.random.key(0), 4)
    lives = Lives(jax.vmap(lambda key: unborn(environment.sample_task(key, "train"), key))(keys))
    now = Now(jnp.int32(0), jax.random.key(1), Devices())
    meta_params = recipe.window.world.learner.meta_init(jax.random.key(2))
    members = jax.tree.map(lambda x: jnp.stack([x] * 3), meta_params)
    losses, _ = jax.jit(lambda members: fitness(recipe.window, recipe.objective(now.step), members, lives, now))(
        members
    )
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
