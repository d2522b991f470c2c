"""Catch a falling ball (Osband et al. 2020, bsuite) in wind, with unknown controls and an unknown paddle."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Disc, Drawing, Episode, Shape
from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import bounds, centre, grid, tile

BREEZE = 0.5  # upper bound of the wind in train and test
STORM = 0.9  # upper bound in the extrapolation split, whose lower bound is BREEZE


class CatchTask(NamedTuple):
    """The hidden numbers of a game."""

    wind: Array  # [] the probability that a step blows the ball one column aside; to the left if negative
    controls: Array  # [] int32 +1, or -1 if left and right are swapped
    half_width: Array  # [] int32 columns that the paddle covers on either side of its middle
    speed: Array  # [] int32 rows that the ball falls a step


class State(NamedTuple):
    """The positions of the ball and of the middle of the paddle."""

    row: Array  # [] int32 rows that the ball has fallen
    ball: Array  # [] int32 its column
    paddle: Array  # [] int32 its column


@dataclasses.dataclass(frozen=True)
class Catch(Environment):
    """Move a paddle left, not at all or right, one column a step, to catch the falling ball: +1, otherwise -1.

    The ball starts in a random column of the top row, the paddle in the middle of the bottom row; walls stop both. An
    episode is one ball and terminates when it lands. The observation holds the row and column of the ball and the
    column of the paddle's middle, each one-hot, but not the width of the paddle.

    Splits: all draw the controls, the half width in {0, 1} and the speed in {1, 2} uniformly. The wind blows from
    either side, with a probability in [0, .5) in `train` and `test` and in [.5, .9] in `extrapolation`.
    """

    name: ClassVar[str] = "catch"
    summary: ClassVar[str] = "catch a falling ball in unknown wind, with controls that may be swapped"
    reference: ClassVar[str | None] = "exact optimum, known game"
    Task: ClassVar[type] = CatchTask

    rows: int = 10
    columns: int = 7
    episodes: int = 10

    def __post_init__(self) -> None:
        check_least("rows", self.rows, 2)
        check_least("columns", self.columns, 2)
        check_least("episodes", self.episodes, 1)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"wind": (-1.0, 1.0), "controls": (-1, 1), "half_width": (0, 1), "speed": (1, 2)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (self.rows + 2 * self.columns,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def horizon(self) -> int:
        return self.rows - 1

    @property
    def trial_episodes(self) -> int:
        return self.episodes

    def reset(self, key: Key, task: CatchTask) -> tuple[Array, State]:
        ball = jax.random.randint(key, (), 0, self.columns, jnp.int32)
        state = State(jnp.int32(0), ball, jnp.int32(self.columns // 2))
        return self.observe(state), state

    def step(self, key: Key, state: State, action: Array, task: CatchTask) -> Step:
        blown = jax.random.uniform(key) < jnp.abs(task.wind)
        state = self.advance(state, action, blown, task)
        landed = state.row == self.rows - 1
        reward = jnp.where(landed, payoff(state.ball, state.paddle, task), 0.0)
        return Step(self.observe(state), state, reward, landed, jnp.array(False), {})

    def advance(self, state: State, action: Array, blown: Array, task: CatchTask) -> State:
        """The state after a move, given whether the wind has `blown`; elementwise in all arguments."""
        drift = jnp.where(blown, jnp.sign(task.wind), 0.0).astype(jnp.int32)
        return State(
            row=jnp.minimum(state.row + task.speed, self.rows - 1),
            ball=jnp.clip(state.ball + drift, 0, self.columns - 1),
            paddle=jnp.clip(state.paddle + task.controls * (action - 1), 0, self.columns - 1),
        )

    def observe(self, state: State) -> Array:
        """Row and column of the ball and column of the paddle, each one-hot, [rows + 2 columns]."""
        row = jax.nn.one_hot(state.row, self.rows)
        return jnp.concatenate([row, jax.nn.one_hot(jnp.stack([state.ball, state.paddle]), self.columns).ravel()])

    def draw(self, task: CatchTask, episode: Episode) -> Drawing:
        """Draw the ball, its trail and the paddle."""
        first, last = (0, 0), (self.rows - 1, self.columns - 1)
        half, bottom = int(task.half_width), self.rows - 1
        balls = [Disc(centre(place), 0.35, "goal") for place in zip(episode.state.row, episode.state.ball, strict=True)]
        paddles = [tile((bottom, paddle - half), "agent", columns=2 * half + 1) for paddle in episode.state.paddle]
        trail = [[ball._replace(opacity=0.2) for ball in balls[:time]] for time in range(len(balls))]
        frames: list[list[Shape]] = [
            [paddle, *past, ball] for paddle, past, ball in zip(paddles, trail, balls, strict=True)
        ]
        rim = half - 0.5  # a wide paddle reaches over the edge
        left, low, right, high = bounds(first, last)
        return Drawing((left - max(0.0, rim), low, right + max(0.0, rim), high), grid(first, last), frames)

    def draw_task(self, key: Key, split: Split) -> CatchTask:
        share, *coins = jax.random.uniform(key, (5,))
        wind = STORM - (STORM - BREEZE) * share if split == "extrapolation" else BREEZE * share
        right, mirrored, wide, fast = (coin < 0.5 for coin in coins)
        return CatchTask(
            wind=jnp.where(right, wind, -wind),
            controls=jnp.where(mirrored, jnp.int32(-1), 1),
            half_width=wide.astype(jnp.int32),
            speed=1 + fast.astype(jnp.int32),
        )

    def extrapolates(self, task: CatchTask) -> Array:
        return jnp.abs(task.wind) >= BREEZE

    def checked(self, task: Any) -> CatchTask:
        checked: CatchTask = super().checked(task)
        if checked.controls == 0:
            raise ValueError("task number 'controls' of catch is 0; it must be 1 or -1")
        return checked


def payoff(ball: Array, paddle: Array, task: CatchTask) -> Array:
    """The reward of a landed ball: 1 on the paddle, -1 beside it, float32."""
    return jnp.where(jnp.abs(ball - paddle) <= task.half_width, jnp.asarray(1.0, float), -1.0)
