"""What counts as sound, and what is kept where something is not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from records import record

from metarl_jax.algorithms.base import clipped
from metarl_jax.core.diagnostics import followed, unmoved
from metarl_jax.core.guard import each_is_finite, guarded, is_sound, left_out, marked, zeroed

PHI = {"w": jnp.ones((2, 3)), "count": jnp.int32(2)}


@pytest.mark.parametrize(
    ("phi", "more", "sound"),
    [
        (PHI, (), True),
        ((), {"loss": jnp.float32(0)}, True),
        (PHI, {"loss": jnp.float32(np.nan)}, False),
        (PHI, {"return": (jnp.float32(-np.inf), jnp.float32(1))}, False),
        (PHI | {"w": jnp.full(3, np.nan)}, (), False),
        (PHI | {"w": jnp.full(3, 1e18)}, (), True),
        (PHI | {"w": jnp.full(3, 5e30)}, (), False),  # whose products overflow
    ],
)
def test_everything_must_be_finite_and_the_norm_of_phi_too(phi: Any, more: Any, sound: bool) -> None:
    assert bool(is_sound(phi, more)) == sound
    kept = guarded(jnp.bool_(sound), phi, jax.tree.map(jnp.zeros_like, phi))
    for leaf, new in zip(jax.tree.leaves(kept), jax.tree.leaves(phi), strict=True):
        np.testing.assert_array_equal(leaf, new if sound else 0)


def test_a_gradient_whose_norm_overflows_is_not_sound_although_its_clipped_step_is_zero() -> None:
    optimiser = optax.chain(clipped(1.0), optax.sgd(0.1))
    phi = {"w": jnp.ones(3)}
    after, memory, info = followed(optimiser, {"w": jnp.full(3, 1e30)}, phi, unmoved(optimiser, phi))
    np.testing.assert_array_equal(after["w"], phi["w"])
    assert not is_sound(after, memory.optimiser, info)


def test_lives_are_judged_one_by_one_and_keys_are_no_numbers() -> None:
    lives = {
        "seen": jnp.array([[0.0, 1.0], [np.nan, 1.0], [0.0, np.inf]]),
        "key": jax.random.split(jax.random.key(0), 3),
        "age": jnp.arange(3),
    }
    np.testing.assert_array_equal(each_is_finite(lives), [True, False, False])
    np.testing.assert_array_equal(zeroed(lives)["seen"], [[0, 1], [0, 1], [0, 0]])


def test_an_episode_is_left_out_from_its_first_step_to_the_one_that_broke() -> None:
    ends = [False, True, False, True, False]
    seen = record([1.0] * 5, [False] * 5, ends, earned=jnp.full(1, 7.0))
    broken = jnp.array([False, False, False, True, False])[:, None]
    kept = left_out(seen, broken)
    np.testing.assert_array_equal(kept.weight[:, 0], [1, 1, 0, 0, 1])
    assert kept.earned[0] == 7
    first = left_out(seen, jnp.array([False, True, False, False, False])[:, None])
    assert (first.weight[:, 0].tolist(), first.earned[0]) == ([0, 0, 1, 1, 1], 0)


def test_an_observation_that_is_not_finite_marks_its_reward_where_it_counts() -> None:
    seen = record([1.0] * 4, [False] * 4, [False] * 4, weight=jnp.array([1.0, 1.0, 1.0, 0.0])[:, None])
    blind = seen.next_observation.at[1].set(jnp.inf).at[3].set(jnp.nan)
    np.testing.assert_array_equal(marked(seen._replace(next_observation=blind)).reward[:, 0], [1, np.nan, 1, 1])
