"""A dark room with a hidden key and door (Laskin et al. 2022, Algorithm Distillation, ICLR 2023: Dark Key-to-Door)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import marked, walk_drawing
from metarl_jax.envs.grid import pick
from metarl_jax.envs.room import Room, cells, move


class KeyToDoorTask(NamedTuple):
    """A room, its key and its door. Places are row and column, counted from the centre of the room."""

    key: Array  # [2] int32
    door: Array  # [2] int32
    radius: Array  # [] int32 the room has 2 radius + 1 cells a side


class State(NamedTuple):
    """The position of the walker, and whether it holds the key."""

    place: Array  # [2] int32 row and column, counted from the centre of the room
    has_key: Array  # [] bool
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class KeyToDoor(Room):
    """Find a hidden key in the dark, then the hidden door that it opens.

    The first step onto the key pays 1 and takes it. With the key, a step onto the door pays 1 and terminates the
    episode; if both lie in one cell, that step pays 2. Any other step pays 0. The walker observes only its position,
    not whether it holds the key. An episode is truncated after `steps` steps. It starts in the centre of the room, or
    with `random_start` in a random cell of the room of train and test. The room has 2 `radius` + 1 cells a side.

    Splits: key and door of `train` and `test` are uniform over the room, 6,561 tasks of which one in eight is withheld
    for the test. In `extrapolation` a random one of the two lies outside it, in the outermost cells of a room of
    `radius + 1`; the other is uniform over that room.
    """

    name: ClassVar[str] = "key_to_door"
    summary: ClassVar[str] = "find a key in a dark room, then the door that it opens"
    reference: ClassVar[str | None] = "straight to the known key, then to the known door"
    Task: ClassVar[type] = KeyToDoorTask

    radius: int = 4
    random_start: bool = False
    steps: int = 50
    episodes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("radius", self.radius, 1)

    @property
    def reach(self) -> int:
        return self.radius

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        inside = (-self.widest, self.widest)
        return {"key": inside, "door": inside, "radius": (1, self.widest)}

    def reset(self, key: Key, task: KeyToDoorTask) -> tuple[Array, State]:
        place = pick(key, cells(self.radius)) if self.random_start else jnp.zeros(2, jnp.int32)
        return self.observe(place), State(place, jnp.array(False), jnp.int32(0))

    def step(self, key: Key, state: State, action: Array, task: KeyToDoorTask) -> Step:
        place = move(state.place, action, task.radius)
        takes = jnp.all(place == task.key) & ~state.has_key
        state = State(place, state.has_key | takes, state.time + 1)
        opens = jnp.all(place == task.door) & state.has_key
        reward = takes.astype(float) + opens.astype(float)
        return Step(self.observe(place), state, reward, opens, ~opens & (state.time >= self.steps), {})

    def draw_task(self, key: Key, split: Split) -> KeyToDoorTask:
        one_key, other_key, swap_key = jax.random.split(key, 3)
        if split != "extrapolation":
            room = cells(self.reach)
            return KeyToDoorTask(pick(one_key, room), pick(other_key, room), jnp.int32(self.reach))
        outer, free = pick(one_key, cells(self.widest, inner=self.reach)), pick(other_key, cells(self.widest))
        swap = jax.random.bernoulli(swap_key)
        return KeyToDoorTask(jnp.where(swap, free, outer), jnp.where(swap, outer, free), jnp.int32(self.widest))

    def extrapolates(self, task: KeyToDoorTask) -> Array:
        return task.radius != self.radius

    def draw(self, task: KeyToDoorTask, episode: Episode) -> Drawing:
        """Draw the room, the visited cells, the door, and the key until it is taken."""
        radius = int(task.radius)
        first, last = (-radius, -radius), (radius, radius)
        door, key = marked(task.door, "door"), marked(task.key, "key", "reference")
        things = [door if taken else door + key for taken in episode.state.has_key]
        return walk_drawing(episode.state.place, first, last, [], things.__getitem__)

    def checked(self, task: Any) -> KeyToDoorTask:
        checked: KeyToDoorTask = super().checked(task)
        for name, place in (("key", checked.key), ("door", checked.door)):
            if jnp.max(jnp.abs(place)) > checked.radius:
                rule = f"row and column must lie within its radius, {checked.radius}, of the centre"
                raise ValueError(f"task number {name!r} of key_to_door is {place.tolist()}; {rule}")
        return checked
