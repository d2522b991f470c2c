"""Windows on lives that go on: what is judged, what is logged, and what follows the end of a window."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Line

from metarl_jax.algorithms import make
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.envs import make as make_environment

ESTIMATORS = ("backprop", "evolution")
SMALL: dict[str, Any] = {"tasks": 4, "envs": 2, "pairs": 2, "sigma": 1e-3}
BLIND: dict[str, Any] = {"memory": "none", "hidden": (4,), "width": 4, "epochs": 1, "minibatches": 1}


@functools.cache
def program(name: str, environment: Line, options: tuple[tuple[str, Any], ...]) -> Any:
    learner = make(name, **SMALL, **dict(options)).build(environment)
    return learner, jax.jit(learner.step)


def played(environment: Line, go: float, windows: int = 6, **options: Any) -> dict[str, float]:
    """What is logged of agents that go with that chance and do not learn, in the last of some windows."""
    learner, step = program("rl2", environment, tuple({**BLIND, "meta_lr": 0.0, **options}.items()))
    state = learner.init(jax.random.key(0))
    head = state.meta_params["actor"]["head"]
    odds = jnp.array([0.0, np.log(go / (1 - go))])
    state.meta_params["actor"]["head"] = {"kernel": jnp.zeros_like(head["kernel"]), "bias": odds}
    for key in jax.random.split(jax.random.key(1), windows):
        state, info = step(state, key)
    return {name: float(value) for name, value in info.items()}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["meta_gradient", "intrinsic_reward", "rl2"])
def test_lives_go_on_under_both_estimators(name: str, estimator: str) -> None:
    """Half of the lives are in the first of two windows, which pays nothing, half in the second, which pays always."""
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
    """Of 20 steps that pay 1, in windows of 4, of which the fifth ends an episode; a coin that falls stays twice."""
    how: dict[str, Any] = {"windows": 5, "steps": 4, "lifespan": 50, "across_episodes": False, "estimator": estimator}
    perfect = played(Line("survival"), 1 - 1e-7, **how)
    assert (perfect["return"], perfect["reward"]) == (20.0, 1.0)
    assert played(Line("survival"), 0.5, **how)["return"] == pytest.approx(2.0, abs=1.0)


@pytest.mark.parametrize(
    ("pays", "slow", "fast"), [("arrival", 0.34, 1 - 1e-7), ("survival", 0.5, 0.9)], ids=["arrival", "survival"]
)
def test_fitness_of_a_window_rises_with_the_agent(pays: Any, slow: float, fast: float) -> None:
    """It arrives three times as often; or it falls less, where every step pays the same."""
    how: dict[str, Any] = {"steps": 12, "lifespan": 50, "across_episodes": False, "estimator": "evolution"}
    better, worse = (-played(Line(pays), go, **how)["loss"] for go in (fast, slow))
    assert better > 1.3 * worse > 0


def test_fitness_of_windows_is_what_is_to_come_discounted() -> None:
    """Arriving every fourth step: rewards 0 0 0 1 in a row, cut at each end, from every step of a window of 12."""
    how: dict[str, Any] = {"steps": 12, "lifespan": 50, "estimator": "evolution", "gamma": 0.5}
    found = played(Line("arrival"), 1 - 1e-7, across_episodes=False, **how)
    units = sum(0.5**t for t in range(12))
    assert -found["loss"] == pytest.approx(np.mean([0.125, 0.25, 0.5, 1.0]) / units, rel=1e-4)
    assert found["reward"] == pytest.approx(0.25)
    assert found["return"] == pytest.approx(1.0)


@pytest.mark.parametrize("objective", ["final", "mean"])
def test_evolution_takes_the_objective(objective: str) -> None:
    options = {"estimator": "evolution", "objective": objective, "hidden": (4,), "inner_lr": 5.0, "pairs": 4}
    learner = make("maml", **{**SMALL, **options}).build(make_environment("bandit", arms=3, pulls=4, rewards="gaussian"))
    _, info = jax.jit(learner.step)(learner.init(jax.random.key(0)), jax.random.key(2))
    before, after = float(info["return_before"]), float(info["return"])
    assert abs(before - after) > 1e-3
    expected = after if objective == "final" else (before + after) / 2
    assert -float(info["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rl2", {"estimator": "evolution", "width": 4}),
        ("rl2", {"width": 4, "epochs": 2, "minibatches": 2}),
        ("maml", {"hidden": (4,), "outer": "ppo", "epochs": 3}),
    ],
    ids=["evolution", "epochs", "ppo"],
)
def test_what_is_annealed_has_come_to_rest_when_it_should(name: str, options: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("memory", ["gru", "none"])
def test_a_window_that_ends_with_an_episode_looks_into_the_next_one(memory: str) -> None:
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
    for key in jax.random.split(jax.random.key(3), 4):
        how = (params, task, scene, key, world.steps, world.quota)
        scene, seen = rollout(environment, world.policy, *how)
        windows.append(seen)
    credit = recipe.objective(jnp.int32(0)).loss.credit
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


def test_nothing_ended_is_logged_as_nothing() -> None:
    how: dict[str, Any] = {"steps": 2, "lifespan": 2, "across_episodes": False}
    found = played(Line("late", goal=1), 0.5, **how)
    assert np.isnan(found["return"])
    assert 0 < found["reward"] <= 1


def test_masked_steps_of_a_gaussian_policy_cannot_overflow() -> None:
    """After the quota of episodes the ratio of an action may be infinite; it must not become 0 times infinity."""
    environment = make_environment("navigation", steps=3)
    algorithm = make("maml", hidden=(4,), envs=2)
    world = algorithm.recipe(environment).window.world
    params = world.policy.init(jax.random.key(0))
    task = environment.sample_task(jax.random.key(1), "train")
    scene = opening(environment, world.policy, task, jax.random.key(2), 2)
    seen = rollout(environment, world.policy, params, task, scene, jax.random.key(3), 6, 1)[1]
    assert not np.any(seen.weight[3:])
    wild = seen._replace(log_prob=jnp.where(seen.weight > 0, seen.log_prob, -1e4))
    loss = algorithm.recipe(environment).objective(jnp.int32(0)).loss
    values = [jax.value_and_grad(loss)(params, record) for record in (seen, wild)]
    jax.tree.map(np.testing.assert_array_equal, *values)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(values))
