"""The assistant: what is believed of its users, and that knowing them pays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.assistant import Assistant
from metarl_jax.oracles import assistant


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


def test_recommenders_rank_in_the_known_order() -> None:
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
