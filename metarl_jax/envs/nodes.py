"""How processes with a few states are drawn: a disc for each state, and lines along the transitions of an episode."""

from collections.abc import Sequence

import numpy as np

from metarl_jax.core.drawing import Bounds, Colour, Disc, Drawing, Line, Place, Shape, Text
from metarl_jax.core.types import Array

RADIUS = 0.3  # of a node
MARGIN = 0.9  # around the nodes
LONG = 6.0  # the longest of several chains


def node(place: Place, name: str, colour: Colour = "faint", out: float = 0.0) -> list[Shape]:
    """A state, and its name `out` units further from the origin."""
    away = np.asarray(place) * (1 + out / max(1e-6, float(np.linalg.norm(place))))
    return [Disc(place, RADIUS, colour), Text(away, name, RADIUS)]


def journey(
    places: np.ndarray,
    nodes: Sequence[Shape],
    things: Sequence[Sequence[Shape]] | None = None,
    *,
    trail: bool = True,
) -> Drawing:
    """A walk through the `places` [T+1, 2] of states, with its last transition on top.

    `things` [T+1] are what else each frame shows; without a `trail` earlier transitions are not shown.
    """
    things = [()] * len(places) if things is None else things
    frames = []
    for time, place in enumerate(places):
        past = [Line(places[:time], "visited", 0.06)] if trail and time > 1 else []
        last = [Line(places[time - 1 : time + 1], "agent", 0.06)] if time else []
        frames.append([*past, *last, *things[time], Disc(place, 0.6 * RADIUS, "agent")])
    return Drawing(around_nodes(nodes), list(nodes), frames)


def chains(
    lengths: Sequence[int], pays: Sequence[float] | np.ndarray | Array, chain: np.ndarray, time: np.ndarray
) -> Drawing:
    """Chains one below the other, each paying at its end; the agent is on one of them after its first step, [T+1]."""
    unit, rows = LONG / max(lengths), -np.arange(len(lengths), dtype=float)
    middle = float(np.mean(rows))
    nodes: list[Shape] = [Line([(0.0, y), (unit * n, y)], "faint", 0.06) for n, y in zip(lengths, rows, strict=True)]
    nodes += [Line([(-1.0, middle), (0.0, y)], "faint", 0.06) for y in rows]
    nodes += node((-1.0, middle), "")
    for length, pay, y in zip(lengths, pays, rows, strict=True):
        nodes += [*node((unit * length, y), "", "goal" if pay == max(pays) else "danger" if pay < 0 else "visited")]
        nodes += [Text((LONG + 2.0, y), f"{pay:+.2f} after {length}", 0.35)]
    on_chain = np.stack([unit * np.minimum(time, np.asarray(lengths)[chain]), rows[chain]], axis=-1)
    places = np.where(time[:, None] == 0, np.array([-1.0, middle]), on_chain)
    left, low, _, high = around_nodes(nodes)
    return Drawing((left, low, LONG + 3.6, high), nodes, journey(places, nodes).frames)


def around_nodes(nodes: Sequence[Shape]) -> Bounds:
    """The bounds of the discs, with a margin."""
    centres = np.array([shape.centre for shape in nodes if isinstance(shape, Disc)])
    (x0, y0), (x1, y1) = centres.min(axis=0) - MARGIN, centres.max(axis=0) + MARGIN
    return float(x0), float(y0), float(x1), float(y1)


def circle(count: int) -> np.ndarray:
    """Places on a circle, the first on top and the next ones clockwise, [count, 2]."""
    angle = 2 * np.pi * np.arange(count) / count
    return count * RADIUS / 2.2 * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
