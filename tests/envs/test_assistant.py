"""The assistant: who its users are, and when they click."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.envs.assistant import LOVE, QUALITY, WHIM, Assistant, AssistantTask, State


def test_users_love_one_genre_and_those_of_the_extrapolation_split_two() -> None:
    environment, keys = Assistant(), jax.random.split(jax.random.key(0), 400)
    for split, loved in (("train", 1), ("extrapolation", 2)):
        preference = np.asarray(jax.vmap(lambda key, split=split: environment.draw_task(key, split))(keys).preference)
        assert np.all(np.abs(preference[:, 0] - QUALITY) <= WHIM)
        genres = np.sort(preference[:, 1:], axis=1)
        assert np.all(np.abs(genres[:, -loved:] - LOVE) <= WHIM)
        assert np.all(np.abs(genres[:, :-loved]) <= WHIM)
        favourites = np.bincount(np.argmax(preference[:, 1:], axis=1), minlength=environment.genres)
        assert np.all(favourites > 60)  # 100 each


def test_clicks_are_logistic_and_the_session_ends() -> None:
    environment = Assistant(steps=3, items=2, genres=2)
    task = AssistantTask(jnp.array([1.0, 2.0, -0.5]))
    state = State(jnp.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), jnp.int32(2))
    keys = jax.random.split(jax.random.key(0), 20_000)
    steps = jax.vmap(lambda key: environment.step(key, state, jnp.int32(0), task))(keys)
    chance = 1.0 / (1.0 + np.exp(-1.5))
    np.testing.assert_allclose(steps.info["expected_reward"], chance, rtol=1e-6)
    assert abs(float(jnp.mean(steps.reward)) - chance) < 4 * np.sqrt(chance * (1 - chance) / 20_000)
    assert np.all(steps.terminated)
    assert not np.any(steps.truncated)
    np.testing.assert_array_equal(steps.observation, steps.state.items.reshape(-1, 6))
