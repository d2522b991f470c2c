"""A controller for the arm that knows its physics: a good controller, not a bound."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.pendulum import wrap
from metarl_jax.envs.reacher import (
    BROKEN,
    NOMINAL,
    TORQUE,
    Reacher,
    ReacherTask,
    State,
    apply,
    mass_matrix,
    tip,
    velocity_terms,
)
from metarl_jax.oracles.play import play

SPEED_GAIN = 18.0  # 1/s, rate at which a joint corrects its speed
ANGLE_GAIN = 6.0  # 1/s, rate at which it approaches its aim at the end
BRAKING = 0.8  # the share of a joint's torque that is assumed for braking
CHOICES = np.array(list(itertools.product((0, 1), repeat=3)))  # posture, directions of the shoulder and the elbow


def plans(start: State, task: ReacherTask) -> Array:
    """The joint angles that an episode may aim for, [8, 2] rad, not wrapped.

    Two postures reach the target, mirror images about the line to it, and each joint can turn in either direction.
    """
    inner = bearing(tip(start.target.at[0].set(0.0), task))  # from the upper arm to the target
    mirrored = jnp.stack([start.target[0] + 2.0 * inner, -start.target[1]])
    turn = wrap(jnp.stack([start.target, mirrored]) - start.angle[None])[CHOICES[:, 0]]
    other_way = turn - 2.0 * math.pi * jnp.sign(turn)
    return start.angle[None] + jnp.where(jnp.asarray(CHOICES[:, 1:]) == 1, other_way, turn)


def drive(state: State, aim: Array, task: ReacherTask) -> Array:
    """The action toward the joint angles `aim` [2] for an arm of physics `task`, [2].

    Computed torque: with M a + C + D q' for a torque the joints obey q'' = a, and a = w (v - q') brings each to the
    speed v from which it can still stop at its aim, |v| = min(k |e|, sqrt(2 b |e|)) for the remaining angle e and a
    braking deceleration b. A broken joint has no torque, so its acceleration follows from the equation, and the other
    joint brings the tip as near to the target as it can.
    """
    driven = jnp.abs(task.gain) > BROKEN
    left = jnp.where(jnp.all(driven), aim - state.angle, left_alone(state, task))
    inertia = mass_matrix(state.angle, task)
    diagonal = jnp.stack([inertia[0], inertia[2]])
    braking = BRAKING * TORQUE * jnp.abs(task.gain) / diagonal
    speed = jnp.minimum(ANGLE_GAIN * jnp.abs(left), jnp.sqrt(2.0 * braking * jnp.abs(left)))
    acceleration = SPEED_GAIN * (jnp.sign(left) * speed - state.speed)
    drag = velocity_terms(state.angle, state.speed, task) + task.friction * state.speed
    free = -(drag + inertia[1] * acceleration[::-1]) / diagonal
    torque = apply(inertia, jnp.where(driven, acceleration, free)) + drag
    return jnp.clip(torque / jnp.where(driven, TORQUE * task.gain, jnp.inf), -1.0, 1.0)


def left_alone(state: State, task: ReacherTask) -> Array:
    """The angle by which each joint must turn if the other joint is broken, [2] rad.

    The shoulder turns the tip toward the target, the elbow points the forearm at it.
    """
    target = tip(state.target, task)
    elbow = task.length[0] * jnp.stack([jnp.cos(state.angle[0]), jnp.sin(state.angle[0])])
    shoulder_turn = bearing(target) - bearing(tip(state.angle, task))
    return wrap(jnp.stack([shoulder_turn, bearing(target - elbow) - jnp.sum(state.angle)]))


def bearing(place: Array) -> Array:
    """The direction of a place [2], rad."""
    return jnp.arctan2(place[1], place[0])


def nominal_task() -> ReacherTask:
    """The physics in the middle of the training range."""
    return ReacherTask(**{name: jnp.full(2, value) for name, value in NOMINAL.items()})


def control_return(environment: Reacher, believed: ReacherTask, key: Key, task: ReacherTask) -> Array:
    """The return of one episode of `task` under the controller for the physics `believed`, [] float32.

    The arm is deterministic, so the controller simulates its eight plans with the believed physics and follows the
    best. O(9 steps) environment steps.
    """
    start = environment.reset(jax.random.split(key)[1], believed)[1]  # the start that `play` draws
    aims = plans(start, believed)

    def total(aim: Array, world: ReacherTask) -> Array:
        return play(environment, lambda key, state, task: drive(state, aim, believed), key, world).total

    imagined = jax.vmap(total, in_axes=(0, None))(aims, believed)
    return total(aims[jnp.argmax(imagined)], task)


def reference_returns(environment: Reacher, key: Key, task: ReacherTask) -> Array:
    """The return of the controller that knows the physics, in each episode of a trial, [episodes].

    A good controller, not a bound. With a broken joint some targets are out of reach.
    """
    keys = jax.random.split(key, environment.episodes)
    return jax.vmap(lambda key: control_return(environment, task, key, task))(keys)
