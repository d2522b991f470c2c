"""A grid with a hidden goal (Zintgraf et al. 2020, VariBAD, ICLR, section 5.1)."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Expert
from metarl_jax.core.memory import Memory, recursive
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import marked, walk_drawing
from metarl_jax.envs.grid import MOVES, Grid, Place, nearest_moves, pick, see, seen_at, walk

CORNER = 2  # no goal lies in the CORNER x CORNER cells around the start
EXTRA = 2  # additional side of the boards in the extrapolation split
ON_GOAL, ELSEWHERE = 1.0, -0.1  # rewards of a step


class GridNaviTask(NamedTuple):
    """A board and the place of its goal."""

    goal: Array  # [2] int32 row and column
    side: Array  # [] int32 the board has side x side cells


class State(NamedTuple):
    """The position of the walker."""

    place: Array  # [2] int32 row and column
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class GridNavi(Grid):
    """Walk over a board from the cell (0, 0) to a goal that only the rewards reveal, and stay there.

    A step that ends on the goal pays 1, any other -.1; a move off the board has no effect. The observation holds row
    and column, each one-hot. The horizon is part of the task: an episode always terminates after `steps` steps.

    Splits: `train` and `test` share the goals, uniform over the board of `side` x `side` cells without the 2 x 2 around
    the start: the 21 goals of the published task are too few to withhold some. The goals of `extrapolation` lie outside
    that board, on one of `side + 2`.
    """

    name: ClassVar[str] = "gridnavi"
    summary: ClassVar[str] = "find a goal on a small board, then walk straight to it in every later episode"
    reference: ClassVar[str | None] = "straight to the known goal"
    Task: ClassVar[type] = GridNaviTask

    side: int = 5
    steps: int = 15
    episodes: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("side", self.side, CORNER + 1)  # a smaller board has no goals

    @property
    def capacity(self) -> int:
        """The side of the largest board."""
        return self.side + EXTRA

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (0, self.capacity - 1), "side": (CORNER + 1, self.capacity)}

    def expert(self) -> Expert:
        """The moves towards the goal; on it, those that stay."""

        def best(task: GridNaviTask, observation: Array, time: Array) -> Array:
            place = seen_at(observation, self.capacity)
            return nearest_moves(walk(place[..., None, :], jnp.arange(len(MOVES)), task.side), task.goal)

        return best

    def reset(self, key: Key, task: GridNaviTask) -> tuple[Array, State]:
        state = State(jnp.zeros(2, jnp.int32), jnp.int32(0))
        return see(state.place, self.capacity), state

    def step(self, key: Key, state: State, action: Array, task: GridNaviTask) -> Step:
        state = State(walk(state.place, action, task.side), state.time + 1)
        reward = jnp.where(jnp.all(state.place == task.goal), jnp.asarray(ON_GOAL, float), ELSEWHERE)
        return Step(see(state.place, self.capacity), state, reward, state.time >= self.steps, jnp.array(False), {})

    @property
    def withholds(self) -> bool:
        """False: there are too few goals."""
        return False

    def belief(self) -> Memory:
        """The posterior probability of each cell of the training board to hold the goal, row by row, [side^2].

        The prior is uniform over the goals; a step that pays leaves one goal, and a step that does not excludes one.
        """
        inside = np.zeros((self.side, self.side), np.float32)
        inside[tuple(np.transpose(cells_between(CORNER, self.side)))] = 1.0

        def blank(shape: tuple[int, ...]) -> tuple[Array, Array]:
            return jnp.broadcast_to(inside.ravel(), (*shape, self.side**2)), jnp.zeros((*shape, 2), jnp.int32)

        @functools.partial(jnp.vectorize, signature="(g),(p),(i),(k)->(g),(p)")
        def update(possible: Array, place: Array, inputs: Array, keep: Array) -> tuple[Array, Array]:
            row, column, action, reward, _ = jnp.split(inputs, np.cumsum([self.capacity] * 2 + [len(MOVES), 1]))
            landed = walk(place, jnp.argmax(action), self.side)
            here = see(landed[0] * self.side + landed[1], self.side**2)
            paid = reward * keep  # 0 before the first action
            evidence = jnp.where(paid > 0, here, jnp.where(paid < 0, 1.0 - here, 1.0))
            possible = jnp.where(keep > 0, possible, inside.ravel()) * evidence
            return possible, jnp.stack([jnp.argmax(row), jnp.argmax(column)]).astype(jnp.int32)

        def step(memory: tuple[Array, Array], inputs: Array, keep: Array) -> tuple[tuple[Array, Array], Array]:
            possible, place = update(*memory, inputs, keep)
            return (possible, place), possible / jnp.maximum(jnp.sum(possible, axis=-1, keepdims=True), 1.0)

        return recursive(blank, step, self.side**2)

    def draw_task(self, key: Key, split: Split) -> GridNaviTask:
        inner, side = (self.side, self.capacity) if split == "extrapolation" else (CORNER, self.side)
        return GridNaviTask(pick(key, cells_between(inner, side)), jnp.int32(side))

    def extrapolates(self, task: GridNaviTask) -> Array:
        return task.side != self.side

    def draw(self, task: GridNaviTask, episode: Episode) -> Drawing:
        """Draw the board, its goal and the visited cells."""
        first, last = (0, 0), (int(task.side) - 1, int(task.side) - 1)
        return walk_drawing(episode.state.place, first, last, [], lambda time: marked(task.goal, "goal"))

    def checked(self, task: Any) -> GridNaviTask:
        checked: GridNaviTask = super().checked(task)
        farthest, side = int(jnp.max(checked.goal)), int(checked.side)
        if not CORNER <= farthest < side:
            rule = f"row or column must be at least {CORNER}, and both below the side, {side}"
            raise ValueError(f"task number 'goal' of gridnavi is {checked.goal.tolist()}; {rule}")
        return checked


def cells_between(inner: int, side: int) -> list[Place]:
    """The cells of a `side` x `side` board outside the `inner` x `inner` ones around the start, row by row."""
    return [(row, column) for row in range(side) for column in range(side) if max(row, column) >= inner]
