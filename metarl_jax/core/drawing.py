"""Drawings: a handful of shapes, coloured by role, in the coordinates of the environment with y upwards.

An environment draws an episode as shapes; what shows them (a GIF, a page, a notebook) chooses the colours.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from metarl_jax.core.types import Array, Tree

Colour = Literal["ink", "faint", "wall", "agent", "goal", "danger", "reference", "visited"]
Place = Sequence[float] | np.ndarray | Array  # x and y
Places = Sequence[Place] | np.ndarray | Array  # [n, 2]
DIGITS = 3  # decimals of a number in a film
ROW, WIDE = 3.0, 8.0  # height of a row of bars, which lie in +-1, and its width


class Line(NamedTuple):
    """A line through points, with its width in units of the environment."""

    points: Places
    colour: Colour = "ink"
    width: float = 0.05
    opacity: float = 1.0


class Disc(NamedTuple):
    """A disc, or with `filled` False its circle."""

    centre: Place
    radius: float
    colour: Colour = "ink"
    filled: bool = True
    opacity: float = 1.0


class Polygon(NamedTuple):
    """A polygon, or with `filled` False its outline."""

    points: Places
    colour: Colour = "ink"
    filled: bool = True
    opacity: float = 1.0


class Text(NamedTuple):
    """A text centred at a place, with its height in units of the environment."""

    at: Place
    text: str
    size: float
    colour: Colour = "ink"
    opacity: float = 1.0


Shape = Line | Disc | Polygon | Text
Bounds = tuple[float, float, float, float]  # lowest x and y, highest x and y


class Episode(NamedTuple):
    """One recorded episode of T steps: NumPy arrays."""

    state: Tree  # [T+1, ...] at first, and after every step
    observation: np.ndarray  # [T+1, O]
    action: np.ndarray  # [T, ...]
    reward: np.ndarray  # [T]

    def state_at(self, time: int) -> Tree:
        """The state after `time` steps."""
        return jax.tree.map(lambda leaf: leaf[time], self.state)


class Drawing(NamedTuple):
    """An episode as shapes."""

    bounds: Bounds
    background: Sequence[Shape]  # the same in every frame, and in every episode of a task
    frames: Sequence[Sequence[Shape]]  # [T+1], what comes last is drawn on top


class Take(NamedTuple):
    """One episode of a film."""

    name: str
    earned: float  # return
    frames: Sequence[Sequence[Shape]]
    captions: list[str]  # one a frame


class Film(NamedTuple):
    """Episodes of one task, in front of one background."""

    title: str
    task: dict[str, Any]  # numbers, or nested lists of them
    bounds: Bounds
    background: Sequence[Shape]
    episodes: list[Take]

    def to_json(self) -> dict[str, Any]:
        """The film as dicts, lists, numbers and strings, numbers rounded to `DIGITS` decimals."""
        return {
            "title": self.title,
            "task": _plain(self.task),
            "bounds": _plain(self.bounds),
            "background": [_shape(shape) for shape in self.background],
            "episodes": [_take(take) for take in self.episodes],
        }


def box(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """The corners of a rectangle, [4, 2]."""
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)])


def around(bounds: Iterable[Bounds]) -> Bounds:
    """The smallest bounds that hold all the given ones."""
    x0, y0, x1, y1 = zip(*bounds, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def bars(episode: Episode, actions: int | None) -> Drawing:
    """Three rows of bars: the observation, the action and the reward; `actions` is the number of discrete ones."""
    done = episode.action if actions is None else np.eye(actions)[episode.action]
    rows = {"observation": episode.observation, "action": _delayed(done), "reward": _delayed(episode.reward)}
    background: list[Shape] = []
    frames: list[list[Shape]] = [[] for _ in episode.observation]
    for level, (name, values) in zip((0.0, -ROW, -2.0 * ROW), rows.items(), strict=True):
        background += [Line([(0, level), (WIDE, level)], "faint"), Text((WIDE / 2, level + 1.35), name, 0.4)]
        colour: Colour = "agent" if name == "action" else "ink" if name == "observation" else "goal"
        flat = values.reshape(len(values), -1)
        heights = flat / np.maximum(1e-6, np.max(np.abs(flat), axis=0))  # each number in its own scale
        for frame, row in zip(frames, heights, strict=True):
            frame += [Polygon(_bar(int(i), len(row), level, row[i]), colour) for i in np.flatnonzero(row)]
    return Drawing((-0.5, -2 * ROW - 1.1, WIDE + 0.5, 1.7), background, frames)


def _bar(index: int, count: int, level: float, height: float) -> np.ndarray:
    """The corners of a bar among `count` side by side, at most 1 wide each and in the middle of the row."""
    width = min(1.0, WIDE / count)
    middle = WIDE / 2 + width * (index - (count - 1) / 2)
    return box(middle - 0.35 * width, level, middle + 0.35 * width, level + height)


def _delayed(values: np.ndarray) -> np.ndarray:
    """What each frame shows of the steps: that of the step before, and nothing at first."""
    return np.concatenate([np.zeros_like(values[:1]), values])


def _take(take: Take) -> dict[str, Any]:
    frames = [[_shape(shape) for shape in frame] for frame in take.frames]
    return {"name": take.name, "return": _plain(take.earned), "frames": frames, "captions": take.captions}


def _shape(shape: Shape) -> dict[str, Any]:
    fields = shape._asdict()
    if fields["opacity"] == 1:
        del fields["opacity"]
    return {"kind": type(shape).__name__.lower(), **_plain(fields)}


def _plain(value: Any) -> Any:
    """Tuples and arrays as lists, and whole numbers without a decimal point, which keeps the JSON small."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, str | bool):
        return value
    if np.ndim(value):
        return [_plain(entry) for entry in value]
    number = round(float(value), DIGITS)
    return int(number) if math.isfinite(number) and number == int(number) else number
