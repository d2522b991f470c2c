"""Films of a trained learner in given or held-out tasks: lives recorded with the states that drawing needs."""

from typing import Any

import numpy as np

from metarl_jax.core.drawing import Bounds, Drawing, Episode, Film, Take, around
from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Tree

MOST_FRAMES = 101  # of an episode; longer ones are shown in equal strides


def film(environment: Environment, task: Tree, episodes: dict[str, Episode], title: str) -> Film:
    """The film of named episodes in one task, all of them NumPy arrays."""
    drawings = {name: environment.draw(task, episode) for name, episode in episodes.items()}
    first = next(iter(drawings.values()))
    bounds: Bounds = around(drawing.bounds for drawing in drawings.values())
    takes = [take(name, episodes[name], drawing) for name, drawing in drawings.items()]
    return Film(title, numbers(task), bounds, first.background, takes)


def take(name: str, episode: Episode, drawing: Drawing) -> Take:
    """One episode with its captions, in at most `MOST_FRAMES` frames; the last frame is always shown."""
    steps = len(episode.reward)
    returns = np.concatenate([[0.0], np.cumsum(episode.reward)])
    shown = np.unique(np.linspace(0, steps, min(steps + 1, MOST_FRAMES)).round().astype(int))
    captions = [f"step {step}, return {returns[step]:.2f}" for step in shown]
    return Take(name, float(returns[-1]), [drawing.frames[step] for step in shown], captions)


def numbers(task: Tree) -> dict[str, Any]:
    """The numbers of a task by name, as Python numbers or nested lists of them."""
    return {name: (1 * np.asarray(value)).tolist() for name, value in task._asdict().items() if value is not None}
