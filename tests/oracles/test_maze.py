"""The explorer of mazes against a plain search."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from samples import draw

from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.envs import Maze
from metarl_jax.envs.maze import MOVES, MazeTask, open_moves
from metarl_jax.oracles import maze, reference
from metarl_jax.oracles.play import play


@functools.cache
def explored(openings: float) -> tuple[Any, np.ndarray, np.ndarray]:
    """300 mazes with the explorer's steps [300, 10] and the shortest ones [300]."""
    environment = Maze(openings=openings)
    tasks = draw(environment, 300)
    both = jax.jit(jax.vmap(lambda task: (maze.explorer_steps(environment, task), maze.shortest_steps(task))))
    explorer, shortest = both(tasks)
    return jax.tree.map(np.asarray, tasks), np.asarray(explorer), np.asarray(shortest)


def test_the_explorer_learns_from_its_first_attempt() -> None:
    _, explorer, shortest = explored(0.1)
    assert np.all(np.diff(explorer, axis=1) <= 0)
    assert np.all(explorer >= shortest[:, None])
    ratio = (explorer / shortest[:, None]).mean(axis=0)
    assert ratio[0] > 1.5  # 2.01 over 4,096 mazes
    assert 1.0 < ratio[2] < 1.08  # 1.048


def test_in_a_tree_the_explorer_walks_the_shortest_path_from_attempt_two() -> None:
    _, explorer, shortest = explored(0.0)
    assert np.array_equal(explorer[:, 1:], np.broadcast_to(shortest[:, None], (300, 9)))
    assert np.any(explorer[:, 0] > shortest)


def test_the_first_attempt_is_a_depth_first_search() -> None:
    tasks, explorer, _ = explored(0.1)
    for i in range(100):
        assert explorer[i, 0] == depth_first_steps(jax.tree.map(lambda leaf, i=i: leaf[i], tasks))


def depth_first_steps(task: MazeTask) -> int:
    """The same explorer on a plain stack."""
    n, stack, seen, steps = int(task.size), [(0, 0)], {(0, 0)}, 0
    while stack[-1] != (n - 1, n - 1):
        row, column = stack[-1]
        gain = {0: -(n - 1 - row), 1: n - 1 - column, 2: n - 1 - row, 3: -(n - 1 - column)}
        is_open = {
            0: row > 0 and task.down[row - 1, column],
            1: task.right[row, column],
            2: task.down[row, column],
            3: column > 0 and task.right[row, column - 1],
        }
        fresh = [m for m in range(4) if is_open[m] and (row + MOVES[m][0], column + MOVES[m][1]) not in seen]
        steps += 1
        if not fresh:
            stack.pop()
            continue
        best = max(fresh, key=lambda m: (gain[m], -m))
        stack.append((row + MOVES[best][0], column + MOVES[best][1]))
        seen.add(stack[-1])
    return steps


def test_too_short_a_clock_leaves_the_explorer_inside() -> None:
    environment = Maze(steps=11)  # the shortest path takes at least 12
    steps = jax.vmap(lambda task: maze.explorer_steps(environment, task))(draw(environment, 3))
    assert np.all(np.isinf(steps))
    returns = reference(environment)(jax.random.key(0), draw(environment, 3))
    np.testing.assert_allclose(returns, -0.11, rtol=1e-5)


def test_the_maze_reference_is_what_the_environment_pays() -> None:
    environment = Maze()
    tasks = draw(environment, 50)

    def walk(task: Tree) -> Array:
        distance = maze.exit_distances(task)

        def act(key: Key, state: Any, task: Any) -> Array:
            cells = jnp.stack([state.row, state.column]) + jnp.asarray(MOVES)
            ahead = jnp.where(open_moves(task, state.row, state.column), distance[cells[:, 0], cells[:, 1]], jnp.inf)
            return jnp.argmin(ahead)

        return play(environment, act, jax.random.key(0), task).total

    expected = reference(environment)(jax.random.key(0), tasks)
    np.testing.assert_allclose(jax.jit(jax.vmap(walk))(tasks), expected[:, 0], atol=1e-5)


def test_a_random_walk_rarely_finds_the_exit() -> None:
    environment = Maze()
    keys = jax.random.split(jax.random.key(0), 300)
    walks = jax.jit(jax.vmap(lambda key, task: maze.random_walk(environment, key, task)))(keys, draw(environment, 300))
    assert 0.0 < np.mean(walks.terminated) < 0.2  # 5.9 % get out within 140 steps
    assert np.all(walks.steps[~walks.terminated] == environment.horizon)
