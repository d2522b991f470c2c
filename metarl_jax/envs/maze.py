"""Partially observed mazes: find the exit, remember the way, and walk it again.

The corridors are Kruskal's spanning tree of the grid under a random order of the walls. Some more walls are opened, so
that there are several ways to the exit.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode, Line
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import LINE, centre, marked, walk_drawing

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left as (row, column)
EXTRA = 2  # additional size of the mazes in the extrapolation split
PATIENCE = 20  # default step limit of an attempt, divided by the size


class MazeTask(NamedTuple):
    """A maze of `size` x `size` cells in arrays of capacity C = the largest size of any split."""

    size: Array  # [] int32
    right: Array  # [C, C] bool: the passage to the right neighbour is open
    down: Array  # [C, C] bool: the passage to the lower neighbour is open


class State(NamedTuple):
    """The position of the walker."""

    row: Array  # [] int32
    column: Array  # [] int32
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Maze(Episodic):
    """Walk from the top left cell of an unknown maze to the bottom right one, `episodes` times.

    The walker observes its distance to the exit in rows and in columns and which of the four moves are open, but never
    the map. The exit pays 1 and every other step costs `STEP_COST`; a move into a wall has no effect. An attempt is
    truncated after `steps` steps; `steps=0` stands for 20 x `size`.

    Splits: `train` and `test` are mazes of `size`, `extrapolation` of `size + 2`. With `smallest` above 0, half of the
    train split (and only of that) has sizes uniform between `smallest` and `size`: random exploration rarely finds the
    exit of a large maze, and small mazes make learning possible.
    """

    name: ClassVar[str] = "maze"
    summary: ClassVar[str] = "find the exit of a partially observed maze, then take the shortest path"
    reference: ClassVar[str | None] = "the shortest path, known map"
    Task: ClassVar[type] = MazeTask
    STEP_COST: ClassVar[float] = 0.01

    size: int = 7
    openings: float = 0.1
    smallest: int = 0
    episodes: int = 10
    steps: int = 0

    def __post_init__(self) -> None:
        check_least("size", self.size, 2)  # in a 1 x 1 maze the start is the exit
        if self.smallest and not 2 <= self.smallest <= self.size:
            raise ValueError(f"smallest is {self.smallest}; it must be 0 (no smaller mazes) or from 2 to {self.size}")
        check_least("steps", self.steps, 0)
        check_least("episodes", self.episodes, 1)
        if not 0.0 <= self.openings <= 1.0:
            raise ValueError(f"openings is {self.openings!r}; it is a probability: choose one in [0, 1]")

    @property
    def capacity(self) -> int:
        """The side of the arrays: the size of the largest maze."""
        return self.size + EXTRA

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"size": (2, self.capacity), "right": (0, 1), "down": (0, 1)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (2 * self.capacity + len(MOVES),))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    @property
    def horizon(self) -> int:
        return self.steps or PATIENCE * self.size

    def reset(self, key: Key, task: MazeTask) -> tuple[Array, State]:
        state = State(jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return observe(state, task), state

    def step(self, key: Key, state: State, action: Array, task: MazeTask) -> Step:
        stride = jnp.where(open_moves(task, state.row, state.column)[action], jnp.asarray(MOVES, jnp.int32)[action], 0)
        state = State(state.row + stride[0], state.column + stride[1], state.time + 1)
        terminated = (state.row == task.size - 1) & (state.column == task.size - 1)
        truncated = ~terminated & (state.time >= self.horizon)
        reward = jnp.where(terminated, jnp.asarray(1.0, float), -self.STEP_COST)
        return Step(observe(state, task), state, reward, terminated, truncated, {})

    def draw_task(self, key: Key, split: Split) -> MazeTask:
        size_key, half_key, tree_key, openings_key = jax.random.split(key, 4)
        side = self.size + EXTRA if split == "extrapolation" else self.size
        size = jnp.int32(side)
        if split == "train" and self.smallest:
            low = jnp.where(jax.random.bernoulli(half_key), self.smallest, side)
            size = jax.random.randint(size_key, (), low, side + 1, jnp.int32)
        inner = inside(side, size)
        opened = spanning_tree(tree_key, side, inner) | jax.random.bernoulli(openings_key, self.openings, inner.shape)
        right, down = jnp.split(opened & inner, 2)
        blank = jnp.zeros((self.capacity, self.capacity), bool)
        return MazeTask(
            size=size,
            right=blank.at[:side, : side - 1].set(right.reshape(side, side - 1)),
            down=blank.at[: side - 1, :side].set(down.reshape(side - 1, side)),
        )

    def extrapolates(self, task: MazeTask) -> Array:
        return task.size > self.size

    def draw(self, task: MazeTask, episode: Episode) -> Drawing:
        """Draw the walls, the exit, the shortest path and the visited cells."""
        first, last = (0, 0), (int(task.size) - 1, int(task.size) - 1)
        below = [((row + 0.5, column - 0.5), (row + 0.5, column + 0.5)) for row, column in np.argwhere(~task.down)]
        beside = [((row - 0.5, column + 0.5), (row + 0.5, column + 0.5)) for row, column in np.argwhere(~task.right)]
        inside = [ends for ends in below + beside if max(ends[1]) < task.size]
        walls = [Line([centre(end) for end in ends], "wall", 3 * LINE) for ends in inside]
        path = Line([centre(place) for place in shortest_path(task)], "reference", 4 * LINE)
        places = np.stack([episode.state.row, episode.state.column], axis=-1)

        def joined(row: int, column: int) -> bool:
            return bool(task.right[row, column])

        exit_cell, name = marked(last, "exit")
        return walk_drawing(places, first, last, walls, lambda time: [exit_cell, path, name], joined)

    def checked(self, task: Any) -> MazeTask:
        checked: MazeTask = super().checked(task)
        n = int(checked.size)
        right, down = np.asarray(checked.right), np.asarray(checked.down)
        for field, passages, inside in (("right", right, right[:n, : n - 1]), ("down", down, down[: n - 1, :n])):
            if np.sum(passages) != np.sum(inside):
                raise ValueError(f"task number {field!r} of maze has a passage that leaves its {n} x {n} cells")
        if not np.isfinite(exit_distances(checked))[0, 0]:
            raise ValueError("this maze has no path from the start (0, 0) to the exit; open 'right' or 'down' passages")
        return checked


def walls(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells, numbered row by row, on both sides of every inner wall: first the passages right, then down."""
    cells = np.arange(size * size).reshape(size, size)
    one = np.concatenate([cells[:, :-1].ravel(), cells[:-1].ravel()])
    other = np.concatenate([cells[:, 1:].ravel(), cells[1:].ravel()])
    return one, other


