"""Two coloured boxes, one good and one bad (Flennerhag et al. 2022, Bootstrapped meta-learning, ICLR, section 5.1)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import payer, walk_drawing
from metarl_jax.envs.grid import MOVES, cell, see, walk

SIDE = 5
CELLS = SIDE * SIDE
STEP_COST = 0.04  # cost of a step that takes no box
SPREAD = 0.1  # the boxes of train and test pay 1 and -1, each +- at most this


class TwoColoursTask(NamedTuple):
    """The rewards of the boxes."""

    pay: Array  # [2]


class State(NamedTuple):
    """The positions of the walker and of the boxes."""

    place: Array  # [2] int32 row and column
    boxes: Array  # [2] int32 cells, counted row by row
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class TwoColours(Episodic):
    """Take the good box and avoid the bad one, repeatedly; a step without a box costs .04.

    The grid has five rows and columns, with four moves and staying. A box that is taken reappears in a random free
    cell. The observation holds rows and columns of the walker and of both boxes, each one-hot, 30 bits. The time limit
    truncates. With `swap` above 0 the boxes exchange their rewards every `swap` steps of an episode: the stream of the
    paper is one episode of ten million steps with `swap=100_000`.

    Splits: in `train` and `test` one random box pays U[.9, 1.1] and the other -U[.9, 1.1]; in the paper +1 and -1,
    `published_task()`. In `extrapolation` the good one pays U[1.2, 1.5].
    """

    name: ClassVar[str] = "two_colours"
    summary: ClassVar[str] = "find out which of two boxes is the good one, and keep taking it"
    reference: ClassVar[str | None] = "the best policy that knows the boxes"
    Task: ClassVar[type] = TwoColoursTask

    swap: int = 0
    steps: int = 100
    episodes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("swap", self.swap, 0)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"pay": (-2.0, 2.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (3 * 2 * SIDE,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    def reset(self, key: Key, task: TwoColoursTask) -> tuple[Array, State]:
        chance, other = jax.random.split(key)
        walker, first = jnp.divmod(uniform_below(CELLS * (CELLS - 1), chance), CELLS - 1)
        first = first + (first >= walker).astype(jnp.int32)
        boxes = jnp.stack([first, free_cell(other, walker, first)])
        state = State(cell(walker, SIDE), boxes, jnp.int32(0))
        return observe(state), state

    def step(self, key: Key, state: State, action: Array, task: TwoColoursTask) -> Step:
        place = walk(state.place, action, SIDE)
        here = place[0] * SIDE + place[1]
        taken = state.boxes == here  # at most one: boxes never share a cell
        pay = task.pay if self.swap == 0 else jnp.roll(task.pay, state.time // self.swap)
        reward = jnp.where(jnp.any(taken), jnp.sum(jnp.where(taken, pay, 0.0)), -STEP_COST)
        fresh = free_cell(key, here, jnp.where(taken[0], state.boxes[1], state.boxes[0]))
        state = State(place, jnp.where(taken, fresh, state.boxes), state.time + 1)
        return Step(observe(state), state, reward, jnp.array(False), state.time >= self.steps, {})

    def draw(self, task: TwoColoursTask, episode: Episode) -> Drawing:
        """Draw the grid, the visited cells, and the boxes with their rewards."""
        pays = np.asarray(task.pay)
        first, last = (0, 0), (SIDE - 1, SIDE - 1)
        swaps = episode.state.time // self.swap if self.swap else 0 * episode.state.time
        things = [
            [*payer(divmod(int(one), SIDE), pays[swap % 2]), *payer(divmod(int(two), SIDE), pays[1 - swap % 2])]
            for (one, two), swap in zip(episode.state.boxes, swaps, strict=True)
        ]
        return walk_drawing(episode.state.place, first, last, [], things.__getitem__)

    def draw_task(self, key: Key, split: Split) -> TwoColoursTask:
        good, bad, first = jax.random.uniform(key, (3,))
        low, high = (1.2, 1.5) if split == "extrapolation" else (1.0 - SPREAD, 1.0 + SPREAD)
        pay = jnp.stack([low + (high - low) * good, 2.0 * SPREAD * (0.5 - bad) - 1.0])
        return TwoColoursTask(jnp.where(first < 0.5, pay, pay[::-1]))

    def extrapolates(self, task: TwoColoursTask) -> Array:
        return jnp.max(task.pay) > 1.15


def observe(state: State) -> Array:
    """Row and column of the walker and of the boxes, one-hot, [30] float32."""
    return jnp.concatenate([see(state.place, SIDE), *(see(cell(box, SIDE), SIDE) for box in state.boxes)])


def uniform_below(count: int, key: Key) -> Array:
    """A random number in 0 ... count - 1, far below 2^23, [] int32: one draw, where `randint` takes two."""
    return jnp.floor(count * jax.random.uniform(key)).astype(jnp.int32)


def free_cell(key: Key, one: Array, other: Array) -> Array:
    """A random cell other than `one` and `other`, which differ, [] int32."""
    index = uniform_below(CELLS - 2, key)
    low, high = jnp.minimum(one, other), jnp.maximum(one, other)
    index = index + (index >= low).astype(jnp.int32)
    return index + (index >= high).astype(jnp.int32)


def published_task() -> TwoColoursTask:
    """The task of the paper: the first box is good, the second bad."""
    return TwoColoursTask(jnp.array([1.0, -1.0]))
