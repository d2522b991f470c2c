"""A pendulum to swing up and hold, with different physics in every task.

Dynamics, start and rewards are those of Gymnasium's Pendulum-v1, with friction in the joint and a gain of the motor
added: a uniform rod that hangs from one end, and a motor too weak to lift it directly.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.drawing import Disc, Drawing, Episode, Line, Shape
from metarl_jax.core.environment import Box, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.ranges import Ranges, draw_inside, draw_outside, is_outside

TIME_STEP = 0.05  # s
TORQUE = 2.0  # N m, the largest commanded torque
SPEED = 8.0  # rad/s, at which the speed is clipped
START = (math.pi, 1.0)  # the first angle (rad) and speed (rad/s) are uniform in +-START

STANDARD = {"gravity": 10.0, "mass": 1.0, "length": 1.0, "gain": 1.0, "friction": 0.0}
# gravity in m/s^2, mass in kg, length in m, gain in N m per N m commanded, friction in N m s
TRAINING: Ranges = {
    "gravity": (8.0, 12.0),
    "mass": (0.7, 1.3),
    "length": (0.8, 1.2),
    "gain": (0.7, 1.3),
    "friction": (0.0, 0.05),
}
# The ranges of the extrapolation split, and the legal ranges of a user's task.
LEGAL: Ranges = {
    "gravity": (6.0, 14.0),
    "mass": (0.5, 1.5),
    "length": (0.7, 1.4),
    "gain": (0.5, 1.5),
    "friction": (0.0, 0.1),
}


class PendulumTask(NamedTuple):
    """The independent numbers of the physics."""

    gravity: Array  # [] m/s^2
    mass: Array  # [] kg
    length: Array  # [] m
    gain: Array  # [] applied by commanded torque; negative for a reversed motor
    friction: Array  # [] N m s


class State(NamedTuple):
    """The state of the pendulum."""

    angle: Array  # [] rad from upright, in [-pi, pi)
    speed: Array  # [] rad/s
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Pendulum(Episodic):
    """Swing up and hold a pendulum with unknown physics; a step costs angle^2 + .1 speed^2 + .001 torque^2.

    The action is the torque commanded in N m, clipped to +-2. Only the time limit ends an episode, by truncation. With
    `flip` the motor is reversed in half of the tasks.

    Splits: `train` and `test` are uniform over the box `TRAINING`. `extrapolation` is uniform over the wider box
    `LEGAL`, with one random number (for the gain: its size) always outside the training range.
    """

    name: ClassVar[str] = "pendulum"
    summary: ClassVar[str] = "swing up and hold a pendulum whose physics and motor differ from task to task"
    reference: ClassVar[str | None] = "energy controller that knows the physics"
    Task: ClassVar[type] = PendulumTask

    flip: bool = True
    steps: int = 200
    episodes: int = 2

    @property
    def limits(self) -> Ranges:
        return {**LEGAL, "gain": (-LEGAL["gain"][1], LEGAL["gain"][1])}

    @property
    def observation_space(self) -> Box:
        return Box(-SPEED, SPEED, (3,))

    @property
    def action_space(self) -> Box:
        return Box(-TORQUE, TORQUE, (1,))

    def reset(self, key: Key, task: PendulumTask) -> tuple[Array, State]:
        angle, speed = jnp.asarray(START) * jax.random.uniform(key, (2,), minval=-1.0)
        state = State(angle, speed, jnp.int32(0))
        return observe(state), state

    def step(self, key: Key, state: State, action: Array, task: PendulumTask) -> Step:
        torque = jnp.clip(action[0], -TORQUE, TORQUE)
        cost = state.angle**2 + 0.1 * state.speed**2 + 0.001 * torque**2
        state = advance(state, torque, task)
        return Step(observe(state), state, -cost, jnp.array(False), state.time >= self.steps, {})

    def draw(self, task: PendulumTask, episode: Episode) -> Drawing:
        """Draw the rod, thicker if heavier, the upright position, and the torque of the motor as an arc."""
        length, width = float(task.length), 0.12 * float(task.mass)
        torques = float(task.gain) * np.clip(np.append(0.0, episode.action), -TORQUE, TORQUE)
        frames: list[list[Shape]] = []
        for angle, torque in zip(episode.state.angle, torques, strict=True):
            turn = angle + np.linspace(0.0, 0.4 * torque, 12)
            arc = 0.35 * length * np.stack([-np.sin(turn), np.cos(turn)], axis=-1)
            rod = Line([(0.0, 0.0), (-length * np.sin(angle), length * np.cos(angle))], "agent", width)
            frames.append([Line(arc, "reference", 0.05), rod, Disc((0.0, 0.0), 0.07, "ink")])
        reach = length + 0.2
        circle, upright = Disc((0.0, 0.0), length, "faint", filled=False), Disc((0.0, length), 0.08, "goal")
        return Drawing((-reach, -reach, reach, reach), [circle, upright], frames)

    def draw_task(self, key: Key, split: Split) -> PendulumTask:
        key, sign_key = jax.random.split(key)
        numbers = draw_outside(key, TRAINING, LEGAL) if split == "extrapolation" else draw_inside(key, TRAINING)
        task = PendulumTask(**numbers)
        return task._replace(gain=task.gain * jax.random.rademacher(sign_key, (), float)) if self.flip else task

    def extrapolates(self, task: PendulumTask) -> Array:
        return is_outside(task._replace(gain=jnp.abs(task.gain))._asdict(), TRAINING)


def advance(state: State, torque: Array, task: PendulumTask) -> State:
    """One semi-implicit Euler step under the commanded `torque` in N m.

    I theta'' = m g l / 2 sin theta + gain torque - friction theta', with I = m l^2 / 3.
    """
    inertia = task.mass * task.length**2 / 3.0
    fall = 1.5 * task.gravity / task.length * jnp.sin(state.angle)
    acceleration = fall + (task.gain * torque - task.friction * state.speed) / inertia
    speed = jnp.clip(state.speed + TIME_STEP * acceleration, -SPEED, SPEED)
    return State(wrap(state.angle + TIME_STEP * speed), speed, state.time + 1)


def observe(state: State) -> Array:
    """Cosine and sine of the angle, and the speed, [3]."""
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed])


def wrap(angle: Array) -> Array:
    """The same angle in [-pi, pi)."""
    return jnp.mod(angle + math.pi, 2.0 * math.pi) - math.pi
