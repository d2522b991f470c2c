"""The estimators of the meta-gradient against their limits: which are unbiased, and that the others are not."""

import functools
import itertools
import pathlib
import runpy
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from metarl_jax.algorithms.maml import MAML
from metarl_jax.core.learner import ESTIMATORS, Estimator
from metarl_jax.core.types import Array, Experience
from metarl_jax.oracles.meta_gradient import limit, value

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(SCRIPTS))
    SCRIPT = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "estimators.py")))
SETTING = SCRIPT.Setting(states=5, actions=3, concentration=0.3)
ROWS = {
    "first_order": SCRIPT.Method("first_order", ESTIMATORS["first_order"], ""),
    "naive": SCRIPT.Method("naive", ESTIMATORS["naive"], ""),
    "naive,returns": SCRIPT.Method("naive,returns", Estimator(None, baseline=False), ""),
    "lvc": SCRIPT.Method("lvc", ESTIMATORS["lvc"], ""),
    "decay .5": SCRIPT.Method("decay .5", Estimator(0.5), "", lambda_=0.95),
    "decay 1": SCRIPT.Method("decay 1", Estimator(1.0), "", lambda_=0.95),
    "control_variates": SCRIPT.Method("control_variates", ESTIMATORS["control_variates"], ""),
    "dice": SCRIPT.Method("dice", ESTIMATORS["dice"], ""),
}
UNBIASED = ["decay 1", "control_variates", "dice"]
COUNT, REPEATS = 2, 4096  # trajectories of an estimate, and estimates


def test_the_decay_of_the_table_is_that_of_maml() -> None:
    assert ESTIMATORS["loaded_dice"].curvature == MAML.credit_decay


@functools.cache
def drawn() -> Any:
    return SCRIPT.draw_setup(SETTING, jax.random.key(0))


