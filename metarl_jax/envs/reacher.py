"""A two-link arm in the horizontal plane that reaches for a visible target, with different physics in every task.

The links are uniform rods; the equations of motion are those of the textbooks (Spong, Hutchinson & Vidyasagar 2006,
chapter 7): M(q) q'' + C(q, q') + D q' = torque, with the mass matrix M, the velocity terms C and viscous friction D.
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
from metarl_jax.envs.ranges import Ranges

TIME_STEP = 0.04  # s, one action
SUBSTEPS = 4  # of the integrator
TORQUE = 6.0  # N m of a joint at action 1 and gain 1
SPEED = 20.0  # rad/s, at which the speed of a joint is clipped
EFFORT = 0.01  # cost of a squared action of 1, in metres of distance

NOMINAL = {"length": 0.5, "mass": 1.0, "gain": 1.0, "friction": 0.1}
# For each link or joint: length in m, mass in kg, size of the gain, friction in N m s
TRAINING: Ranges = {"length": (0.4, 0.6), "mass": (0.5, 1.5), "gain": (0.6, 1.4), "friction": (0.02, 0.2)}
BROKEN = 0.05  # the gain of a broken joint is below this
REACH = 1.5  # m, twice the longest legal link


class ReacherTask(NamedTuple):
    """The independent numbers of the physics, for the shoulder or upper arm and then for the elbow or forearm."""

    length: Array  # [2] m
    mass: Array  # [2] kg
    gain: Array  # [2] applied by commanded torque; negative for a reversed motor
    friction: Array  # [2] N m s


class State(NamedTuple):
    """The state of the arm and the target."""

    angle: Array  # [2] rad: of the upper arm, and of the forearm relative to it
    speed: Array  # [2] rad/s
    target: Array  # [2] rad: joint angles that put the tip on the target, so that every arm can reach it
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Reacher(Episodic):
    """Move the tip of an arm with unknown physics to a visible target: a step costs the distance + .01 |action|^2.

    The action is the torque commanded at the two joints, clipped to +-1. The target is drawn at the start of every
    episode and is visible; the physics are hidden. Only the time limit ends an episode, by truncation. With `flip` each
    motor is reversed with probability 1/2.

    Splits: `train` and `test` are uniform over the box `TRAINING`, independently for each link and joint. In
    `extrapolation` one random joint is also broken: its gain is at most .05.
    """

    name: ClassVar[str] = "reacher"
    summary: ClassVar[str] = "reach a visible target with an arm of unknown body and motors"
    reference: ClassVar[str | None] = "computed-torque controller that knows the physics"
    Task: ClassVar[type] = ReacherTask

    flip: bool = True
    steps: int = 50
    episodes: int = 2

    @property
    def limits(self) -> Ranges:
        return {"length": (0.25, REACH / 2.0), "mass": (0.25, 3.0), "gain": (-2.0, 2.0), "friction": (0.0, 0.5)}

    @property
    def observation_space(self) -> Box:
        return Box(-2.0 * REACH, 2.0 * REACH, (10,))

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (2,))

    def reset(self, key: Key, task: ReacherTask) -> tuple[Array, State]:
        angle, target = math.pi * jax.random.uniform(key, (4,), minval=-1.0).reshape(2, 2)
        state = State(angle, jnp.zeros(2), target, jnp.int32(0))
        return observe(state, task), state

    def step(self, key: Key, state: State, action: Array, task: ReacherTask) -> Step:
        action = jnp.clip(action, -1.0, 1.0)
        angle, speed = state.angle, state.speed
        for _ in range(SUBSTEPS):
            angle, speed = advance(angle, speed, TORQUE * task.gain * action, task, TIME_STEP / SUBSTEPS)
        state = State(angle, speed, state.target, state.time + 1)
        way = tip(state.target, task) - tip(angle, task)
        reward = -jnp.sqrt(way[0] ** 2 + way[1] ** 2) - EFFORT * (action[0] ** 2 + action[1] ** 2)
        return Step(observe(state, task), state, reward, jnp.array(False), state.time >= self.steps, {})

    def draw(self, task: ReacherTask, episode: Episode) -> Drawing:
        """Draw the arm, thicker where heavier, the trail of its tip, and the target."""
        goal, joints = joints_of(episode.state.target, task)[0, 2], joints_of(episode.state.angle, task)
        upper, fore = (0.06 * float(mass) for mass in task.mass)
        reach = float(np.sum(task.length)) + 0.1
        frames: list[list[Shape]] = [
            [
                Disc(goal, 0.06, "goal"),
                Line(joints[: time + 1, 2], "visited", 0.02),
                Line([shoulder, elbow], "agent", upper),
                Line([elbow, hand], "agent", fore),
                *(Disc(place, 0.035, "ink") for place in (shoulder, elbow, hand)),
            ]
            for time, (shoulder, elbow, hand) in enumerate(joints)
        ]
        edge = Disc((0.0, 0.0), float(np.sum(task.length)), "faint", filled=False)
        return Drawing((-reach, -reach, reach, reach), [edge], frames)

    def draw_task(self, key: Key, split: Split) -> ReacherTask:
        body_key, sign_key, broken_key = jax.random.split(key, 3)
        place = jax.random.uniform(body_key, (4, 2))
        numbers = {n: low + (high - low) * place[i] for i, (n, (low, high)) in enumerate(TRAINING.items())}
        task = ReacherTask(**numbers)
        if split == "extrapolation":
            which, left = jax.random.uniform(broken_key, (2,))
            broken = (jnp.arange(2) == 0) == (which < 0.5)
            task = task._replace(gain=jnp.where(broken, BROKEN * left, task.gain))
        return task._replace(gain=task.gain * jax.random.rademacher(sign_key, (2,), float)) if self.flip else task

    def extrapolates(self, task: ReacherTask) -> Array:
        return jnp.any(jnp.abs(task.gain) < TRAINING["gain"][0])


def advance(angle: Array, speed: Array, torque: Array, task: ReacherTask, step: float) -> tuple[Array, Array]:
    """The angles and speeds [2] one semi-implicit Euler step (s) later, under joint torques [2] in N m.

    Friction is taken implicitly, (M + step D) q'+ = M q' + step (torque - C), which is stable for every step.
    """
    inertia = mass_matrix(angle, task)
    momentum = apply(inertia, speed) + step * (torque - velocity_terms(angle, speed, task))
    damped = (inertia[0] + step * task.friction[0], inertia[1], inertia[2] + step * task.friction[1])
    speed = jnp.clip(solve(damped, momentum), -SPEED, SPEED)
    return angle + step * speed, speed


Symmetric = tuple[Array, Array, Array]  # the entries (0, 0), (0, 1) and (1, 1) of a symmetric 2 x 2 matrix


def mass_matrix(angle: Array, task: ReacherTask) -> Symmetric:
    """M(q) in kg m^2; a rod's moment of inertia is m l^2 / 3 about its end."""
    (m1, m2), (l1, l2) = task.mass, task.length
    fore = m2 * l2**2 / 3.0
    coupling = m2 * l1 * l2 * jnp.cos(angle[1]) / 2.0
    return (m1 / 3.0 + m2) * l1**2 + fore + 2.0 * coupling, fore + coupling, fore


