"""The linear baselines: whose returns a prediction is made of, and what that does to the expected gradient."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.algorithms import make
from metarl_jax.algorithms.maml import inner_loss
from metarl_jax.core.losses import BASELINES, reinforce
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.returns import episode_time, leave_one_out_baseline, linear_baseline
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Array, Experience, Timestep
from metarl_jax.envs import make as make_environment
from metarl_jax.envs.tabular import RandomMDP

STEPS, ENVS, RIDGE = 30, 4, 0.1


def experience(observation: Any, action: Any, reward: Any, first: Any, **more: Any) -> Experience:
    """A record [T, E] in which nothing is terminated; every step counts unless told otherwise."""
    observation, action, reward = jnp.asarray(observation), jnp.asarray(action), jnp.asarray(reward)
    blank, never = jnp.zeros_like(reward), jnp.zeros(reward.shape, bool)
    timestep = Timestep(observation, action, blank, jnp.asarray(first))
    values = {"log_prob": blank, "value": blank, "next_value": blank, "weight": blank + 1, "final": never, **more}
    return Experience(
        timestep=timestep, action=action, reward=reward, terminated=never, truncated=never,
        next_observation=observation, memory=(), **values,
    )  # fmt: skip


def drawn(envs: int = ENVS, states: int = 0, seed: int = 0) -> tuple[Experience, Array]:
    """A record and returns to predict. Environments stop counting at different times; `states` are seen one-hot."""
    generator = np.random.default_rng(seed)
    if states:
        observation = np.eye(states)[generator.integers(states, size=(STEPS, envs))]
    else:
        observation = generator.normal([3.0, -1.0], size=(STEPS, envs, 2))
    first = generator.random((STEPS, envs)) < 0.1
    first[0] = True
    weight = (np.arange(STEPS)[:, None] < generator.integers(STEPS // 2, STEPS, envs)).astype(float)
    target = 5.0 + 2.0 * observation[..., 0] + generator.normal(size=(STEPS, envs))
    seen = experience(observation, np.zeros((STEPS, envs), int), target, first, weight=jnp.asarray(weight))
    return seen, jnp.asarray(target)


of_others, of_all = jax.jit(leave_one_out_baseline), jax.jit(linear_baseline)  # compiled once


def without(seen: Experience, target: Array, left_out: int) -> np.ndarray:
    """Least squares by NumPy without one environment's data, evaluated in that environment, [T]."""
    time = np.asarray(episode_time(seen.timestep.first))[..., None] / 100.0
    observation = np.asarray(seen.timestep.observation)
    features = np.concatenate([observation, observation**2, time, time**2, time**3], axis=-1)  # [T, E, F]
    counts = np.asarray(seen.weight) > 0
    counts[:, left_out] = False
    x, y = features[counts], np.asarray(target)[counts]
    mean, spread = x.mean(axis=0), x.std(axis=0)
    rows = np.concatenate([x - mean, np.diag(np.sqrt(RIDGE * len(x)) * spread)])
    slope = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]), rcond=1e-12)[0]
    return np.clip(y.mean() + (features[:, left_out] - mean) @ slope, y.min(), y.max())


