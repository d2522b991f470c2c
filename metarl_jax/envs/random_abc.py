"""Three objects with unknown rewards (Zheng et al. 2020, arXiv:1912.05500)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import payer, walk_drawing
from metarl_jax.envs.grid import Grid, see, walk

B_PAYS = -0.5  # the same in all tasks
FARTHEST = 2.0  # largest legal reward or cost of an object


class RandomABCTask(NamedTuple):
    """The rewards of the objects."""

    pay: Array  # [3] of A, B and C


class State(NamedTuple):
    """The position of the walker."""

    place: Array  # [2] int32 row and column
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class RandomABC(Grid):
    """Walk to one of three objects, which pays its reward and ends the episode.

    The room has `side` x `side` cells; the walk starts in the middle of the bottom row, A lies in the top left corner,
    B in the middle of the top row, C in the top right corner. The observation holds row and column, each one-hot. The
    layout and the time limit are ours.

    Splits: in `train` and `test` A pays U[-1, 1], B -.5 and C U[0, .5]: B is never the best. The best choice
    is worth E max(A, C) = 19/48, .3958, an episode. In `extrapolation` C pays U[.5, 1].
    """

    name: ClassVar[str] = "random_abc"
    summary: ClassVar[str] = "find out which of three objects is worth taking"
    reference: ClassVar[str | None] = "the best object within reach, known rewards"
    Task: ClassVar[type] = RandomABCTask

    side: int = 5
    steps: int = 12
    episodes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("side", self.side, 3)

    @property
    def capacity(self) -> int:
        return self.side

    @property
    def objects(self) -> tuple[tuple[int, int], ...]:
        """The cells of A, B and C."""
        return (0, 0), (0, self.side // 2), (0, self.side - 1)

    @property
    def start(self) -> tuple[int, int]:
        """The first cell of an episode."""
        return self.side - 1, self.side // 2

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"pay": (-FARTHEST, FARTHEST)}

    def reset(self, key: Key, task: RandomABCTask) -> tuple[Array, State]:
        state = State(jnp.asarray(self.start, jnp.int32), jnp.int32(0))
        return see(state.place, self.side), state

    def step(self, key: Key, state: State, action: Array, task: RandomABCTask) -> Step:
        state = State(walk(state.place, action, self.side), state.time + 1)
        reached = jnp.all(state.place[None] == jnp.asarray(self.objects, jnp.int32), axis=1)  # [3]
        terminated = jnp.any(reached)
        truncated = ~terminated & (state.time >= self.steps)
        return Step(
            see(state.place, self.side), state, jnp.sum(jnp.where(reached, task.pay, 0.0)), terminated, truncated, {}
        )

    def draw(self, task: RandomABCTask, episode: Episode) -> Drawing:
        """Draw the room, the objects with their rewards, and the visited cells."""
        first, last = (0, 0), (self.side - 1, self.side - 1)
        objects = [shape for place, pay in zip(self.objects, task.pay, strict=True) for shape in payer(place, pay)]
        return walk_drawing(episode.state.place, first, last, [], lambda time: objects)

    def draw_task(self, key: Key, split: Split) -> RandomABCTask:
        a, c = jax.random.uniform(key, (2,))
        more = 1.0 - 0.5 * c if split == "extrapolation" else 0.5 * c  # above .5, below .5
        return RandomABCTask(jnp.stack([2.0 * a - 1.0, jnp.asarray(B_PAYS, float), more]))

    def extrapolates(self, task: RandomABCTask) -> Array:
        return task.pay[2] > 0.5
