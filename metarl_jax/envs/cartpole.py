"""A pole on a cart with different physics in every task.

Dynamics, thresholds and rewards are those of Gymnasium's CartPole-v1 (Barto, Sutton & Anderson 1983), Euler step. The
scrambled observation follows the meta-CartPole of Lu et al. 2023 (Structured state space models for in-context
reinforcement learning): a random orthogonal map that each task applies to the observation.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_choice
from metarl_jax.core.drawing import Disc, Drawing, Episode, Line, Polygon, Shape, box
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.ranges import Range, Ranges, draw_inside, draw_outside, is_outside

TIME_STEP = 0.02  # s
POSITION_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * 2 * math.pi / 360  # rad
START = 0.05  # each number of the first state is uniform in +-START

# gravity in m/s^2, masses in kg, half the length of the pole in m, force in N
TRAINING: dict[str, Ranges] = {
    "standard": {
        "gravity": (9.8, 9.8),
        "cart_mass": (1.0, 1.0),
        "pole_mass": (0.1, 0.1),
        "half_length": (0.5, 0.5),
        "force": (10.0, 10.0),
    },
    "mild": {
        "gravity": (7.0, 13.0),
        "cart_mass": (0.5, 2.0),
        "pole_mass": (0.05, 0.5),
        "half_length": (0.25, 1.0),
        "force": (5.0, 15.0),
    },
    "wide": {
        "gravity": (3.0, 20.0),
        "cart_mass": (0.2, 5.0),
        "pole_mass": (0.01, 1.0),
        "half_length": (0.1, 2.0),
        "force": (2.0, 20.0),
    },
}
# The ranges of the extrapolation split, and the legal ranges of a user's task.
LEGAL: Ranges = {
    "gravity": (1.5, 30.0),
    "cart_mass": (0.1, 8.0),
    "pole_mass": (0.005, 2.0),
    "half_length": (0.05, 3.0),
    "force": (1.0, 30.0),
}
EXTRAPOLATION: dict[str, Ranges] = {"standard": TRAINING["mild"], "mild": TRAINING["wide"], "wide": LEGAL}


class CartPoleTask(NamedTuple):
    """The independent numbers of the physics; derived numbers are computed in `step`."""

    gravity: Array  # [] m/s^2
    cart_mass: Array  # [] kg
    pole_mass: Array  # [] kg
    half_length: Array  # [] m
    force: Array  # [] N
    direction: Array  # [] +1, or -1 if the two actions are swapped
    mixing: Array | None  # [4, 2] orthonormal columns, (position, angle) -> observation; None when not scrambled


class State(NamedTuple):
    """The state of the cart and the pole."""

    position: Array  # [] m
    velocity: Array  # [] m/s
    angle: Array  # [] rad from upright
    angular_velocity: Array  # [] rad/s
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class CartPole(Episodic):
    """Balance a pole with unknown physics by pushing left or right; every step pays 1.

    With `scrambled` the observation is a random map of (position, angle) without the velocities. Use it with
    `steps=200` and `episodes=16`: the agent must learn the map before it can balance.

    Splits: `train` and `test` are uniform over the box of `physics`. `extrapolation` is uniform over a wider box
    (standard -> mild -> wide -> legal), with one random number always outside the training range.
    """

    name: ClassVar[str] = "cartpole"
    summary: ClassVar[str] = "balance a pole whose physics, actions and observations differ from task to task"
    reference: ClassVar[str | None] = "linear-quadratic controller that knows the physics"
    Task: ClassVar[type] = CartPoleTask

    physics: Literal["standard", "mild", "wide"] = "mild"
    flip: bool = True
    scrambled: bool = False
    steps: int = 500
    episodes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("physics", self.physics, TRAINING)

    @property
    def limits(self) -> dict[str, Range]:
        return {**LEGAL, "direction": (-1.0, 1.0), "mixing": (-1.0, 1.0)}

    @property
    def observation_space(self) -> Box:
        return Box(-np.inf, np.inf, (4,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, key: Key, task: CartPoleTask) -> tuple[Array, State]:
        word, other = jax.random.bits(key, (2,), jnp.uint32)
        state = State(*starts(word), *starts(other), time=jnp.int32(0))
        return observe(state, task), state

    def step(self, key: Key, state: State, action: Array, task: CartPoleTask) -> Step:
        force = task.direction * jnp.where(action == 1, task.force, -task.force)
        state = advance(state, force, task)
        terminated = (jnp.abs(state.position) > POSITION_LIMIT) | (jnp.abs(state.angle) > ANGLE_LIMIT)
        truncated = ~terminated & (state.time >= self.steps)
        return Step(observe(state, task), state, jnp.asarray(1.0, float), terminated, truncated, {})

    @property
    def withholds(self) -> bool:
        """False with standard physics: one or two tasks are too few to split."""
        return self.physics != "standard" or self.scrambled

    def draw_task(self, key: Key, split: Split) -> CartPoleTask:
        physics_key, direction_key, mixing_key = jax.random.split(key, 3)
        ranges = TRAINING[self.physics]
        if split == "extrapolation":
            numbers = draw_outside(physics_key, ranges, EXTRAPOLATION[self.physics])
        else:
            numbers = draw_inside(physics_key, ranges)
        swapped = jax.random.bernoulli(direction_key) if self.flip else False
        return CartPoleTask(
            **numbers,
            direction=jnp.where(swapped, jnp.asarray(-1.0, float), 1.0),
            mixing=draw_mixing(mixing_key) if self.scrambled else None,
        )

    def extrapolates(self, task: CartPoleTask) -> Array:
        return is_outside(task._asdict(), TRAINING[self.physics])

    def draw(self, task: CartPoleTask, episode: Episode) -> Drawing:
        """Draw the cart, the pole and the last push, with sizes that grow with the masses, and the end of the track."""
        length, height = 2.0 * float(task.half_length), 0.25 * float(task.cart_mass) ** (1 / 3)
        thickness = 0.15 * float(task.pole_mass) ** (1 / 3)
        forces = float(task.direction * task.force) * np.append(0, 2 * episode.action - 1) / 20.0  # m for N
        top = max(length, 1.0) + height / 2 + 0.2
        reach = POSITION_LIMIT + 0.2 + max(height, float(np.max(np.abs(forces))))
        ends = [Line([(x, -0.4), (x, top)], "danger", 0.03) for x in (-POSITION_LIMIT, POSITION_LIMIT)]
        track = Line([(-reach, -height / 2), (reach, -height / 2)], "wall", 0.03)
        frames: list[list[Shape]] = []
        for x, angle, force in zip(episode.state.position, episode.state.angle, forces, strict=True):
            body = Polygon(box(x - height, -height / 2, x + height, height / 2), "ink")
            pole = Line([(x, 0.0), (x + length * np.sin(angle), length * np.cos(angle))], "agent", thickness)
            frames.append(
                [Line([(x, 0.0), (x + force, 0.0)], "reference", 0.08), body, pole, Disc((x, 0.0), 0.05, "faint")]
            )
        return Drawing((-reach, -0.5, reach, top + 0.1), [track, *ends], frames)

    def checked(self, task: Any) -> CartPoleTask:
        checked: CartPoleTask = super().checked(task)
        if jnp.abs(checked.direction) != 1.0:
            raise ValueError(f"task number 'direction' of cartpole is {checked.direction}; it must be 1 or -1")
        if checked.mixing is not None and not np.allclose(checked.mixing.T @ checked.mixing, np.eye(2), atol=1e-4):
            raise ValueError("task number 'mixing' of cartpole must have orthonormal columns: mixing.T @ mixing = I")
        return checked


def starts(word: Array) -> tuple[Array, Array]:
    """Two numbers, uniform over 65,536 values in +-START, from the halves of a random word of 32 bits.

    Random words are most of the cost of a step that may restart the episode.
    """

    def start(half: Array) -> Array:
        return START * ((half.astype(jnp.int32).astype(float) + 0.5) / 2**15 - 1.0)

    return start(word >> 16), start(word & 0xFFFF)


def advance(state: State, force: Array, task: CartPoleTask) -> State:
    """One Euler step of the cart and the pole under `force` in N (Florian 2007, without friction)."""
    per_mass = 1.0 / (task.cart_mass + task.pole_mass)  # 1 / kg
    pole_moment = task.pole_mass * task.half_length
    sine, cosine = jnp.sin(state.angle), jnp.cos(state.angle)
    push = (force + pole_moment * state.angular_velocity**2 * sine) * per_mass
    inertia = task.half_length * (4.0 / 3.0 - task.pole_mass * cosine**2 * per_mass)
    angular_acceleration = (task.gravity * sine - cosine * push) / inertia
    acceleration = push - pole_moment * angular_acceleration * cosine * per_mass
    return State(
        position=state.position + TIME_STEP * state.velocity,
        velocity=state.velocity + TIME_STEP * acceleration,
        angle=state.angle + TIME_STEP * state.angular_velocity,
        angular_velocity=state.angular_velocity + TIME_STEP * angular_acceleration,
        time=state.time + 1,
    )


def observe(state: State, task: CartPoleTask) -> Array:
    """The four numbers of the state, or the task's mixture of position and angle, each in units of its threshold."""
    if task.mixing is None:
        return jnp.stack([state.position, state.velocity, state.angle, state.angular_velocity])
    return task.mixing @ jnp.stack([state.position / POSITION_LIMIT, state.angle / ANGLE_LIMIT])


def draw_mixing(key: Key) -> Array:
    """Two random orthonormal columns, uniformly distributed (Gram-Schmidt on normal vectors), [4, 2] float32."""
    first, second = jnp.split(jax.random.normal(key, (8,)), 2)
    first = first / jnp.linalg.norm(first)
    second = second - (first @ second) * first
    return jnp.stack([first, second / jnp.linalg.norm(second)], axis=-1)
