"""The losses: their clip, their curvature, their baseline, and which steps count."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import ENVIRONMENT, rolled
from records import experience, record
from trees import close, double

from metarl_jax.algorithms import make
from metarl_jax.core.losses import actor_critic, ppo, reinforce
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Array, Credit, Experience
from metarl_jax.envs import make as make_environment
from metarl_jax.envs.tabular import RandomMDP


def test_ppo_stops_at_its_clip() -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=3)
    policy = mlp_policy(environment, (4,), critic=True)
    params = policy.init(jax.random.key(0))
    task = environment.sample_task(jax.random.key(1), "train")
    seen = rolled(environment, policy, params, task, 4, 3)
    distant = seen._replace(log_prob=seen.log_prob - 1.0)  # ratio e > 1.2
    credit = Credit(jnp.ones((3, 4)), seen.value)
    loss = ppo(policy, entropy=0.0, value_weight=0.0).surrogate
    value, slope = jax.jit(jax.value_and_grad(loss))(params, distant, credit)
    np.testing.assert_allclose(value, -1.2, rtol=1e-6)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 0.0, atol=1e-6), slope)


@pytest.mark.parametrize("loss", [actor_critic, reinforce])
def test_the_bonus_rewards_entropy(loss: Any) -> None:
    """Where no action is better than another, the loss is minus the entropy by its weight."""
    policy = mlp_policy(ENVIRONMENT, (), critic=True)
    params = jax.tree.map(lambda x: x + 0.5, policy.init(jax.random.key(0)))
    seen = experience(np.eye(3)[:, None], np.zeros((3, 1), int), np.zeros((3, 1)), np.ones((3, 1), bool))
    output = policy.unroll(params, (), seen.timestep)
    found = loss(policy, entropy=0.3).surrogate(params, seen, Credit(seen.reward, output.value))
    np.testing.assert_allclose(found, -0.3 * policy.distribution.entropy(output.distribution).mean(), rtol=1e-5)


def test_masked_steps_of_a_gaussian_policy_cannot_overflow() -> None:
    """The ratio of an action after the quota may be infinite; its weight of 0 must not give 0 times infinity."""
    environment = make_environment("navigation", steps=3)
    algorithm = make("maml", hidden=(4,), envs=2)
    world = algorithm.recipe(environment).window.world
    params = world.policy.init(jax.random.key(0))
    task = environment.sample_task(jax.random.key(1), "train")
    seen = rolled(environment, world.policy, params, task, 2, 6, 1)
    assert not np.any(seen.weight[3:])
    wild = seen._replace(log_prob=jnp.where(seen.weight > 0, seen.log_prob, -1e4))
    loss = algorithm.recipe(environment).objective(jnp.int32(0)).loss
    slope = jax.jit(jax.value_and_grad(loss))
    values = [slope(params, record) for record in (seen, wild)]
    jax.tree.map(np.testing.assert_array_equal, *values)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(values))


def test_every_curvature_has_the_same_gradient_and_its_own_hessian() -> None:
    """On one episode of three steps and the first step of another, in float64, against the sums of the definition."""
    with jax.enable_x64(True):
        policy = mlp_policy(ENVIRONMENT, ())
        zeros = double(policy.init(jax.random.key(0)))
        flat, unravel = jax.flatten_util.ravel_pytree(zeros)
        θ = flat + jnp.cos(jnp.arange(flat.size))
        seen = record([1.0, -2.0, 3.0, 0.5], [False, False, True, False], [False] * 4)
        observation = jnp.eye(3)[jnp.array([0, 2, 1, 0])][:, None]
        seen = double(seen._replace(
            action=jnp.array([[1], [0], [1], [1]]), timestep=seen.timestep._replace(observation=observation)
        ))  # fmt: skip

        def log_probs(θ: Any) -> Any:
            logits = policy.unroll(unravel(θ), (), seen.timestep).distribution
            return policy.distribution.log_prob(logits, seen.action)[:, 0]

        seen = seen._replace(log_prob=log_probs(θ)[:, None])
        returns = np.array([2.0, 1.0, 3.0, 0.5])
        g, bend = jax.jit(lambda θ: (jax.jacobian(log_probs)(θ), jax.hessian(log_probs)(θ)))(θ)
        for c in (None, 0.0, 0.5, 1.0):
            loss = reinforce(policy, gamma=1.0, baseline=False, normalise=False, curvature=c)
            total = lambda θ, loss=loss: -4 * loss(unravel(θ), seen)  # noqa: E731
            slope, hessian = jax.jit(lambda θ, total=total: (jax.grad(total)(θ), jax.hessian(total)(θ)))(θ)
            close(slope, returns @ g)
            expected = np.einsum("t,tij->ij", returns, bend)
            if c is not None:
                expected = expected + np.einsum("t,ti,tj->ij", returns, g, g)
                for t, u in ((1, 0), (2, 0), (2, 1)):
                    cross = np.outer(g[t], g[u])
                    expected = expected + c ** (t - u) * returns[t] * (cross + cross.T)
            close(hessian, expected, atol=1e-8)


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
def test_a_leave_one_out_baseline_is_unbiased_and_a_fitted_one_shrinks_the_gradient(envs: int, left: float) -> None:
    """Expectations over all records are enumerated; `left` is the share of the gradient that a fit to all leaves."""
    with jax.enable_x64(True):
        world = Enumerated(envs)
        exact, (with_none, with_others, with_all) = world.gradient(), world.estimated()
    np.testing.assert_allclose(with_none, exact, atol=1e-12)
    np.testing.assert_allclose(with_others, exact, atol=1e-7)
    assert with_all @ exact / (exact @ exact) == pytest.approx(left, abs=0.01)


def test_normalisation_does_not_amplify_rounding_errors() -> None:
    """Where nobody finds the exit of a maze, all returns are as predicted, and the rest is rounding."""
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