@functools.cache
def products() -> dict[str, np.ndarray]:
    """Estimates [R, S, A] of (I + α H) v for the exact v, by each method."""

    setup = drawn().setup

    def batch(methods: tuple[Any, ...], keys: Array) -> dict[str, Array]:
        found = SCRIPT.estimates(methods, SETTING, setup, COUNT, keys)
        return {method.name: found[method.name, "jacobian"] for method in methods}

    alike: dict[Any, list[Any]] = {}
    for method in ROWS.values():
        alike.setdefault((method.estimator.baseline, method.lambda_), []).append(method)
    found: dict[str, np.ndarray] = {}
    for index, methods in enumerate(alike.values()):
        keys = jax.random.split(jax.random.key(index), (REPEATS // 256, 256))
        run = jax.jit(functools.partial(jax.lax.map, functools.partial(batch, tuple(methods))))
        found |= {name: np.asarray(x, np.float64).reshape(REPEATS, 5, 3) for name, x in run(keys).items()}
    return found


def chance(estimates: np.ndarray, expected: np.ndarray) -> float:
    """How likely a mean is as far off as this one or farther (Hotelling's T²).

    Some directions never vary: what a table's gradients of one state sum to is 0. There the mean must be right.
    """
    off = (estimates - expected).reshape(len(estimates), -1)
    spread, axes = np.linalg.eigh(np.cov(off.T))
    varies = spread > 1e-9 * spread[-1]
    mean, count, size = off.mean(axis=0) @ axes, len(off), int(varies.sum())
    if np.linalg.norm(mean[~varies]) > 1e-4 * np.linalg.norm(expected):
        return 0.0
    squared = count * np.sum(mean[varies] ** 2 / spread[varies])
    return float(scipy.stats.f.sf(squared * (count - size) / (size * (count - 1)), size, count - size))


@functools.cache
def limits() -> dict[str, np.ndarray]:
    def of_all(setup: Any) -> dict[str, Array]:
        find = functools.partial(limit, SETTING.process(setup.task), setup.theta, SETTING.rate)
        return {name: find(method.estimator) for name, method in ROWS.items()}

    with jax.enable_x64(True):
        setup = jax.tree.map(lambda x: x.astype(jnp.float64), drawn().setup)
        return jax.tree.map(np.asarray, jax.jit(of_all)(setup))


@pytest.mark.parametrize("estimator", [name for name in ROWS if name != "first_order"])
def test_the_mean_of_an_estimator_is_its_limit(estimator: str) -> None:
    assert chance(products()[estimator], limits()[estimator]) > 1e-3


@pytest.mark.parametrize("estimator", [name for name in ROWS if name != "first_order"])
def test_the_mean_is_the_meta_gradient_of_those_and_only_those_that_have_all_of_the_hessian(estimator: str) -> None:
    agreement = chance(products()[estimator], drawn().exact[0])
    assert agreement > 1e-3 if estimator in UNBIASED else agreement < 1e-9


def test_the_first_order_is_the_gradient_after_adaptation() -> None:
    np.testing.assert_allclose(
        products()["first_order"], np.broadcast_to(limits()["first_order"], (REPEATS, 5, 3)), atol=1e-6
    )
    assert np.linalg.norm(limits()["first_order"] - drawn().exact[0]) > 0.1 * np.linalg.norm(drawn().exact[0])


class Enumerated:
    """All pairs of trajectories of two steps, through a policy that has no critic to lean on."""

    setting = SCRIPT.Setting(states=3, actions=2, steps=2, rate=2.0, concentration=0.5)

    def __init__(self) -> None:
        setup = SCRIPT.draw_setup(self.setting, jax.random.key(3)).setup
        self.setup = setup._replace(values=jnp.zeros(3))
        single = list(itertools.product(range(2), range(3), range(2)))
        pairs = np.array(list(itertools.product(single, single)))  # [144, N, (action, state, action)]
        self.state = jnp.asarray(np.stack([np.zeros_like(pairs[:, :, 0]), pairs[:, :, 1]], axis=1))  # [144, T, N]
        self.action = jnp.asarray(np.stack([pairs[:, :, 0], pairs[:, :, 2]], axis=1))
        self.reward = setup.task.reward_mean[self.state, self.action]

    def log_prob(self, theta: Array) -> Array:
        return jax.nn.log_softmax(theta)[self.state, self.action]  # [144, T, N]

    def chance(self, theta: Array) -> Array:
        """Of each pair, [144]."""
        moves = self.setup.task.transition[self.state[:, 0], self.action[:, 0], self.state[:, 1]]
        return jnp.prod(jnp.exp(jnp.sum(self.log_prob(theta), axis=1)) * moves, axis=1)

    def after(self, theta: Array) -> Array:
        """V(θ + α/N Σ_n Σ_t γ^t G_t ∇ log π(a_t|s_t)) of each pair, [144]."""
        gamma = self.setting.gamma
        returns = jnp.stack([self.reward[:, 0] + gamma * self.reward[:, 1], gamma * self.reward[:, 1]], axis=1)
        steps = jax.jacobian(lambda theta: jnp.mean(jnp.sum(returns * self.log_prob(theta), axis=1), axis=1))(theta)
        process = self.setting.process(self.setup.task)
        return jax.vmap(functools.partial(value, process))(theta + self.setting.rate * steps)

    def lives(self, method: Any) -> Experience:
        """The pairs as records of lives [144, K+1, T, N]; what comes after the adaptation is not looked at."""
        life = SCRIPT.live(method, self.setting, self.setup, 2, jax.random.key(0))[0]
        lives = jax.tree.map(lambda x: jnp.broadcast_to(x, (144, *x.shape)), life)
        twice = functools.partial(jnp.repeat, repeats=2, axis=1)
        state, action, reward, log_prob = (
            twice(x[:, None]) for x in (self.state, self.action, self.reward, self.log_prob(self.setup.theta))
        )
        timestep = lives.timestep._replace(observation=jax.nn.one_hot(state, 3))
        return lives._replace(timestep=timestep, action=action, reward=reward, log_prob=log_prob)


def test_with_hindsight_the_expected_estimate_is_the_gradient_of_what_few_trajectories_lead_to() -> None:
    """J_II(θ) = E[ V(θ + α/N Σ_n g(τ_n)) ], the expectation over N = 2 trajectories enumerated."""
    all_pairs = Enumerated()
    setting, setup = all_pairs.setting, all_pairs.setup
    method = SCRIPT.Method("e_maml,returns", Estimator(None, baseline=False, hindsight=True), "")
    exact = jax.grad(lambda theta: all_pairs.chance(theta) @ all_pairs.after(theta))(setup.theta)

    def estimate(share: float, life: Experience, worth: Array) -> Array:
        past = SCRIPT.credited(method, setting, jax.tree.map(lambda x: x[None], life), worth[None])
        past = past._replace(credit=past.credit._replace(hindsight=share * past.credit.hindsight))
        one = jax.tree.map(lambda x: x[0], past)
        return SCRIPT.gradient(method, setting, setup, SCRIPT.exact_loss(method, setting, setup), one)

    def expected(share: float) -> Array:
        found = jax.jit(jax.vmap(functools.partial(estimate, share)))
        return jnp.tensordot(all_pairs.chance(setup.theta), found(all_pairs.lives(method), worths), 1)

    worths = all_pairs.after(setup.theta)
    np.testing.assert_allclose(jnp.sum(all_pairs.chance(setup.theta)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(expected(1.0), exact, atol=1e-6)
    assert jnp.linalg.norm(expected(0.0) - exact) > 0.1 * jnp.linalg.norm(exact)