@pytest.mark.parametrize("states", [0, 5])
def test_each_environment_is_predicted_by_least_squares_on_the_others(states: int) -> None:
    """Also of one-hot states, whose features are collinear, and of steps of which some do not count."""
    with jax.enable_x64(True):
        seen, target = drawn(states=states)
        found = jax.jit(functools.partial(leave_one_out_baseline, ridge=RIDGE))(seen, target)
    expected = np.stack([without(seen, target, env) for env in range(ENVS)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_float32_and_many_tasks_at_once_change_nothing() -> None:
    with jax.enable_x64(True):
        doubles = [of_others(*drawn(seed=seed)) for seed in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *(drawn(seed=seed) for seed in range(3)))
    singles = jax.jit(jax.vmap(leave_one_out_baseline))(*batch)
    assert singles.dtype == jnp.float32
    np.testing.assert_allclose(singles, np.stack(doubles), rtol=2e-3)


@pytest.mark.parametrize("envs", [2, ENVS])
def test_a_prediction_does_not_depend_on_the_returns_of_its_own_environment(envs: int) -> None:
    seen, target = drawn(envs)
    moved = target.at[:, 0].add(10.0 * jnp.sin(jnp.arange(STEPS)))
    before, after = of_others(seen, target), of_others(seen, moved)
    np.testing.assert_allclose(after[:, 0], before[:, 0], rtol=1e-5)
    assert np.abs(after[:, 1:] - before[:, 1:]).max() > 0.1
    assert np.abs(of_all(seen, moved) - of_all(seen, target))[:, 0].max() > 0.1


def test_a_step_that_does_not_count_teaches_nothing() -> None:
    seen, target = drawn()
    moved = jnp.where(seen.weight > 0, target, 1e3)
    np.testing.assert_allclose(of_others(seen, moved), of_others(seen, target), rtol=1e-5)


def test_with_nothing_to_learn_from_the_prediction_is_0() -> None:
    np.testing.assert_array_equal(of_others(*drawn(envs=1)), 0.0)
    seen, target = drawn()
    silent = seen._replace(weight=jnp.zeros_like(seen.weight))
    np.testing.assert_array_equal(of_others(silent, target), 0.0)


@pytest.mark.parametrize("envs", [2, 3])
def test_few_returns_and_many_states_predict_nothing_out_of_range(envs: int) -> None:
    """43 collinear features of 20 states, of which the others have seen some, and of times that they have not seen."""
    seen, target = jax.tree.map(lambda *x: jnp.stack(x), *(drawn(envs, states=20, seed=seed) for seed in range(20)))
    low = jnp.min(target, axis=(1, 2), keepdims=True, where=seen.weight > 0, initial=jnp.inf)
    high = jnp.max(target, axis=(1, 2), keepdims=True, where=seen.weight > 0, initial=-jnp.inf)
    found = jax.jit(jax.vmap(leave_one_out_baseline))(seen, target)
    assert jnp.all((low <= found) & (found <= high))


class Enumerated:
    """All trajectories of two steps of each of E environments, and the chance of each."""

    environment = RandomMDP(states=3, actions=2, steps=2, episodes=1)
    policy = mlp_policy(environment, ())

    def __init__(self, envs: int) -> None:
        task = self.environment.sample_task(jax.random.key(2), "train")
        reward_mean, transition = (np.asarray(x, float) for x in (task.reward_mean, task.transition))
        single = list(itertools.product(range(2), range(3), range(2)))  # action, state, action
        self.moves = np.array(list(itertools.product(single, repeat=envs)))  # [M, E, 3]
        self.state = np.stack([0 * self.moves[..., 1], self.moves[..., 1]], axis=1)  # [M, T, E]
        self.action = np.stack([self.moves[..., 0], self.moves[..., 2]], axis=1)
        self.reward = reward_mean[self.state, self.action]
        self.nature = np.prod(transition[0, self.moves[..., 0], self.moves[..., 1]], axis=1)  # [M]
        theta = jax.random.normal(jax.random.key(3), (3, 2))
        self.params = {"actor": {"head": {"kernel": theta.astype(float), "bias": jnp.zeros(2)}}}

    def log_prob(self, params: Any) -> Array:
        head = params["actor"]["head"]
        return jax.nn.log_softmax(head["kernel"] + head["bias"])[self.state, self.action]  # [M, T, E]

    def gradient(self) -> np.ndarray:
        """Of minus the expected reward per step, by differentiating the expectation."""

        def worth(params: Any) -> Array:
            chance = self.nature * jnp.prod(jnp.exp(self.log_prob(params)), axis=(1, 2))
            return -chance @ self.reward.mean(axis=(1, 2))

        return flat(jax.grad(worth)(self.params))

    def estimated(self) -> list[np.ndarray]:
        """The expected gradient of the loss with no baseline and with each, every record with its chance."""
        how = {"gamma": 1.0, "normalise": False}
        losses = [reinforce(self.policy, baseline=name, **how) for name in (False, "leave_one_out", "fitted")]
        first = np.broadcast_to(np.arange(2)[:, None] == 0, self.reward.shape[1:])

        def slope(state: Array, action: Array, reward: Array, log_prob: Array) -> Any:
            observation = jax.nn.one_hot(state, 3, dtype=reward.dtype)
            seen = experience(observation, action, reward, first, log_prob=log_prob)
            return [jax.grad(loss)(self.params, seen) for loss in losses]

        log_prob = self.log_prob(self.params)
        chance = self.nature * jnp.prod(jnp.exp(log_prob), axis=(1, 2))
        each = jax.jit(jax.vmap(slope))(self.state, self.action, self.reward, log_prob)  # [M, ...]
        return [flat(jax.tree.map(lambda x: jnp.tensordot(chance, x, 1), slopes)) for slopes in each]


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize(("envs", "left"), [(2, 0.40), (3, 0.57)])
def test_the_expected_gradient_is_exact_with_the_others_returns_and_shrinks_with_all(envs: int, left: float) -> None:
    """Expectations over all records are enumerated; `left` is the share of the gradient that a fit to all leaves."""
    with jax.enable_x64(True):
        world = Enumerated(envs)
        exact, (with_none, with_others, with_all) = world.gradient(), world.estimated()
    np.testing.assert_allclose(with_none, exact, atol=1e-12)
    np.testing.assert_allclose(with_others, exact, atol=1e-7)
    assert with_all @ exact / (exact @ exact) == pytest.approx(left, abs=0.01)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ["maml", "policy_gradient", "q_learning", "intrinsic_reward"])
def test_the_option_chooses_the_baseline(name: str, baseline: str) -> None:
    more = {"algorithm": "reinforce"} if name == "policy_gradient" else {}
    algorithm, environment = make(name, baseline=baseline, hidden=(4,), **more), RandomMDP(states=3, actions=2)
    seen, _ = drawn(states=3)
    losses = [algorithm.recipe(environment).objective(jnp.int32(0)).loss]
    if name == "maml":
        losses.append(inner_loss(algorithm, mlp_policy(environment, (4,))))
    for loss in losses:
        credited = jax.jit(loss.credit)(seen)
        expected = credited.target - jax.jit(BASELINES[baseline])(seen, credited.target)
        np.testing.assert_allclose(credited.advantage, expected, atol=1e-5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_dice_adapts_without_a_baseline(baseline: str) -> None:
    environment = RandomMDP(states=3, actions=2)
    seen, _ = drawn(states=3)
    dice = make("maml", estimator="dice", baseline=baseline)
    credited = inner_loss(dice, mlp_policy(environment, (4,))).credit(seen)
    np.testing.assert_array_equal(credited.advantage, credited.target)


def test_where_nothing_is_won_or_lost_nothing_is_learned() -> None:
    """Mazes whose exit nobody finds: all returns are as predicted, and what rounding leaves is not blown up to 1."""
    environment = make_environment("maze", size=3, steps=12, episodes=1)
    world = make("maml", hidden=(4,), envs=4).recipe(environment).window.world
    params = world.policy.init(jax.random.key(0))
    credited = jax.jit(reinforce(world.policy, gamma=0.99).credited)

    @jax.jit
    def act(key: Any) -> Experience:
        task = environment.draw_task(key, "train")
        scene = opening(environment, world.policy, task, key, 4)
        return rollout(environment, world.policy, params, task, scene, key, 12, 1)[1]

    largest: dict[bool, list[float]] = {True: [], False: []}  # by whether anyone got out
    for key in jax.random.split(jax.random.key(1), 20):
        seen = act(key)
        largest[bool(np.any(seen.terminated))].append(float(np.max(np.abs(credited(seen).advantage))))
    assert min(map(len, largest.values())) > 2
    assert max(largest[False]) < 0.02
    assert min(largest[True]) > 1.0