def velocity_terms(angle: Array, speed: Array, task: ReacherTask) -> Array:
    """C(q, q'), the Coriolis and centrifugal torques, [2] N m."""
    coriolis = task.mass[1] * task.length[0] * task.length[1] * jnp.sin(angle[1]) / 2.0
    return coriolis * jnp.stack([-(2.0 * speed[0] + speed[1]) * speed[1], speed[0] ** 2])


def apply(matrix: Symmetric, vector: Array) -> Array:
    """The product [2] of a symmetric matrix with a vector [2]."""
    a, b, c = matrix
    return jnp.stack([a * vector[0] + b * vector[1], b * vector[0] + c * vector[1]])


def solve(matrix: Symmetric, vector: Array) -> Array:
    """Solve `matrix` x = `vector` for x [2], with a symmetric matrix."""
    a, b, c = matrix
    return apply((c, -b, a), vector) / (a * c - b * b)


def tip(angle: Array, task: ReacherTask) -> Array:
    """The position of the end of the forearm, [2] m."""
    upper, fore = angle[0], angle[0] + angle[1]
    l1, l2 = task.length
    return jnp.stack([l1 * jnp.cos(upper) + l2 * jnp.cos(fore), l1 * jnp.sin(upper) + l2 * jnp.sin(fore)])


def observe(state: State, task: ReacherTask) -> Array:
    """Cosines and sines of the joints, speeds as shares of `SPEED`, target and displacement to it in m, [10]."""
    target = tip(state.target, task)
    way = target - tip(state.angle, task)
    return jnp.concatenate([jnp.cos(state.angle), jnp.sin(state.angle), state.speed / SPEED, target, way])


def joints_of(angle: np.ndarray, task: ReacherTask) -> np.ndarray:
    """The positions of shoulder, elbow and tip for the joint angles [T, 2] of an episode, [T, 3, 2] m."""
    along = np.cumsum(angle, axis=-1)[..., None]
    links = np.asarray(task.length)[:, None] * np.concatenate([np.cos(along), np.sin(along)], axis=-1)  # [T, 2, 2]
    return np.concatenate([np.zeros_like(links[:, :1]), np.cumsum(links, axis=1)], axis=1)
