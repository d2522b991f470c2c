"""Adapted environments against Gymnasium, step by step; against gymnax they stand in test_adapted.py."""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.test_envs import draw_action
from metarl_jax.core.environment import Box
from metarl_jax.envs import from_gymnax

COUNT = 60  # tasks, states and actions of a comparison


def cart_pole(peer: Any, task: Any) -> None:
    peer.gravity, peer.length, peer.force_mag = float(task.gravity), float(task.length), float(task.force_mag)
    peer.masscart, peer.masspole = float(task.masscart), float(task.masspole)
    peer.total_mass, peer.polemass_length = peer.masscart + peer.masspole, peer.masspole * peer.length


def pendulum(peer: Any, task: Any) -> None:
    peer.g, peer.m, peer.l, peer.max_torque = (float(x) for x in (task.g, task.m, task.l, task.max_torque))


def acrobot(peer: Any, task: Any) -> None:
    peer.LINK_LENGTH_1, peer.LINK_COM_POS_1 = float(task.link_length_1), float(task.link_length_1) / 2
    peer.LINK_MASS_1, peer.LINK_MASS_2 = float(task.link_mass_1), float(task.link_mass_2)


def mountain_car(peer: Any, task: Any) -> None:
    peer.force, peer.gravity = float(task.force), float(task.gravity)


def mountain_car_continuous(peer: Any, task: Any) -> None:
    peer.power = float(task.power)  # its gravity is a literal


Setter = Callable[[Any, Any], None]
# name, how to give the peer the numbers of a task, the fields of the state and how far each reaches
SOURCES: list[tuple[str, Setter, dict[str, tuple[float, float]]]] = [
    ("CartPole-v1", cart_pole, {"x": (-2.39, 2.39), "x_dot": (-2, 2), "theta": (-0.2, 0.2), "theta_dot": (-2, 2)}),
    ("Pendulum-v1", pendulum, {"theta": (-9, 9), "theta_dot": (-8, 8)}),
    (
        "Acrobot-v1",
        acrobot,
        {"joint_angle1": (-3.1, 3.1), "joint_angle2": (-3.1, 3.1), "velocity_1": (-6, 6), "velocity_2": (-9, 9)},
    ),
    ("MountainCar-v0", mountain_car, {"position": (-1.2, 0.6), "velocity": (-0.07, 0.07)}),
    ("MountainCarContinuous-v0", mountain_car_continuous, {"position": (-1.2, 0.44), "velocity": (-0.07, 0.07)}),
]


def legal(environment: Any, actions: Any) -> Any:
    """The actions inside their space: Gymnasium's cars and pendulums see what lies beyond it otherwise."""
    space = environment.action_space
    return jnp.clip(actions, space.low, space.high) if isinstance(space, Box) else actions


@pytest.mark.parametrize(("name", "give", "reach"), SOURCES, ids=[name for name, *_ in SOURCES])
def test_every_physics_agrees_with_a_fresh_gymnasium(name: str, give: Setter, reach: dict[str, Any]) -> None:
    environment = from_gymnax(name, permuted=False)
    fixed = {"gravity": jnp.full(COUNT, 0.0025)} if name == "MountainCarContinuous-v0" else {}
    keys = jax.random.split(jax.random.key(2), COUNT)
    step = jax.jit(jax.vmap(environment.step, in_axes=(None, 0, 0, 0)))
    low, high = np.array(list(reach.values()), np.float32).T
    numbers = low + (high - low) * jax.random.uniform(jax.random.key(3), (COUNT, len(reach)))
    actions = legal(environment, jax.vmap(functools.partial(draw_action, environment))(keys))
    for split in ("train", "extrapolation"):
        tasks = jax.jit(jax.vmap(lambda key, split=split: environment.draw_task(key, split)))(keys)._replace(**fixed)
        states = jax.vmap(environment.reset)(keys, tasks)[1]
        states = states._replace(inner=states.inner.replace(**dict(zip(reach, numbers.T, strict=True))))
        ours = step(jax.random.key(0), states, actions, tasks)
        for i in range(COUNT):
            peer: Any = gymnasium.make(name).unwrapped
            give(peer, jax.tree.map(lambda leaf, i=i: leaf[i], tasks))
            peer.reset(seed=0)
            peer.state = np.asarray(numbers[i], np.float64)
            observation, reward, terminated, _, _ = peer.step(np.asarray(actions[i]))
            np.testing.assert_allclose(ours.observation[i], observation, rtol=2e-4, atol=2e-4)
            np.testing.assert_allclose(ours.reward[i], reward, rtol=1e-4, atol=1e-4)
            assert terminated == ours.terminated[i]
