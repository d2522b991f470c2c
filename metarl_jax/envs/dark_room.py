"""A dark room with a hidden goal (Laskin et al. 2022, Algorithm Distillation, ICLR 2023: Dark Room, also Hard)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import HELD_OUT_SHARE, Expert
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import marked, walk_drawing
from metarl_jax.envs.grid import MOVES, nearest_moves, pick, seen_at
from metarl_jax.envs.room import Room, cells, move

RADIUS, HARD_RADIUS = 4, 8  # the published rooms have 9 x 9 cells, 17 x 17 if hard


class DarkRoomTask(NamedTuple):
    """A room and the place of its goal."""

    goal: Array  # [2] int32 row and column, counted from the centre of the room
    radius: Array  # [] int32 the room has 2 radius + 1 cells a side


class State(NamedTuple):
    """The position of the walker, and whether it has been on the goal in this episode."""

    place: Array  # [2] int32 row and column, counted from the centre of the room
    found: Array  # [] bool
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class DarkRoom(Room):
    """Walk in the dark from the centre of a room to a goal that only the rewards reveal.

    A step that ends on the goal pays 1, any other 0; with `hard` only the first such step of an episode pays. The
    horizon is part of the task: an episode always terminates after `steps` steps. The room has 2 `radius` + 1 cells a
    side; `radius=0` stands for the published 4, or 8 if `hard`.

    Splits: the goals of `train` and `test` are uniform over the room, with one in eight of the cells withheld for the
    test: see `holds_out`. Those of `extrapolation` lie outside it, in the outermost cells of a room of `radius + 1`.
    """

    name: ClassVar[str] = "dark_room"
    summary: ClassVar[str] = "find a goal in a dark room, then walk straight to it in every later episode"
    reference: ClassVar[str | None] = "straight to the known goal"
    Task: ClassVar[type] = DarkRoomTask

    radius: int = 0
    hard: bool = False
    steps: int = 20
    episodes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("radius", self.radius, 0)

    @property
    def reach(self) -> int:
        return self.radius or (HARD_RADIUS if self.hard else RADIUS)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (-self.widest, self.widest), "radius": (1, self.widest)}

    def expert(self) -> Expert:
        """The moves towards the goal; on it, those that stay."""

        def best(task: DarkRoomTask, observation: Array, time: Array) -> Array:
            place = seen_at(observation, self.capacity) - self.widest
            return nearest_moves(move(place[..., None, :], jnp.arange(len(MOVES)), task.radius), task.goal)

        return best

    def reset(self, key: Key, task: DarkRoomTask) -> tuple[Array, State]:
        state = State(jnp.zeros(2, jnp.int32), jnp.array(False), jnp.int32(0))
        return self.observe(state.place), state

    def step(self, key: Key, state: State, action: Array, task: DarkRoomTask) -> Step:
        place = move(state.place, action, task.radius)
        on_goal = jnp.all(place == task.goal)
        pays = on_goal & ~state.found if self.hard else on_goal
        state = State(place, state.found | on_goal, state.time + 1)
        over = state.time >= self.steps
        return Step(self.observe(place), state, pays.astype(float), over, jnp.array(False), {})

    def holds_out(self, task: DarkRoomTask) -> Array:
        """Whether the goal belongs to the test split, [] bool.

        These are the goals with row + 3 column = 1 (mod 8): one in eight, spread evenly over the room, and on average
        as far from its centre as the others. They are 10 of the 81 cells.
        """
        return is_withheld(task.goal[0], task.goal[1])

    def draw_task(self, key: Key, split: Split) -> DarkRoomTask:
        if split == "extrapolation":
            return DarkRoomTask(pick(key, cells(self.widest, inner=self.reach)), jnp.int32(self.widest))
        return DarkRoomTask(pick(key, cells(self.reach)), jnp.int32(self.reach))

    def extrapolates(self, task: DarkRoomTask) -> Array:
        return task.radius != self.reach

    def draw(self, task: DarkRoomTask, episode: Episode) -> Drawing:
        """Draw the room, its goal and the visited cells."""
        radius = int(task.radius)
        first, last = (-radius, -radius), (radius, radius)
        return walk_drawing(episode.state.place, first, last, [], lambda time: marked(task.goal, "goal"))

    def checked(self, task: Any) -> DarkRoomTask:
        checked: DarkRoomTask = super().checked(task)
        if jnp.max(jnp.abs(checked.goal)) > checked.radius:
            rule = f"row and column must lie within its radius, {checked.radius}, of the centre"
            raise ValueError(f"task number 'goal' of dark_room is {checked.goal.tolist()}; {rule}")
        return checked


def is_withheld(row: Any, column: Any) -> Any:
    """Whether a goal is withheld from training."""
    return (row + 3 * column) % HELD_OUT_SHARE == 1
