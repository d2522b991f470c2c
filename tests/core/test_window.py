"""Windows on lives that go on: what is judged, what is logged, and what follows the end of a window."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import BLIND, played, program
from probes import Line

import metarl_jax
from metarl_jax.algorithms import make
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.envs import make as make_environment


def test_a_trial_in_windows_ends_with_its_quota_or_its_span() -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=2, episodes=2)  # a trial of 4 steps
    options = {"tasks": 1, "width": 4, "epochs": 1, "minibatches": 1, "steps": 3}

    def ages(**more: Any) -> list[int]:
        learner = metarl_jax.make_algorithm("rl2", **options, **more).build(environment)
        step, state, lived = jax.jit(learner.step), learner.init(jax.random.key(0)), []
        for key in jax.random.split(jax.random.key(1), 5):
            state, _ = step(state, key)
            lived.append(int(state.lives.age[0]))
        return lived

    assert ages(lifespan=9) == [1, 2, 1, 2, 1]
    assert ages(lifespan=3, across_episodes=False) == [1, 2, 3, 1, 2]


ESTIMATORS = ("backprop", "evolution")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["meta_gradient", "intrinsic_reward", "rl2"])
def test_lives_go_on_under_both_estimators(name: str, estimator: str) -> None:
    """Half of the lives are in their first window, which pays nothing, and half in their second, which always pays."""
    options = {"steps": 3, "lifespan": 2, "estimator": estimator, "hidden": (4,)}
    options |= BLIND | {"across_episodes": False} if name == "rl2" else {"adaptations": 0}
    learner, step = program(name, Line("late", goal=3), tuple(options.items()))
    state, rewards = learner.init(jax.random.key(0)), []
    for key in jax.random.split(jax.random.key(1), 4):
        state, info = step(state, key)
        rewards.append(float(info["reward"]))
    assert rewards[1:] == [0.5] * 3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_agent_that_never_falls_logs_whole_episodes(estimator: str) -> None:
    """An episode has 20 steps that pay 1, in windows of 4; an agent that stays with chance 1/2 gets 2 on average."""
    how: dict[str, Any] = {"windows": 5, "steps": 4, "lifespan": 50, "across_episodes": False, "estimator": estimator}
    perfect = played(Line("survival"), 1 - 1e-7, **how)
    assert (perfect["return"], perfect["reward"]) == (20.0, 1.0)
    assert played(Line("survival"), 0.5, **how)["return"] == pytest.approx(2.0, abs=1.0)


@pytest.mark.parametrize("memory", ["gru", "none"])
def test_a_window_that_ends_with_an_episode_bootstraps_from_the_next_one(memory: str) -> None:
    """The credit of its last step is r + γ V(what the next window begins with) − V, and so on back from there."""
    algorithm = make("rl2", memory=memory, width=4, hidden=(4,), steps=5, lifespan=3, gamma=0.9, lambda_=0.8)
    environment = make_environment("tabular", states=3, actions=2, steps=5, episodes=4)
    recipe = algorithm.recipe(environment)
    world = recipe.window.world
    leaves, structure = jax.tree.flatten(world.learner.meta_init(jax.random.key(0)))
    noise = jax.random.split(jax.random.key(5), len(leaves))
    params = jax.tree.unflatten(structure, [x + jax.random.normal(k, x.shape) for x, k in zip(leaves, noise)])  # noqa: B905
    task = environment.draw_task(jax.random.key(1), "train")
    scene = opening(environment, world.policy, task, jax.random.key(2), 3)
    windows = []
    live = jax.jit(lambda s, key: rollout(environment, world.policy, params, task, s, key, world.steps, world.quota))
    for key in jax.random.split(jax.random.key(3), 4):
        scene, seen = live(scene, key)
        windows.append(seen)
    credit = jax.jit(recipe.objective(jnp.int32(0)).loss.credit)
    for now, then in itertools.pairwise(windows):
        assert np.all(now.truncated[-1] | now.terminated[-1])
        assert np.all(then.timestep.first[0])
        scale = 1 / max(1 - 0.9, 1 / 5)
        following = np.concatenate([now.value[1:], then.value[:1]])
        delta = np.asarray(now.reward) / scale + 0.9 * following - np.asarray(now.value)
        expected = np.zeros_like(delta)
        ahead = 0.0
        for t in reversed(range(5)):
            ahead = delta[t] + 0.9 * 0.8 * ahead
            expected[t] = ahead
        np.testing.assert_allclose(credit(now).advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(  # nothing follows the last
        credit(windows[-1]).advantage[-1], windows[-1].reward[-1] / scale - windows[-1].value[-1], rtol=1e-4, atol=1e-5
    )


def test_without_ended_episodes_the_logged_return_is_nan() -> None:
    how: dict[str, Any] = {"steps": 2, "lifespan": 2, "across_episodes": False}
    found = played(Line("late", goal=1), 0.5, **how)
    assert np.isnan(found["return"])
    assert 0 < found["reward"] <= 1
