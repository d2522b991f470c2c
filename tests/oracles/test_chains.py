"""The references of chains."""

import jax
import numpy as np

from metarl_jax.envs import make
from metarl_jax.oracles import reference


def test_the_best_of_a_and_c_is_worth_what_theory_says() -> None:
    environment = make("random_abc")
    tasks = jax.vmap(lambda key: environment.draw_task(key, "train"))(jax.random.split(jax.random.key(0), 20_000))
    best = np.asarray(reference(environment)(jax.random.key(0), tasks))[:, 0]  # type: ignore[misc]
    assert abs(best.mean() - 19 / 48) < 4 * best.std() / np.sqrt(best.size)
