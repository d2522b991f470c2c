"""CartPole against Gymnasium's, step by step."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Step
from metarl_jax.envs import CartPole
from metarl_jax.envs.cartpole import ANGLE_LIMIT, POSITION_LIMIT, CartPoleTask, State

EPISODES, STEPS = 1_000, 200  # a random policy never lasts 200 steps


@pytest.fixture(scope="module")
def ours() -> tuple[np.ndarray, np.ndarray, Step]:
    """Starts [N, 4], actions [N, T] and the steps that follow, past the end of the episode; in float64, as the peer's.

    The pole is unstable, so that a difference in rounding would grow from step to step.
    """
    environment = CartPole(physics="standard", flip=False)

    def advance(state: State, action: jax.Array) -> tuple[State, Step]:
        step = environment.step(jax.random.key(0), state, action, task)
        return step.state, step

    with jax.enable_x64(True):
        task = environment.sample_task(jax.random.key(0), "test")
        start_key, action_key = jax.random.split(jax.random.key(1))
        actions = jax.random.randint(action_key, (EPISODES, STEPS), 0, 2, jnp.int32)
        starts, states = jax.vmap(lambda key: environment.reset(key, task))(jax.random.split(start_key, EPISODES))
        steps = jax.jit(jax.vmap(lambda state, actions: jax.lax.scan(advance, state, actions)[1]))(states, actions)
        return np.asarray(starts), np.asarray(actions), jax.tree.map(np.asarray, steps)


def test_a_thousand_random_episodes_agree_with_gymnasium(ours: tuple[np.ndarray, np.ndarray, Step]) -> None:
    starts, actions, steps = ours
    peer: Any = gymnasium.make("CartPole-v1")
    peer.reset(seed=0)
    for episode in range(EPISODES):
        peer.reset()
        peer.unwrapped.state = starts[episode].astype(np.float64)
        for t in range(STEPS):
            observation, reward, terminated, truncated, _ = peer.step(actions[episode, t])
            np.testing.assert_allclose(steps.observation[episode, t], observation, rtol=1e-6, atol=1e-7)
            assert (reward, terminated, truncated) == (steps.reward[episode, t], steps.terminated[episode, t], False)
            if terminated:
                break
        assert terminated


def test_starts_have_the_distribution_of_gymnasium(ours: tuple[np.ndarray, np.ndarray, Step]) -> None:
    starts = ours[0]
    assert np.all(np.abs(starts) <= 0.05)
    assert np.all(np.abs(starts.mean(axis=0)) < 0.004)
    np.testing.assert_allclose(starts.std(axis=0), 0.1 / np.sqrt(12), rtol=0.06)


def gymnasium_with(task: CartPoleTask) -> Any:
    """A fresh peer with these numbers, derived ones included."""
    peer: Any = gymnasium.make("CartPole-v1").unwrapped
    peer.gravity, peer.length, peer.force_mag = float(task.gravity), float(task.half_length), float(task.force)
    peer.masscart, peer.masspole = float(task.cart_mass), float(task.pole_mass)
    peer.total_mass = peer.masscart + peer.masspole
    peer.polemass_length = peer.masspole * peer.length
    peer.reset(seed=0)
    return peer


@pytest.mark.parametrize("physics", ["mild", "wide"])
@pytest.mark.parametrize("split", ["train", "extrapolation"])
def test_every_physics_agrees_with_a_fresh_gymnasium(physics: Any, split: Any) -> None:
    environment, n = CartPole(physics=physics), 100
    tasks = jax.jit(jax.vmap(lambda key: environment.draw_task(key, split)))(jax.random.split(jax.random.key(2), n))
    scale = jnp.array([POSITION_LIMIT, 2.0, ANGLE_LIMIT, 2.0])
    numbers = scale * jax.random.uniform(jax.random.key(3), (n, 4), minval=-1.0, maxval=1.0)
    states = State(*numbers.T, time=jnp.zeros(n, jnp.int32))  # type: ignore[misc]
    actions = jnp.arange(n) % 2
    step = jax.jit(jax.vmap(environment.step, in_axes=(None, 0, 0, 0)))(jax.random.key(0), states, actions, tasks)
    for i in range(n):
        task = jax.tree.map(lambda leaf, i=i: leaf[i], tasks)
        peer = gymnasium_with(task)
        peer.state = np.asarray(numbers[i], np.float64)
        swapped = task.direction < 0
        observation, _, terminated, _, _ = peer.step(int(1 - actions[i] if swapped else actions[i]))
        np.testing.assert_allclose(step.observation[i], observation, rtol=1e-5, atol=1e-5)
        assert terminated == step.terminated[i]


def test_standard_physics_is_one_task_or_its_mirror() -> None:
    keys = jax.random.split(jax.random.key(0), 50)
    for split in ("train", "test"):
        plain = jax.vmap(lambda key, split=split: CartPole(physics="standard", flip=False).sample_task(key, split))(
            keys
        )
        assert {float(np.ptp(leaf)) for leaf in jax.tree.leaves(plain)} == {0.0}
        flipped = jax.vmap(lambda key, split=split: CartPole(physics="standard").sample_task(key, split))(keys)
        assert set(np.asarray(flipped.direction).tolist()) == {1.0, -1.0}


def test_a_fall_on_the_last_step_terminates_and_does_not_truncate() -> None:
    environment = CartPole(steps=1)
    task = environment.draw_task(jax.random.key(0), "train")
    falling = State(*jnp.array([0.0, 0.0, 0.2, 3.0]), time=jnp.int32(0))  # type: ignore[misc]
    step = environment.step(jax.random.key(0), falling, jnp.int32(0), task)
    assert step.terminated
    assert not step.truncated


def test_scrambling_hides_velocities_and_keeps_lengths() -> None:
    environment = CartPole(scrambled=True, steps=200, episodes=16)
    tasks = jax.vmap(lambda key: environment.draw_task(key, "train"))(jax.random.split(jax.random.key(0), 2_000))
    products = np.einsum("nij,nik->njk", tasks.mixing, tasks.mixing)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(2), products.shape), atol=1e-5)
    assert np.all(np.abs(np.asarray(tasks.mixing).mean(axis=0)) < 0.05)  # no direction is preferred
    task = jax.tree.map(lambda leaf: leaf[0], tasks)
    slow, fast = (
        environment.step(jax.random.key(0), State(*jnp.array(numbers), time=jnp.int32(0)), jnp.int32(1), task)  # type: ignore[misc]
        for numbers in ([0.3, 0.0, 0.1, 0.0], [0.3, 0.0, 0.1, 1e-3])
    )
    size = np.hypot(slow.state.position / POSITION_LIMIT, slow.state.angle / ANGLE_LIMIT)
    np.testing.assert_allclose(np.linalg.norm(slow.observation), size, rtol=1e-5)
    assert not np.allclose(fast.state.angular_velocity, slow.state.angular_velocity, atol=1e-4)
    np.testing.assert_allclose(fast.observation, slow.observation, atol=2e-4)  # felt through the angle alone
