"""Mazes: solvable, spanned by a tree, and walked as their walls say."""

import collections
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Step
from metarl_jax.envs import Maze
from metarl_jax.envs.maze import MOVES, MazeTask, State, exit_distances, shuffle

OPPOSITE = {0: 2, 1: 3, 2: 0, 3: 1}


@functools.cache
def mazes(n: int, openings: float = 0.1, split: Any = "train") -> MazeTask:
    environment = Maze(openings=openings)
    return jax.tree.map(
        np.asarray,
        jax.jit(jax.vmap(lambda key: environment.sample_task(key, split)))(jax.random.split(jax.random.key(0), n)),
    )


def neighbours(task: MazeTask, cell: tuple[int, int]) -> list[tuple[int, int]]:
    row, column = cell
    found = []
    if task.right[row, column]:
        found.append((row, column + 1))
    if column and task.right[row, column - 1]:
        found.append((row, column - 1))
    if task.down[row, column]:
        found.append((row + 1, column))
    if row and task.down[row - 1, column]:
        found.append((row - 1, column))
    return found


def search(task: MazeTask, goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Steps to the goal from every cell that can reach it, by breadth-first search."""
    distance, queue = {goal: 0}, collections.deque([goal])
    while queue:
        cell = queue.popleft()
        for other in neighbours(task, cell):
            if other not in distance:
                distance[other] = distance[cell] + 1
                queue.append(other)
    return distance


def one(tasks: MazeTask, i: int) -> MazeTask:
    return MazeTask(*(leaf[i] for leaf in tasks))


@pytest.mark.parametrize(("split", "n", "size"), [("train", 1_000, 7), ("extrapolation", 200, 9)])
def test_every_cell_reaches_the_exit_and_distances_are_right(split: Any, n: int, size: int) -> None:
    tasks = mazes(n, split=split)
    distances = np.asarray(jax.jit(jax.vmap(exit_distances))(tasks))
    for i in range(n):
        found = search(one(tasks, i), (size - 1, size - 1))
        assert set(found) == {(row, column) for row in range(size) for column in range(size)}
        expected = np.full((9, 9), np.inf)
        for cell, steps in found.items():
            expected[cell] = steps
        assert np.array_equal(distances[i], expected)


def passages(tasks: MazeTask) -> np.ndarray:
    return tasks.right.sum(axis=(1, 2)) + tasks.down.sum(axis=(1, 2))


def test_without_openings_the_corridors_are_a_tree() -> None:
    """A connected graph of 49 cells with 48 passages has no circle."""
    tasks = mazes(200, openings=0.0)
    assert np.all(passages(tasks) == 48)
    assert all(len(search(one(tasks, i), (0, 0))) == 49 for i in range(200))
    assert len({one(tasks, i).right.tobytes() + one(tasks, i).down.tobytes() for i in range(200)}) == 200


def test_openings_open_their_share_of_the_walls_that_are_left() -> None:
    """36 of the 84 inner walls are left by the tree; one in ten of them opens: 3.6 +- .057 in the mean of 1,000."""
    opened = passages(mazes(1_000)) - 48
    assert abs(opened.mean() - 3.6) < 0.25
    assert np.all(passages(jax.tree.map(lambda leaf: leaf[None], open_field())) == 84)


def open_field() -> MazeTask:
    return jax.tree.map(np.asarray, Maze(openings=1.0).draw_task(jax.random.key(0), "train"))


def test_every_wall_is_as_likely_as_its_mirror_image() -> None:
    """The law does not change when the maze is transposed, nor when it is turned by half."""
    tasks = mazes(1_000)
    right, down = tasks.right[:, :7, :6].mean(axis=0), tasks.down[:, :6, :7].mean(axis=0)
    assert np.max(np.abs(right - down.T)) < 0.1  # standard error .022
    assert np.max(np.abs(right - right[::-1, ::-1])) < 0.1


def test_orders_are_uniform_permutations() -> None:
    orders = np.asarray(jax.vmap(lambda key: shuffle(key, 5))(jax.random.split(jax.random.key(0), 6_000)))
    assert np.array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(5), (6_000, 5)))
    counts = np.array(list(collections.Counter(map(tuple, orders.tolist())).values()))
    assert len(counts) == 120
    assert np.sum((counts - 50) ** 2 / 50) < 180  # chi squared with 119 degrees of freedom, p < .0003


@functools.cache
def every_move() -> tuple[MazeTask, Step]:
    """Each of the four moves from each cell of 20 mazes: tasks [20], steps [20, 7, 7, 4]."""
    environment, tasks = Maze(), MazeTask(*(leaf[:20] for leaf in mazes(1_000)))

    def move(task: MazeTask, row: jax.Array, column: jax.Array, action: jax.Array) -> Step:
        return environment.step(jax.random.key(0), State(row, column, jnp.int32(0)), action, task)

    for axes in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None), (0, None, None, None)):
        move = jax.vmap(move, in_axes=axes)
    return tasks, jax.tree.map(np.asarray, jax.jit(move)(tasks, jnp.arange(7), jnp.arange(7), jnp.arange(4)))


def test_moves_follow_the_passages_and_walls_hold() -> None:
    tasks, steps = every_move()
    for i, row, column, action in np.ndindex(20, 7, 7, 4):
        aim = (row + MOVES[action][0], column + MOVES[action][1])
        came = (int(steps.state.row[i, row, column, action]), int(steps.state.column[i, row, column, action]))
        assert came == (aim if aim in neighbours(one(tasks, i), (row, column)) else (row, column))


def test_every_move_can_be_taken_back() -> None:
    steps = every_move()[1]
    for i, row, column, action in np.ndindex(20, 7, 7, 4):
        there = (steps.state.row[i, row, column, action], steps.state.column[i, row, column, action])
        if there != (row, column):
            back = (i, *there, OPPOSITE[action])
            assert (steps.state.row[back], steps.state.column[back]) == (row, column)


def test_the_walker_sees_its_distance_and_its_walls_and_no_more() -> None:
    tasks, steps = every_move()
    assert steps.observation.shape[-1] == 2 * 9 + 4
    for i, row, column, action in np.ndindex(20, 7, 7, 4):
        at = (i, row, column, action)
        there = (int(steps.state.row[at]), int(steps.state.column[at]))
        rows, columns, moves = np.split(steps.observation[at], [9, 18])
        assert np.flatnonzero(rows).tolist() == [6 - there[0]]
        assert np.flatnonzero(columns).tolist() == [6 - there[1]]
        seen = {(there[0] + dr, there[1] + dc) for (dr, dc), bit in zip(MOVES, moves, strict=True) if bit}
        assert seen == set(neighbours(one(tasks, i), there))


def test_the_exit_pays_and_ends_and_the_rest_costs() -> None:
    steps = every_move()[1]
    out = (steps.state.row == 6) & (steps.state.column == 6)
    assert np.array_equal(steps.terminated, out)
    assert out.any()
    np.testing.assert_array_equal(steps.reward, np.where(out, np.float32(1.0), np.float32(-Maze.STEP_COST)))


def test_the_default_clock_is_twenty_steps_a_row() -> None:
    assert Maze(size=5).horizon == 100
    assert Maze(size=5, steps=33).horizon == 33
