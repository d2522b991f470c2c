"""A car that keeps its lane on a winding road, with a different chassis and different tyres in every task.

A kinematic bicycle (Rajamani 2012, Vehicle Dynamics and Control, chapter 2) in the coordinates of the road:
distance along the lane, offset from its middle, and heading relative to the road. The wheels follow the command with a
lag, and the curvature of the path saturates at the grip of the tyres.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.drawing import Drawing, Episode, Line, Polygon, Shape, box
from metarl_jax.core.environment import Box, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.ranges import Ranges, draw_inside, draw_outside, is_outside

TIME_STEP = 0.1  # s
GRAVITY = 9.81  # m/s^2
STEER = 0.2  # rad at the wheels for command 1 and gain 1
HALF_WIDTH = 1.0  # m from the middle of the lane to the edge of the road
TOLERANCE = 0.2  # m from the middle of the lane, at which a step pays 1/2
HEADING_LIMIT = 1.0  # rad relative to the road, beyond which the car is off the road
START = (0.3, 0.05)  # the first offset (m) and heading (rad) are uniform in +-START

WAVES = 3  # number of sines in the road's curvature
SHARPEST = 0.008  # 1/m, the largest amplitude of a sine
WAVE_LENGTHS = (40.0, 120.0)  # m
VIEW = (-6.0, 15.0)  # m of the road behind and ahead that a drawing shows
CAR = 1.0  # m, the width of the car in a drawing
DASH = 1.5  # m, of the line in the middle of the road
AHEAD = (0.0, 10.0, 20.0, 30.0)  # m ahead at which the curvature of the road is observed

NOMINAL = {"wheelbase": 2.7, "gain": 1.0, "trim": 0.0, "lag": 0.3, "grip": 0.8, "speed": 11.0}
# wheelbase in m, gain in rad per rad, trim in rad, lag in s, grip in shares of the car's weight, speed in m/s
TRAINING: Ranges = {
    "wheelbase": (2.0, 3.5),
    "gain": (0.5, 1.5),
    "trim": (-0.02, 0.02),
    "lag": (0.1, 0.7),
    "grip": (0.5, 1.0),
    "speed": (8.0, 14.0),
}
# The ranges of the extrapolation split, and the legal ranges of a user's task.
LEGAL: Ranges = {
    "wheelbase": (1.5, 4.5),
    "gain": (0.3, 2.0),
    "trim": (-0.04, 0.04),
    "lag": (0.05, 1.0),
    "grip": (0.3, 1.2),
    "speed": (5.0, 18.0),
}


class DrivingTask(NamedTuple):
    """The independent numbers of the car."""

    wheelbase: Array  # [] m
    gain: Array  # [] actual by commanded angle of the wheels
    trim: Array  # [] rad to the left, the angle of the wheels at command 0
    lag: Array  # [] s, time constant of the steering
    grip: Array  # [] largest lateral force of the tyres, as a share of the weight
    speed: Array  # [] m/s


class Road(NamedTuple):
    """Curvature(s) = sum of height sin(rate s + phase), s in m."""

    height: Array  # [WAVES] 1/m
    rate: Array  # [WAVES] rad/m
    phase: Array  # [WAVES] rad


class State(NamedTuple):
    """The road and the state of the car on it."""

    road: Road
    distance: Array  # [] m along the middle of the lane
    offset: Array  # [] m to the left of it
    heading: Array  # [] rad to the left of the road's direction
    wheels: Array  # [] rad to the left, angle of the front wheels
    command: Array  # [] the last action, in [-1, 1]
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Driving(Episodic):
    """Steer a car with unknown chassis and tyres along a road: a step pays 1 / (1 + (offset / 20 cm)^2).

    The action is the angle commanded at the wheels, in shares of `STEER`, positive to the left, clipped to +-1. The
    observation holds the offset, the heading, the last command and the curvature of the road at a few places ahead, but
    neither the angle of the wheels nor the speed. An episode terminates off the road, 1 m from its middle or 1 rad away
    from its direction, and is truncated after `steps` steps. The road is drawn at the start of every episode.

    Splits: `train` and `test` are uniform over the box `TRAINING`. `extrapolation` is uniform over the wider box
    `LEGAL`, with one random number always outside the training range.
    """

    name: ClassVar[str] = "driving"
    summary: ClassVar[str] = "keep a car of unknown chassis, steering and tyres in its lane"
    reference: ClassVar[str | None] = "feedforward and feedback controller that knows the car"
    Task: ClassVar[type] = DrivingTask

    steps: int = 150
    episodes: int = 2

    @property
    def limits(self) -> Ranges:
        return LEGAL

    @property
    def observation_space(self) -> Box:
        return Box(-2.0, 2.0, (3 + len(AHEAD),))

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,))

    def reset(self, key: Key, task: DrivingTask) -> tuple[Array, State]:
        lots = jax.random.uniform(key, (2 + 3 * WAVES,))
        offset, heading = jnp.asarray(START) * (2.0 * lots[:2] - 1.0)
        nothing = jnp.asarray(0.0, float)
        state = State(build_road(lots[2:]), nothing, offset, heading, nothing, nothing, jnp.int32(0))
        return observe(state), state

    def step(self, key: Key, state: State, action: Array, task: DrivingTask) -> Step:
        state = advance(state, jnp.clip(action[0], -1.0, 1.0), task)
        reward = 1.0 / (1.0 + (state.offset / TOLERANCE) ** 2)
        terminated = (jnp.abs(state.offset) > HALF_WIDTH) | (jnp.abs(state.heading) > HEADING_LIMIT)
        truncated = ~terminated & (state.time >= self.steps)
        return Step(observe(state), state, reward, terminated, truncated, {})

    def draw(self, task: DrivingTask, episode: Episode) -> Drawing:
        """Draw the car on its piece of road, seen from above; the road ahead points up."""
        states = [episode.state_at(time) for time in range(len(episode.reward) + 1)]
        frames = [[*road_ahead(state.road, state.distance), *car(state, float(task.wheelbase))] for state in states]
        return Drawing((-VIEW[1] / 3, VIEW[0] - 0.5, VIEW[1] / 3, VIEW[1] + 0.5), [], frames)

    def draw_task(self, key: Key, split: Split) -> DrivingTask:
        outside = split == "extrapolation"
        return DrivingTask(**draw_outside(key, TRAINING, LEGAL) if outside else draw_inside(key, TRAINING))

    def extrapolates(self, task: DrivingTask) -> Array:
        return is_outside(task._asdict(), TRAINING)


def build_road(lots: Array) -> Road:
    """A road from 3 WAVES numbers uniform in [0, 1): heights uniform, wave lengths log-uniform, any phase."""
    height, length, phase = jnp.split(lots, 3)
    shortest, longest = WAVE_LENGTHS
    rate = 2.0 * math.pi / shortest * (shortest / longest) ** length
    return Road(SHARPEST * height, rate, 2.0 * math.pi * phase)


def curvature(road: Road, distance: Array) -> Array:
    """The curvature of the road in 1/m, positive to the left, at `distance` [...] m."""
    height, rate, phase = (x.reshape((1,) * distance.ndim + x.shape) for x in road)  # [..., waves]
    return jnp.sum(height * jnp.sin(rate * distance[..., None] + phase), axis=-1)


def advance(state: State, command: Array, task: DrivingTask) -> State:
    """One step: the wheels follow the command exactly, the car follows its wheels by the midpoint rule."""
    aim = task.gain * STEER * command + task.trim
    wheels = aim + (state.wheels - aim) * jnp.exp(-TIME_STEP / task.lag)
    along = task.speed * jnp.cos(state.heading) / (1.0 - state.offset * curvature(state.road, state.distance))
    yaw_rate = task.speed * driven(wheels, task)
    heading = state.heading + TIME_STEP * (yaw_rate - along * curvature(state.road, state.distance))
    sideways = task.speed * jnp.sin((state.heading + heading) / 2.0)
    return State(
        road=state.road,
        distance=state.distance + TIME_STEP * along,
        offset=state.offset + TIME_STEP * sideways,
        heading=heading,
        wheels=wheels,
        command=command,
        time=state.time + 1,
    )


def driven(wheels: Array, task: DrivingTask) -> Array:
    """The curvature of the path in 1/m: that of the wheels, smoothly saturated at the grip limit."""
    limit = grip_limit(task)
    return limit * jnp.tanh(jnp.tan(wheels) / task.wheelbase / limit)


def grip_limit(task: DrivingTask) -> Array:
    """The largest curvature in 1/m within the grip of the tyres: speed^2 curvature <= grip gravity."""
    return task.grip * GRAVITY / task.speed**2


def observe(state: State) -> Array:
    """Offset in half widths, heading in rad, last command, and curvatures ahead as shares of the sharpest, [7]."""
    own = jnp.stack([state.offset / HALF_WIDTH, state.heading, state.command])
    ahead = curvature(state.road, state.distance + jnp.asarray(AHEAD))
    return jnp.concatenate([own, ahead / (WAVES * SHARPEST)])


def road_ahead(road: Road, distance: float) -> list[Shape]:
    """The edges and the dashed middle of the road around a place on it, in m from that place."""
    along = np.linspace(*VIEW, 29)
    step = along[1] - along[0]
    bend = np.sum(road.height * np.sin(road.rate * (distance + along)[:, None] + road.phase), axis=-1)
    here = np.argmin(np.abs(along))
    turned = np.cumsum(bend) * step
    turned -= turned[here]
    middle = np.cumsum(np.stack([-np.sin(turned), np.cos(turned)], axis=-1), axis=0) * step
    middle -= middle[here]
    left = np.stack([-np.cos(turned), -np.sin(turned)], axis=-1)
    lane = Polygon(
        np.concatenate([middle + HALF_WIDTH * left, (middle - HALF_WIDTH * left)[::-1]]), "faint", opacity=0.4
    )
    edges = [Line(middle + side * HALF_WIDTH * left, "wall", 0.1) for side in (-1, 1)]
    dash = ((distance + along) // DASH).astype(int)
    dashes = [Line(middle[dash == n], "reference", 0.1) for n in np.unique(dash) if n % 2 == 0 and sum(dash == n) > 1]
    return [lane, *edges, *dashes]


def car(state: State, wheelbase: float) -> list[Shape]:
    """The body of a car, in m from its place on the road, and its front wheels."""
    centre = np.array([-state.offset, 0.0])
    body = box(-CAR / 2, -0.7 * wheelbase, CAR / 2, 0.7 * wheelbase)
    wheel = box(-0.12, -0.35, 0.12, 0.35)
    axle = np.array([[-CAR / 2, wheelbase / 2], [CAR / 2, wheelbase / 2]])
    wheels = [Polygon(centre + rotated(end + rotated(wheel, state.wheels), state.heading), "ink") for end in axle]
    return [*wheels, Polygon(centre + rotated(body, state.heading), "agent", opacity=0.9)]


def rotated(points: np.ndarray, angle: Array) -> np.ndarray:
    """Points [n, 2] after a rotation to the left, in rad."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])
