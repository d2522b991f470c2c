"""How boards of cells are drawn: the cell in row r and column c has its centre at (c, -r)."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from metarl_jax.core.drawing import Bounds, Colour, Disc, Drawing, Line, Place, Polygon, Shape, Text, box

MARGIN = 0.25  # around the board, in cells
LINE = 0.03  # width of the lines between cells
INSIDE = 0.47  # from the centre of a cell to the edge of its colour
BODY = 0.3  # radius of the walker
Joined = Callable[[int, int], bool]  # row, column -> whether a cell has no wall to its right


def walk_drawing(
    places: np.ndarray,
    first: tuple[int, int],
    last: tuple[int, int],
    scenery: Sequence[Shape],
    things: Callable[[int], Sequence[Shape]],
    joined: Joined = lambda row, column: True,
) -> Drawing:
    """A walk through `places` [T+1, 2] (row, column) over the board from cell `first` to cell `last`.

    `scenery` stands in the background. The things of a time lie on the visited cells, and the walker on all.
    Visited cells are `joined` to their right neighbours unless there is a wall between them.
    """
    frames = [
        [*tiles(places[: time + 1], "visited", joined), *things(time), walker(place)]
        for time, place in enumerate(places)
    ]
    return Drawing(bounds(first, last), [*grid(first, last), *scenery], frames)


def bounds(first: tuple[int, int], last: tuple[int, int]) -> Bounds:
    """The bounds of a board with its margin."""
    rim = 0.5 + MARGIN
    return first[1] - rim, -last[0] - rim, last[1] + rim, -first[0] + rim


def grid(first: tuple[int, int], last: tuple[int, int]) -> list[Shape]:
    """The faint lines between the cells of a board, and its wall."""
    top, left, bottom, right = 0.5 - first[0], first[1] - 0.5, -last[0] - 0.5, last[1] + 0.5
    rows = [Line([(left, y), (right, y)], "faint", LINE) for y in np.arange(bottom + 1, top)]
    columns = [Line([(x, bottom), (x, top)], "faint", LINE) for x in np.arange(left + 1, right)]
    return [*rows, *columns, Line(np.vstack([box(left, bottom, right, top), [(left, bottom)]]), "wall", 2 * LINE)]


def centre(place: Place) -> tuple[float, float]:
    """The centre of the cell in a row and column."""
    return float(place[1]), -float(place[0])


def tile(place: Place, colour: Colour, columns: int = 1) -> Polygon:
    """A cell, or that and the following ones of its row."""
    x, y = centre(place)
    return Polygon(box(x - INSIDE, y - INSIDE, x + columns - 1 + INSIDE, y + INSIDE), colour)


def tiles(places: np.ndarray, colour: Colour, joined: Joined = lambda row, column: True) -> list[Shape]:
    """Each of the cells [n, 2] once; those side by side in a row are one shape, which keeps films small."""
    cells = {(int(row), int(column)) for row, column in places}

    def goes_on(row: int, column: int) -> bool:
        return (row, column) in cells and (row, column + 1) in cells and joined(row, column)

    runs: list[Shape] = []
    for row, column in sorted(cells):
        if not goes_on(row, column - 1):
            end = next(end for end in itertools.count(column) if not goes_on(row, end))
            runs.append(tile((row, column), colour, end - column + 1))
    return runs


def label(place: Place, text: str, colour: Colour = "ink", size: float = 0.3) -> Text:
    """A text in the middle of a cell."""
    return Text(centre(place), text, size, colour)


def payer(place: Place, pay: float) -> list[Shape]:
    """A cell that pays a reward, or costs one."""
    return [tile(place, "goal" if pay > 0 else "danger"), label(place, f"{pay:+.2g}", size=0.25)]


def marked(place: Place, name: str, colour: Colour = "goal") -> list[Shape]:
    """A coloured cell with its name."""
    return [tile(place, colour), label(place, name)]


def walker(place: Place) -> Disc:
    """The agent in a cell."""
    return Disc(centre(place), BODY, "agent")
