"""Controllers for a pendulum of known physics: a fast one for every task, and a near-optimal one as its reference."""

import math

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.pendulum import SPEED, STANDARD, TORQUE, Pendulum, PendulumTask, State, advance
from metarl_jax.oracles.play import Act, play

STIFFNESS = 2.5  # rad/s, both closed-loop poles of the held pendulum
TRUST = 1.5  # holding starts where it needs less than this multiple of the motor's torque
PUMPING = 10.0  # s, gain of the energy controller


def swing_up(state: State, task: PendulumTask) -> Array:
    """The action for a pendulum of physics `task`, [1].

    Far from the top the energy E = I w^2 / 2 + m g l / 2 (cos angle - 1) is steered to that of the upright rest, 0: a
    torque in the direction of w adds energy (Astrom & Furuta 2000). Where the motor is strong enough to hold, gravity
    is cancelled and both poles are placed at -`STIFFNESS`. Friction is compensated throughout.
    """
    inertia = task.mass * task.length**2 / 3.0
    weight = task.mass * task.gravity * task.length / 2.0
    strength = TORQUE * jnp.abs(task.gain)
    energy = inertia * state.speed**2 / 2.0 + weight * (jnp.cos(state.angle) - 1.0)
    pump = jnp.where(state.speed < 0.0, PUMPING, -PUMPING) * energy
    restoring = inertia * STIFFNESS * (STIFFNESS * state.angle + 2.0 * state.speed)
    hold = -restoring - weight * jnp.sin(state.angle)
    near = (jnp.abs(hold) < TRUST * strength) & (jnp.abs(state.angle) < 1.0)
    torque = jnp.where(near, hold, jnp.clip(pump, -strength, strength)) + task.friction * state.speed
    command = torque / jnp.where(task.gain == 0.0, jnp.inf, task.gain)  # 0 for a motor without gain
    return jnp.clip(command, -TORQUE, TORQUE)[None]


def nominal_task() -> PendulumTask:
    """The physics of Gymnasium's Pendulum-v1."""
    return PendulumTask(**{name: jnp.asarray(value, float) for name, value in STANDARD.items()})


def control_return(environment: Pendulum, believed: PendulumTask, key: Key, task: PendulumTask) -> Array:
    """The return of one episode of `task` under the controller for the physics `believed`, [] float32."""
    return play(environment, lambda key, state, task: swing_up(state, believed), key, task).total


def reference_returns(environment: Pendulum, key: Key, task: PendulumTask) -> Array:
    """The return of the controller that knows the physics, in each episode of a trial, [episodes].

    A good controller, not a bound: on the standard physics it returns -151, and the near-optimal policy on a fine grid
    -140.
    """
    keys = jax.random.split(key, environment.episodes)
    return jax.vmap(lambda key: control_return(environment, task, key, task))(keys)


def cost_to_go(task: PendulumTask, cells: int = 121, torques: int = 11, steps: int = 200) -> Array:
    """The least cost of `steps` steps from every point of a grid of angles and speeds, [cells, cells].

    Value iteration, V(x) <- min over torques of cost(x, torque) + V(x'), with bilinear interpolation of V between grid
    points. O(steps cells^2 torques): a second for one task, too slow for thousands.
    """
    angle = jnp.linspace(-math.pi, math.pi, cells, endpoint=False)
    speed = jnp.linspace(-SPEED, SPEED, cells)
    torque = jnp.linspace(-TORQUE, TORQUE, torques)
    angle, speed, torque = jnp.meshgrid(angle, speed, torque, indexing="ij")
    cost = angle**2 + 0.1 * speed**2 + 0.001 * torque**2
    ahead = advance(State(angle, speed, jnp.int32(0)), torque, task)

    def one_step_more(_: Array, value: Array) -> Array:
        return jnp.min(cost + interpolate(value, ahead), axis=-1)

    return jax.lax.fori_loop(0, steps, one_step_more, jnp.zeros((cells, cells)))


def interpolate(value: Array, state: State) -> Array:
    """The bilinear value [...] at `state` of a table over angles, which are periodic, and speeds."""
    cells = len(value)
    across = (state.angle + math.pi) / (2.0 * math.pi) * cells
    along = (state.speed + SPEED) / (2.0 * SPEED) * (cells - 1)
    i, j = jnp.floor(across).astype(jnp.int32), jnp.clip(jnp.floor(along).astype(jnp.int32), 0, cells - 2)
    right, up = across - i, along - j

    def row(i: Array) -> Array:
        return (1.0 - up) * value[i % cells, j] + up * value[i % cells, j + 1]

    return (1.0 - right) * row(i) + right * row(i + 1)


def greedy(value: Array, torques: int = 41) -> Act:
    """The policy that is greedy with respect to the cost to go `value`."""
    torque = jnp.linspace(-TORQUE, TORQUE, torques)

    def act(key: Key, state: State, task: PendulumTask) -> Array:
        ahead = jax.vmap(lambda torque: advance(state, torque, task))(torque)
        return torque[jnp.argmin(0.001 * torque**2 + interpolate(value, ahead))][None]

    return act
