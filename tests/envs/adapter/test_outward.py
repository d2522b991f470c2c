"""Our environments as environments of gymnax and of Gymnasium."""

import copy
import pickle
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metarl_jax.core.environment import Environment
from metarl_jax.envs import make, to_gymnasium, to_gymnax

OURS: dict[str, dict[str, Any]] = {
    "navigation": {},
    "cartpole": {"scrambled": True},
    "bandit": {},
    "gymnax/Pendulum-v1": {},
    "gymnax/Catch-bsuite": {},
}
every_environment = pytest.mark.parametrize("name", list(OURS))


def with_task(name: str) -> tuple[Environment, Any]:
    environment = make(name, **OURS[name])
    return environment, environment.draw_task(jax.random.key(0), "test")


@every_environment
def test_gymnasiums_checker_passes(name: str) -> None:
    check_env(to_gymnasium(*with_task(name)))  # warnings are errors


def play(env: Any, actions: list[Any]) -> list[Any]:
    return [env.step(action) for action in actions]


@every_environment
def test_seeds_copies_and_pickles_continue_as_the_original(name: str) -> None:
    env = to_gymnasium(*with_task(name))
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(6)]
    first, _ = env.reset(seed=3)
    head = play(env, actions[:3])
    others = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    tail = play(env, actions[3:])
    for other in others:
        assert str(play(other, actions[3:])) == str(tail)
    again = gymnasium.make(env.spec, disable_env_checker=True).unwrapped
    np.testing.assert_array_equal(again.reset(seed=3)[0], first)
    assert str(play(again, actions)) == str(head + tail)


def test_gymnasium_plays_the_same_game() -> None:
    environment, task = with_task("navigation")
    env = to_gymnasium(environment, task)
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.array([1.0, -0.5]))  # in units of the bounds
    np.testing.assert_allclose(observation, [0.1, -0.05], rtol=1e-6)
    np.testing.assert_allclose(reward, -np.linalg.norm(observation - task.goal), rtol=1e-5)
    assert (terminated, truncated, info) == (False, False, {})
    for _ in range(environment.horizon - 1):
        *_, terminated, truncated, _ = env.step(np.zeros(2))
    assert (terminated, truncated) == (False, True)


def test_gymnasium_refuses_what_makes_no_sense() -> None:
    environment, task = with_task("bandit")
    env = to_gymnasium(environment, task)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset first"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action 5 is not in Discrete\(5\)"):
        env.step(5)
    with pytest.raises(ValueError, match="'mean' of bandit"):
        to_gymnasium(environment, {"mean": np.full(5, 2.0)})


@every_environment
def test_gymnax_plays_the_same_game_with_its_automatic_reset(name: str) -> None:
    environment, task = with_task(name)
    env = to_gymnax(environment, task)
    params = env.default_params
    key, step_key = jax.random.split(jax.random.key(1))
    observation, state = env.reset(key, params)
    expected, inner = environment.reset(key, task)
    np.testing.assert_allclose(observation, expected, rtol=1e-6)
    action = env.action_space(params).sample(key)
    observation, state, reward, terminated, truncated, _ = env.step(step_key, state, action, params)
    step = jax.jit(environment.step)(jax.random.split(step_key)[0], inner, action, task)
    np.testing.assert_allclose(observation, step.observation, rtol=1e-6)
    np.testing.assert_allclose(reward, step.reward, rtol=1e-6)
    assert (terminated, truncated) == (step.terminated, step.truncated)
    assert env.observation_space(params).contains(observation)
    assert copy.deepcopy(env).name == environment.name


def test_gymnax_starts_anew_where_the_clock_ended() -> None:
    environment = make("navigation", steps=2)
    env = to_gymnax(environment, {"goal": np.array([0.4, 0.4])})
    params = env.default_params
    assert params.max_steps_in_episode == 2
    _, state = env.reset(jax.random.key(0), params)
    for expected in (False, True):
        observation, state, _, terminated, truncated, info = env.step(jax.random.key(0), state, jnp.ones(2), params)
        assert (bool(terminated), bool(truncated)) == (False, expected)
    np.testing.assert_array_equal(observation, [0.0, 0.0])
    np.testing.assert_allclose(info["final_observation"], [0.2, 0.2], rtol=1e-6)
    assert state.time == 0
