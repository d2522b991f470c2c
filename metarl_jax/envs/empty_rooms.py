"""Four empty rooms with a hidden goal (Zheng et al. 2020, arXiv:1912.05500)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import marked, tiles, walk_drawing
from metarl_jax.envs.grid import Grid, Place, pick, see, walk


class EmptyRoomsTask(NamedTuple):
    """The place of the goal."""

    goal: Array  # [2] int32 row and column


class State(NamedTuple):
    """The position of the walker."""

    place: Array  # [2] int32 row and column
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class EmptyRooms(Grid):
    """Find a goal that is fixed for a lifetime: reaching it pays 1 and ends the episode, and other steps pay 0.

    Four rooms of `room` x `room` cells, with a door in the middle of each wall between two of them; the walk starts in
    the top left corner. The observation holds row and column, each one-hot. A move into a wall has no effect. The
    layout and the time limit are ours.

    Splits: `train` and `test` have goals in the three rooms nearest to the start, `extrapolation` in the farthest room.
    """

    name: ClassVar[str] = "empty_rooms"
    summary: ClassVar[str] = "search four rooms for a hidden goal, then go straight back to it"
    reference: ClassVar[str | None] = "straight to the known goal"
    Task: ClassVar[type] = EmptyRoomsTask

    room: int = 5
    steps: int = 100
    episodes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("room", self.room, 3)

    @property
    def capacity(self) -> int:
        return 2 * self.room + 1

    @property
    def free(self) -> np.ndarray:
        """The cells that are not walls, [capacity, capacity] bool."""
        free = np.ones((self.capacity, self.capacity), bool)
        free[self.room, :] = free[:, self.room] = False
        doors = [self.room // 2, self.room + 1 + self.room // 2]
        free[self.room, doors] = free[doors, self.room] = True
        return free

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (0, self.capacity - 1)}

    def reset(self, key: Key, task: EmptyRoomsTask) -> tuple[Array, State]:
        state = State(jnp.zeros(2, jnp.int32), jnp.int32(0))
        return see(state.place, self.capacity), state

    def step(self, key: Key, state: State, action: Array, task: EmptyRoomsTask) -> Step:
        ahead = walk(state.place, action, self.capacity)
        place = jnp.where(jnp.asarray(self.free)[ahead[0], ahead[1]], ahead, state.place)
        state = State(place, state.time + 1)
        terminated = jnp.all(place == task.goal)
        truncated = ~terminated & (state.time >= self.steps)
        return Step(see(place, self.capacity), state, terminated.astype(float), terminated, truncated, {})

    def draw_task(self, key: Key, split: Split) -> EmptyRoomsTask:
        return EmptyRoomsTask(pick(key, self.goals(farthest=split == "extrapolation")))

    def goals(self, farthest: bool) -> list[Place]:
        """The cells of the farthest room, or those of the three others without the start; doors are never goals."""
        cells = [(int(row), int(column)) for row, column in np.argwhere(self.free)]
        inside = [cell for cell in cells if self.room not in cell and cell != (0, 0)]
        return [cell for cell in inside if (min(cell) > self.room) == farthest]

    def extrapolates(self, task: EmptyRoomsTask) -> Array:
        return jnp.all(task.goal > self.room)

    def draw(self, task: EmptyRoomsTask, episode: Episode) -> Drawing:
        """Draw the walls, the goal and the visited cells."""
        first, last = (0, 0), (self.capacity - 1, self.capacity - 1)
        walls = tiles(np.argwhere(~self.free), "wall")
        return walk_drawing(episode.state.place, first, last, walls, lambda time: marked(task.goal, "goal"))

    def checked(self, task: Any) -> EmptyRoomsTask:
        checked: EmptyRoomsTask = super().checked(task)
        goal = tuple(checked.goal.tolist())
        if goal == (0, 0) or not self.free[goal]:
            raise ValueError(f"task number 'goal' of empty_rooms is {list(goal)}; it must be free and not the start")
        return checked