def inside(side: int, size: Array) -> Array:
    """Which inner walls of a `side` x `side` grid separate two of its first `size` x `size` cells, bool."""
    rows, columns = np.divmod(np.stack(walls(side)), side)
    return jnp.asarray(np.maximum(rows, columns).max(axis=0), jnp.int32) < size


def spanning_tree(key: Key, side: int, inner: Array) -> Array:
    """Kruskal's algorithm over the walls in random order: which to open, [2 n (n - 1)] bool, in the order of `walls`.

    Cells carry the label of the region they belong to; a wall between two regions is opened and they become one. Walls
    outside `inner` remain.
    """
    one, other = walls(side)
    order = shuffle(key, len(one))

    def visit(label: Array, wall: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        ours, theirs = label[wall[0]], label[wall[1]]
        opens = (ours != theirs) & wall[2]
        return jnp.where((label == ours) & opens, theirs, label), opens

    between = (jnp.asarray(one, jnp.int32)[order], jnp.asarray(other, jnp.int32)[order], inner[order])
    _, opened = jax.lax.scan(visit, jnp.arange(side * side), between, unroll=4)
    return jnp.zeros(len(one), bool).at[order].set(opened)


def shuffle(key: Key, n: int) -> Array:
    """A random order of 0 ... n - 1, [n] int32.

    The number is stored in the low bits of a random word: sorting single words is five times faster than `argsort`.
    """
    low = jnp.uint32((1 << n.bit_length()) - 1)
    words = (jax.random.bits(key, (n,), jnp.uint32) & ~low) | jnp.arange(n, dtype=jnp.uint32)
    return jnp.asarray(jnp.sort(words) & low, jnp.int32)


def open_moves(task: MazeTask, row: Array, column: Array) -> Array:
    """Which of up, right, down, left are open in a cell, [4] bool."""
    above, before = jnp.maximum(row - 1, 0), jnp.maximum(column - 1, 0)
    return jnp.stack(
        [
            (row > 0) & task.down[above, column],
            task.right[row, column],
            task.down[row, column],
            (column > 0) & task.right[row, before],
        ]
    )


def observe(state: State, task: MazeTask) -> Array:
    """Rows and columns to the exit, both one-hot, and the four open moves, [2 C + 4] float32."""
    capacity = task.right.shape[0]
    rows = jax.nn.one_hot(task.size - 1 - state.row, capacity)
    columns = jax.nn.one_hot(task.size - 1 - state.column, capacity)
    return jnp.concatenate([rows, columns, open_moves(task, state.row, state.column).astype(float)])


@jax.jit  # also called outside of compiled programs
def exit_distances(task: MazeTask) -> Array:
    """Steps from every cell to the exit, [C, C] float32; infinite where there is no path.

    Breadth-first search as relaxation: d <- min(d, 1 + min over open neighbours of d), until nothing changes; after i
    rounds every distance up to i is right, so the longest shortest path bounds the rounds.
    """
    capacity = task.right.shape[0]
    at_exit = jnp.arange(capacity, dtype=jnp.int32) == task.size - 1
    start = jnp.where(at_exit[:, None] & at_exit[None, :], 0.0, jnp.inf)

    def relax(distance: Array) -> Array:
        across, along = task.right[:, :-1], task.down[:-1, :]
        best: Array = distance
        best = best.at[:, :-1].min(jnp.where(across, distance[:, 1:] + 1, jnp.inf))
        best = best.at[:, 1:].min(jnp.where(across, distance[:, :-1] + 1, jnp.inf))
        best = best.at[:-1, :].min(jnp.where(along, distance[1:, :] + 1, jnp.inf))
        best = best.at[1:, :].min(jnp.where(along, distance[:-1, :] + 1, jnp.inf))
        return best

    def changed(carry: tuple[Array, Array]) -> Array:
        return jnp.any(carry[0] != carry[1])

    def again(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return carry[1], relax(carry[1])

    settled: tuple[Array, Array] = jax.lax.while_loop(changed, again, (start, relax(start)))
    return settled[1]


def shortest_path(task: MazeTask) -> list[tuple[int, int]]:
    """The cells (row, column) of a shortest path from the start to the exit."""
    distance = np.asarray(exit_distances(task))
    path = [(0, 0)]
    while distance[path[-1]] > 0:
        row, column = path[-1]
        ways = np.asarray(open_moves(task, jnp.int32(row), jnp.int32(column)))
        ahead = [(row + MOVES[i][0], column + MOVES[i][1]) for i in np.flatnonzero(ways)]
        path.append(min(ahead, key=lambda place: float(distance[place])))
    return path
