"""The main job in three minutes: meta-train on small mazes, then watch the agent in one it has never seen.

python scripts/demo.py [--meta-steps 150]
"""

import argparse

import jax
import numpy as np

import metarl_jax
from metarl_jax.core.lifetime import begin_lifetime
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.envs.maze import Maze, MazeTask
from metarl_jax.experiment.results import Table

ATTEMPTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta-steps", type=int, default=150)
    meta_steps = parser.parse_args().meta_steps
    result = metarl_jax.train("rl2", "maze", size=5, meta_steps=meta_steps, width=96, evaluation_tasks=500)
    print_curve(result.evaluate().table)
    watch(result)
    print(f"\nEverything is in {result.path}; the picture is {result.path / 'adaptation.png'}")


def print_curve(table: Table) -> None:
    """Steps to the exit by attempt, means over mazes that the agent has never seen."""
    print(f"\nSteps to the exit in {table.tasks} mazes never seen before, by attempt")
    print("attempt        " + "".join(f"{attempt:7d}" for attempt in range(1, ATTEMPTS + 1)))
    for row, label in (("rl2", "meta-trained"), ("random", "random walk")):
        values = [table.cell(row, f"episode={attempt},steps").value for attempt in range(1, ATTEMPTS + 1)]
        print(f"{label:15s}" + "".join(f"{value:7.1f}" for value in values))
    best = table.cell("reference", "episode=1").value  # 1 at the exit, less the cost of the steps before
    print(f"{'shortest path':15s}" + f"{1 + (1 - best) / Maze.STEP_COST:7.1f}" * ATTEMPTS)


def watch(result: metarl_jax.Result) -> None:
    """Draw the way that the agent takes through one held-out maze on its first and on its third attempt."""
    environment, algorithm = result.config.environment, result.config.algorithm
    task = environment.sample_task(jax.random.key(4), "test")
    lifetime = algorithm.lifetime(environment)
    agent = begin_lifetime(lifetime, result.meta_params, task, jax.random.key(0)).agent
    scene = opening(environment, lifetime.policy, task, jax.random.key(1), 1)
    steps, policy = environment.horizon * 3, lifetime.policy
    play = jax.jit(lambda params, key: rollout(environment, policy, params, task, scene, key, steps, 3)[1])
    seen = play(agent.params, jax.random.key(2))
    done = np.asarray(seen.terminated | seen.truncated)[:, 0]
    attempt = np.cumsum(done) - done
    capacity, size = environment.capacity, int(task.size)
    observation = np.asarray(seen.timestep.observation)[:, 0]
    cells = np.stack([observation[:, :capacity].argmax(-1), observation[:, capacity : 2 * capacity].argmax(-1)], -1)
    cells = size - 1 - cells
    drawings = [draw(task, cells[attempt == number]) for number in (0, 2)]
    titles = [f"attempt {number + 1}: {np.sum(attempt == number)} steps" for number in (0, 2)]
    print("\nOne of them:")
    for left, right in zip([titles[0], *drawings[0]], [titles[1], *drawings[1]], strict=True):
        print(f"  {left:{4 * size + 8}s}{right}")


def draw(task: MazeTask, visited: np.ndarray) -> list[str]:
    """The maze as lines of text, with a dot in every cell of the way."""
    size, right, down = int(task.size), np.asarray(task.right), np.asarray(task.down)
    way = {tuple(cell) for cell in visited} | {(size - 1, size - 1)}
    lines = ["+" + "---+" * size]
    for row in range(size):
        cells = [" ● " if (row, column) in way else "   " for column in range(size)]
        walls = [" " if column < size - 1 and right[row, column] else "|" for column in range(size)]
        lines.append("|" + "".join(cell + wall for cell, wall in zip(cells, walls, strict=True)))
        floors = ["   " if row < size - 1 and down[row, column] else "---" for column in range(size)]
        lines.append("+" + "+".join(floors) + "+")
    return lines


if __name__ == "__main__":
    main()
