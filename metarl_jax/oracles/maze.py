"""Agents in a maze: the shortest path on a known map, the depth-first explorer, the random walk."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.maze import MOVES, Maze, MazeTask, State, exit_distances, open_moves
from metarl_jax.oracles.play import Episode, play

UNSEEN, ROOT = -1, 4  # in place of the move that first led to a cell


class Walk(NamedTuple):
    """The state of an explorer."""

    row: Array  # [] int32
    column: Array  # [] int32
    steps: Array  # [] int32
    came: Array  # [C, C] int32 the move that first led to each cell, ROOT at the start, UNSEEN elsewhere


def shortest_steps(task: MazeTask) -> Array:
    """Steps from the start to the exit on a known map, [] float32; see `exit_distances` for the proof."""
    return exit_distances(task)[0, 0]


def random_walk(environment: Maze, key: Key, task: MazeTask) -> Episode:
    """One attempt with uniformly random moves, including moves into walls."""

    def act(key: Key, state: State, task: MazeTask) -> Array:
        return jax.random.randint(key, (), 0, len(MOVES), jnp.int32)

    return play(environment, act, key, task)


def explorer_steps(environment: Maze, task: MazeTask) -> Array:
    """Steps of the explorer in each attempt of a trial, [episodes] float32; infinite if it does not reach the exit.

    Attempt 1 is a depth-first search with the observations of the agent. It goes to an unseen neighbour, if possible
    the one toward the exit along the longer axis, and otherwise backtracks; every move counts. It walks each passage of
    its search tree at most twice, so it reaches the exit within 2 (n^2 - 1) steps. Later attempts take the shortest
    path through the passages seen so far, and see more on the way.
    """
    first = search(environment, task)
    seen = first.came != UNSEEN

    def attempt(seen: Array, _: None) -> tuple[Array, Array]:
        known = known_passages(task, seen)
        distance = exit_distances(known)
        return seen | downhill(known, distance), distance[0, 0]

    _, later = jax.lax.scan(attempt, seen, None, length=environment.episodes - 1)
    steps = jnp.concatenate([jnp.where(at_exit(first, task), first.steps, jnp.inf)[None], later])
    return jnp.where(steps <= environment.horizon, steps, jnp.inf)


def search(environment: Maze, task: MazeTask) -> Walk:
    """The depth-first attempt, up to the exit or the time limit."""
    capacity = task.right.shape[0]
    came = jnp.full((capacity, capacity), UNSEEN).at[0, 0].set(ROOT)

    def goes_on(walk: Walk) -> Array:
        return ~at_exit(walk, task) & (walk.steps < environment.horizon)

    def advance(walk: Walk) -> Walk:
        moves = jnp.asarray(MOVES, jnp.int32)
        neighbours = moves + jnp.stack([walk.row, walk.column])
        unseen = open_moves(task, walk.row, walk.column) & (walk.came[neighbours[:, 0], neighbours[:, 1]] == UNSEEN)
        left = task.size - 1 - jnp.stack([walk.row, walk.column])
        onward = jnp.argmax(jnp.where(unseen, moves @ left, -task.size - 1))
        back = (walk.came[walk.row, walk.column] + 2) % len(MOVES)
        move = jnp.where(jnp.any(unseen), onward, back)
        row, column = walk.row + moves[move, 0], walk.column + moves[move, 1]
        led = jnp.where(walk.came[row, column] == UNSEEN, move, walk.came[row, column])
        return Walk(row, column, walk.steps + 1, walk.came.at[row, column].set(led))

    walk: Walk = jax.lax.while_loop(goes_on, advance, Walk(jnp.int32(0), jnp.int32(0), jnp.int32(0), came))
    return walk


def at_exit(walk: Walk, task: MazeTask) -> Array:
    """Whether the explorer stands at the exit, [] bool."""
    return (walk.row == task.size - 1) & (walk.column == task.size - 1)


def known_passages(task: MazeTask, seen: Array) -> MazeTask:
    """The maze with the passages that touch a seen cell, and no others."""
    beside = seen | jnp.roll(seen, -1, axis=1)  # a passage leads to the next column, never off the last one
    below = seen | jnp.roll(seen, -1, axis=0)
    return MazeTask(task.size, task.right & beside, task.down & below)


def downhill(known: MazeTask, distance: Array) -> Array:
    """The cells of one shortest path from the start, [C, C] bool; none where there is no path."""

    def goes_on(carry: tuple[Array, Array]) -> Array:
        left = distance[carry[0][0], carry[0][1]]
        return (left > 0) & jnp.isfinite(left)

    def advance(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        cell, path = carry
        neighbours = cell + jnp.asarray(MOVES, jnp.int32)
        left = jnp.where(open_moves(known, cell[0], cell[1]), distance[neighbours[:, 0], neighbours[:, 1]], jnp.inf)
        return neighbours[jnp.argmin(left)], path.at[cell[0], cell[1]].set(True)

    start = (jnp.zeros(2, jnp.int32), jnp.zeros(distance.shape, bool))
    walked: tuple[Array, Array] = jax.lax.while_loop(goes_on, advance, start)
    return walked[1]


def attempt_return(environment: Maze, steps: Array) -> Array:
    """The return of an attempt that reaches the exit after `steps` steps, or never; elementwise."""
    out = 1.0 - environment.STEP_COST * (steps - 1)
    return jnp.where(steps <= environment.horizon, out, -environment.STEP_COST * environment.horizon)


def reference_returns(environment: Maze, key: Key, task: MazeTask) -> Array:
    """The return of the shortest path in each attempt of a trial, [episodes]."""
    return jnp.full(environment.episodes, attempt_return(environment, shortest_steps(task)))
