"""The main job in three minutes: meta-train on small mazes, then watch the agent in one it has never seen.

python scripts/demo.py [--meta-steps 400]
"""

import argparse
import pathlib

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

import metarl_jax
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.envs.maze import Maze, MazeTask
from metarl_jax.experiment.results import Table, read

ATTEMPTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta-steps", type=int, default=400)
    meta_steps = parser.parse_args().meta_steps
    result = metarl_jax.train("rl2", "maze", size=5, meta_steps=meta_steps, width=96, evaluation_tasks=500)
    table = read(result.path / "evaluation.json")
    task, ways = walks(result)
    print_curve(table)
    watch(task, ways)
    picture(table, task, ways, result.path / "demo.png")
    film = result.play(tasks=[task], seed=1).save(result.path / "demo.gif")
    print(f"\nEverything is in {result.path}; the picture is {result.path / 'demo.png'}, and the film {film}")


def by_attempt(table: Table) -> dict[str, list[float]]:
    """Steps to the exit by attempt, means over mazes that the agent has never seen."""
    columns = [f"episode={attempt},steps" for attempt in range(1, ATTEMPTS + 1)]
    methods = {"meta-trained": "rl2", "random walk": "random"}
    curves = {label: [table.cell(row, column).value for column in columns] for label, row in methods.items()}
    best = table.cell("reference", "episode=1").value  # 1 at the exit, less the cost of the steps before
    return curves | {"shortest path": [1 + (1 - best) / Maze.STEP_COST] * ATTEMPTS}


def print_curve(table: Table) -> None:
    """The curve as text."""
    print(f"\nSteps to the exit in {table.tasks} mazes never seen before, by attempt")
    print("attempt        " + "".join(f"{attempt:7d}" for attempt in range(1, ATTEMPTS + 1)))
    for label, steps in by_attempt(table).items():
        print(f"{label:15s}" + "".join(f"{value:7.1f}" for value in steps))


def walks(result: metarl_jax.Result) -> tuple[MazeTask, list[np.ndarray]]:
    """One held-out maze, and the cells [steps + 1, 2] of the agent's way on its first and on its third attempt."""
    world = result.config.world
    environment, policy = world.environment, world.policy
    task = environment.sample_task(jax.random.key(4), "test")
    scene = opening(environment, policy, task, jax.random.key(1), 1)
    steps = environment.horizon * 3
    play = jax.jit(lambda params, key: rollout(environment, policy, params, task, scene, key, steps, 3)[1])
    seen = play(result.meta_params, jax.random.key(2))
    done = np.asarray(seen.terminated | seen.truncated)[:, 0]
    attempt = np.cumsum(done) - done
    capacity = environment.capacity
    observation = np.asarray(seen.next_observation)[:, 0]
    to_exit = np.stack([observation[:, :capacity].argmax(-1), observation[:, capacity : 2 * capacity].argmax(-1)], -1)
    cells = int(task.size) - 1 - to_exit
    return task, [np.concatenate([np.zeros((1, 2), int), cells[attempt == number]]) for number in (0, 2)]


def watch(task: MazeTask, ways: list[np.ndarray]) -> None:
    """Print the ways through the maze side by side."""
    left, right = (
        [f"attempt {number}: {len(way) - 1} steps", *draw(task, way)] for number, way in zip((1, 3), ways, strict=True)
    )
    print("\nOne of them:")
    for one, other in zip(left, right, strict=True):
        print(f"  {one:{4 * int(task.size) + 8}s}{other}")


def draw(task: MazeTask, visited: np.ndarray) -> list[str]:
    """The maze as lines of text, with a dot in every cell of the way."""
    size, right, down = int(task.size), np.asarray(task.right), np.asarray(task.down)
    way = {tuple(cell) for cell in visited}
    lines = ["+" + "---+" * size]
    for row in range(size):
        cells = [" ● " if (row, column) in way else "   " for column in range(size)]
        walls = [" " if column < size - 1 and right[row, column] else "|" for column in range(size)]
        lines.append("|" + "".join(cell + wall for cell, wall in zip(cells, walls, strict=True)))
        floors = ["   " if row < size - 1 and down[row, column] else "---" for column in range(size)]
        lines.append("+" + "+".join(floors) + "+")
    return lines


def picture(table: Table, task: MazeTask, ways: list[np.ndarray], path: pathlib.Path) -> None:
    """The curve by attempt, and both ways through the maze, as one PNG."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    curve, *mazes = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for label, steps in by_attempt(table).items():
        curve.plot(range(1, ATTEMPTS + 1), steps, label=label, marker="o", markersize=3)
    curve.set(xlabel="attempt", ylabel="steps to the exit", yscale="log", title=f"{table.tasks} unseen mazes")
    curve.legend(fontsize="small")
    for panel, number, way in zip(mazes, (1, 3), ways, strict=True):
        draw_walls(panel, task)
        panel.plot(way[:, 1], way[:, 0], color="C0", linewidth=2, alpha=0.7)
        panel.plot(task.size - 1, task.size - 1, marker="*", color="C3", markersize=12)
        panel.set(title=f"attempt {number}: {len(way) - 1} steps")
    figure.savefig(path, dpi=120)


def draw_walls(panel: Axes, task: MazeTask) -> None:
    """The walls of the maze as lines."""
    size = int(task.size)
    closed = ~np.asarray(task.right)[:size, : size - 1], ~np.asarray(task.down)[: size - 1, :size]
    upright = [[(column + 0.5, row - 0.5), (column + 0.5, row + 0.5)] for row, column in np.argwhere(closed[0])]
    level = [[(column - 0.5, row + 0.5), (column + 0.5, row + 0.5)] for row, column in np.argwhere(closed[1])]
    edge = size - 0.5
    border = [(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge), (-0.5, -0.5)]
    panel.add_collection(LineCollection([*upright, *level, border], colors="black", linewidths=1.5))
    panel.set(xlim=(-0.7, size - 0.3), ylim=(size - 0.3, -0.7), aspect="equal")
    panel.axis("off")


if __name__ == "__main__":
    main()
