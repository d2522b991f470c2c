"""Fault 12: a wrong gradient. In float64 on processes so small that all that can happen is counted."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import test_laws as laws
from oracles.test_meta_gradient import differences
from scripts.test_estimators import SCRIPT

from metarl_jax.core.learner import ESTIMATORS
from metarl_jax.core.types import Array
from metarl_jax.envs.tabular import TabularTask
from metarl_jax.oracles.meta_gradient import adapted, limit, meta_gradient, policy_gradient, state_values, value

pytestmark = pytest.mark.fault(12)

SETTING = SCRIPT.Setting(states=4, actions=2, steps=2, rate=2.0)
TRAJECTORIES = 8  # two actions, then two states, then two actions
LIVES = 512  # enough to meet every trajectory
QUICK = ("dice",)
UNBIASED = ("dice", "control_variates")
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}  # far below the 1e-4 that is asked


class Problem(NamedTuple):
    """State 0 leads to 1 or 2, both to 3, which pays nothing and is not left."""

    setup: Any
    process: Any


def problem() -> Problem:
    keys = jax.random.split(jax.random.key(5), 3)
    chance = jax.random.uniform(keys[0], (2,), minval=0.2, maxval=0.8)
    transition = jnp.zeros((4, 2, 4)).at[0, :, 1].set(chance).at[0, :, 2].set(1 - chance).at[1:, :, 3].set(1.0)
    task = TabularTask(transition, jax.random.uniform(keys[1], (4, 2)).at[3].set(0.0))
    theta, process = jax.random.normal(keys[2], (4, 2)), SETTING.process(task)
    after = [policy_gradient(process, adapted(process, theta, SETTING.rate, k)) for k in (1, 2)]
    return Problem(SCRIPT.Setup(task, theta, state_values(process, theta), jnp.stack(after)), process)


class Enumerated(NamedTuple):
    """All that an agent can meet before its adaptation, [M] trajectories."""

    chance: np.ndarray  # [M]
    actions: np.ndarray  # [M, T]
    states: np.ndarray  # [M, T]
    reward: np.ndarray  # [M, T]
    estimates: np.ndarray  # [M, S, A]


@functools.cache
def enumerated(name: str) -> Enumerated:
    """One life for each trajectory, out of many drawn, with the estimate of the meta-gradient from it."""
    setup, method = problem().setup, SCRIPT.Method(name, ESTIMATORS[name], "")

    def one(key: Array) -> Any:
        lived, table = SCRIPT.live(method, SETTING, setup, 1, key)
        worth = value(SETTING.process(setup.task), table)
        past = SCRIPT.credited(method, SETTING, jax.tree.map(lambda x: x[None], lived), worth[None])
        past = jax.tree.map(lambda x: x[0], past)
        seen = past.seen
        kept = (seen.timestep.observation, seen.action, seen.next_observation, seen.reward, seen.log_prob)
        return [x[0, :, 0] for x in kept], SCRIPT.gradient(
            method, SETTING, setup, SCRIPT.exact_loss(method, SETTING, setup), past
        )

    keys = jax.random.split(jax.random.key(6), LIVES)
    (at, actions, to, reward, log_prob), estimates = jax.device_get(jax.jit(jax.vmap(one))(keys))
    states, following = np.argmax(at, axis=-1), np.argmax(to, axis=-1)
    rows = np.unique(np.concatenate([states, actions], axis=1), axis=0, return_index=True)[1]
    chance = np.exp(log_prob) * np.asarray(setup.task.transition)[states, actions, following]
    return Enumerated(np.prod(chance, axis=1)[rows], *(x[rows] for x in (actions, states, reward, estimates)))


def expected_return(all_of: Enumerated, setup: Any, process: Any, theta: Array) -> Array:
    """Σ_τ p(τ) V(θ + α g(τ)), where g is the gradient of log π, weighted with returns less the values of `setup`."""
    ahead = all_of.reward[:, 0] + process.gamma * all_of.reward[:, 1]
    gains = np.stack([ahead, all_of.reward[:, 1]], axis=1) - np.asarray(setup.values)[all_of.states]
    weights = process.gamma ** np.arange(2) * gains

    def log_probs(theta: Array) -> Array:
        return jax.nn.log_softmax(theta)[all_of.states, all_of.actions]  # [M, T]

    scores = jax.jacobian(log_probs)(theta)  # [M, T, S, A]
    moved = theta + SETTING.rate * jnp.einsum("mt,mtsa->msa", weights, scores)
    unmoved = jnp.sum(log_probs(setup.theta), axis=1)
    chance = all_of.chance * jnp.exp(jnp.sum(log_probs(theta), axis=1) - unmoved)
    return jnp.sum(chance * jax.vmap(functools.partial(value, process))(moved))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in ESTIMATORS])
def test_the_expected_estimate_is_what_its_theory_says(name: str) -> None:
    """With E-MAML the gradient of the expected return, by differences; of the others the limit, in closed form."""
    with jax.enable_x64(True):
        (setup, process), all_of = problem(), enumerated(name)
        assert len(all_of.chance) == TRAJECTORIES
        np.testing.assert_allclose(np.sum(all_of.chance), 1.0, rtol=1e-12)
        assert all_of.estimates.dtype == np.float64
        mean = np.einsum("m,msa->sa", all_of.chance, all_of.estimates)
        if ESTIMATORS[name].hindsight:
            total = functools.partial(expected_return, all_of, setup, process)
            expected = differences(total, setup.theta).reshape(setup.theta.shape)
        else:
            expected = limit(process, setup.theta, SETTING.rate, ESTIMATORS[name])
        np.testing.assert_allclose(mean, expected, **CLOSE)
        if name in UNBIASED:
            np.testing.assert_allclose(mean, meta_gradient(process, setup.theta, SETTING.rate, 1), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("variant", laws.DIFFERENTIATED)
def test_the_meta_gradient_of_a_recorded_life_equals_central_differences(variant: str) -> None:
    laws.test_the_meta_gradient_equals_central_differences(variant)
