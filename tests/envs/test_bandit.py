"""Slot machines: their clock, and what dependent arms share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.envs import Bandit, make
from metarl_jax.envs.two_arm import GAP, MISS, TwoArm


def means_of(law: Any, split: Any, n: int = 200) -> np.ndarray:
    environment = TwoArm(law=law)
    keys = jax.random.split(jax.random.key(1), n)
    return np.asarray(jax.vmap(lambda key: environment.sample_task(key, split).mean)(keys))


@pytest.mark.parametrize(("law", "worse"), [("easy", 0.1), ("medium", 0.25), ("hard", 0.4)])
def test_a_two_task_law_has_its_two_tasks_in_either_split(law: str, worse: float) -> None:
    for split in ("train", "test"):
        means = means_of(law, split)
        np.testing.assert_allclose(np.sort(means, axis=1), [[worse, 1.0 - worse]] * 200, rtol=1e-6)
        assert 60 < np.sum(means[:, 0] < 0.5) < 140


def test_arms_add_up_to_one_until_extrapolation_breaks_it() -> None:
    np.testing.assert_allclose(means_of("uniform", "train").sum(axis=1), 1.0, rtol=1e-6)
    means = means_of("uniform", "extrapolation")
    total = means.sum(axis=1)
    assert np.all(np.abs(total - 1.0) > MISS - 1e-6)
    assert 50 < np.sum(total < 1.0) < 150
    np.testing.assert_allclose(np.abs(np.diff(means, axis=1)), GAP, atol=1e-6)


@pytest.mark.parametrize("environment", [Bandit(pulls=4, clock=True), TwoArm(pulls=4, clock=True)])
def test_the_clock_tells_the_share_of_pulls_done(environment: Any) -> None:
    key = jax.random.key(3)
    task = environment.sample_task(key, "train")
    seen, state = environment.reset(key, task)
    shares = [float(seen[0])]
    for _ in range(4):
        step = environment.step(key, state, jnp.int32(0), task)
        shares, state = [*shares, float(step.observation[0])], step.state
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert float(Bandit(pulls=4).reset(key, task)[0][0]) == 1.0  # no clock, a constant


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown law 'esay'.*did you mean 'easy'"):
        make("two_arm", law="esay")
