"""The assistant: who its users are, when they click, and that knowing them pays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.assistant import LOVE, QUALITY, WHIM, Assistant, AssistantTask, State
from metarl_jax.oracles import assistant


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


def test_the_belief_is_the_bayesian_regression() -> None:
    """Against the closed form for all clicks at once: (P + X'X / (16 v))^-1 (P m + X'(c - 1/2) / (4 v)), v = 1/4."""
    environment, random = Assistant(), np.random.default_rng(0)
    items, clicks = random.uniform(-1, 1, (9, 5)).astype(np.float32), random.integers(0, 2, 9).astype(np.float32)
    start = belief = assistant.prior(environment)
    for item, click in zip(items, clicks, strict=True):
        belief = assistant.learned(belief, jnp.asarray(item), jnp.asarray(click))
    np.testing.assert_allclose(belief.precision, start.precision + items.T @ items / 4.0, rtol=1e-4)
    np.testing.assert_allclose(belief.weighted, start.weighted + items.T @ (clicks - 0.5), rtol=1e-4, atol=1e-5)
    drawn = jax.vmap(lambda key: environment.draw_task(key, "train").preference)(
        jax.random.split(jax.random.key(0), 20_000)
    )
    covariance = np.cov(np.asarray(drawn).T)
    np.testing.assert_allclose(np.linalg.inv(np.asarray(start.precision)), covariance, atol=0.03)


def test_recommenders_rank_as_they_should() -> None:
    """Chance < popularity < Thompson < known preferences, session by session on the same users."""
    environment = Assistant()

    def sessions(key: Key) -> dict[str, Array]:
        task_key, key = jax.random.split(key)
        task = environment.draw_task(task_key, "train")
        recommenders: dict[str, Any] = {
            "random": assistant.at_random,
            "popular": assistant.popular(environment),
            "thompson": assistant.thompson,
            "known": assistant.knowing(task),
        }
        return {
            name: assistant.session_return(environment, recommend, key, task)
            for name, recommend in recommenders.items()
        }

    clicks = {
        k: float(v.mean()) for k, v in jax.jit(jax.vmap(sessions))(jax.random.split(jax.random.key(0), 500)).items()
    }
    assert abs(clicks["random"] - 25.0) < 0.4  # features are symmetric about zero
    assert clicks["random"] + 8.0 < clicks["popular"] < clicks["thompson"] - 1.0 < clicks["known"] - 4.0
