"""The geometry of charts: numbers become paths and ticks of an SVG image, which `chart.svg.j2` writes.

Lengths are in units of a chart WIDTH wide, so that its text can be read on a telephone. Colours are roles, to which the
style sheet gives a colour for light and for dark pages.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 360.0, 232.0
LEFT, TOP, BOTTOM = 42.0, 24.0, 36.0
LETTER = 6.3  # the mean width of a bold letter
GAP = 12.5  # between the base lines of two labels
ROW = 24.0  # the height of a row of an interval chart
NEAR = 0.5  # of the range of the leading lines, beyond which others are not shown
LONGEST = 15  # letters of a label beside a line
COLOURS = 7  # of runs, after which they are repeated

Interval = tuple[float, float]
Numbers = Sequence[float] | np.ndarray
Format = Callable[[float], str]


class Line(NamedTuple):
    """A curve with a direct label and, where `low` and `high` are known, a band.

    The label is beside the point `at`, or without one outside the chart at the end of the curve.
    """

    label: str
    xs: Numbers
    ys: Numbers
    low: Numbers = ()
    high: Numbers = ()
    role: str = "agent"
    dashed: bool = False
    at: int | None = None


class Estimate(NamedTuple):
    """A row of an interval chart."""

    label: str
    value: float
    interval: Interval | None
    role: str = "agent"


class Dot(NamedTuple):
    """A point of a scatter chart, and what is said of it."""

    x: float
    y: float
    said: str


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Path(NamedTuple):
    """A path, `kind` line, band, dot or guide."""

    d: str
    role: str
    kind: str
    dashed: bool = False
    said: str = ""


class Label(NamedTuple):
    """A text in the chart."""

    x: float
    y: float
    text: str
    role: str
    anchor: str = "start"


class Chart(NamedTuple):
    """What is drawn, from back to front."""

    title: str
    x_label: str
    y_label: str
    height: float
    frame: tuple[float, float, float, float]  # left, top, right, bottom
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    paths: list[Path]
    labels: list[Label]


class Scale(NamedTuple):
    """A linear map from numbers to places on an axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number, in tenths of a unit."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, said: Format, most: int = 5, whole: bool = False) -> list[Tick]:
        """Marks at round numbers."""
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(most, integer=whole, min_n_ticks=2).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [Tick(self(x), said(x)) for x in values if self.low - slack <= x <= self.high + slack]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    whole: bool = False,
    guide: float | None = None,
    leading: Sequence[str] = (),
) -> Chart:
    """Curves, the first in front, each with its name at its right end.

    Args:
        title: What the chart shows.
        x_label: The quantity and unit of the horizontal axis.
        y_label: Those of the vertical axis.
        lines: The curves.
        whole: Whether only whole numbers are marked on the horizontal axis.
        guide: A level at which a horizontal line is drawn.
        leading: The curves by which the vertical axis is scaled, by default all; others may leave the chart.
    """
    extent = _extent(lines, leading) + ([] if guide is None else [guide])
    y = _scale(extent, HEIGHT - BOTTOM, TOP)
    beside = [line for line in lines if line.label and line.at is None]
    texts = [_short(line.label) + _outside(line, y) for line in beside]
    right = WIDTH - 12 - LETTER * max(map(len, texts), default=0)
    x = _scale([value for line in lines for value in line.xs], LEFT, right, margin=0.0)
    paths = [] if guide is None else [Path(f"M{LEFT} {y(guide)}H{right}", "faint", "guide")]
    paths += [path for line in reversed(lines) for path in _drawn(line, x, y)]
    places = _apart([min(max(y(_end(line)), TOP), HEIGHT - BOTTOM) for line in beside])
    inside = [(line, line.at) for line in lines if line.at is not None]
    labels = [
        *(
            Label(right + 6, place + 3.5, text, line.role)
            for line, text, place in zip(beside, texts, places, strict=True)
        ),
        *(Label(x(line.xs[at]) + 5, y(line.ys[at]) - 2, line.label, line.role) for line, at in inside),
    ]
    frame = (LEFT, TOP, right, HEIGHT - BOTTOM)
    x_ticks = x.ticks(plain if whole else engineering, most=4, whole=whole)
    return Chart(title, x_label, y_label, HEIGHT, frame, x_ticks, y.ticks(plain), paths, labels)


def interval_chart(title: str, x_label: str, rows: Sequence[Estimate], *, guide: float | None = None) -> Chart:
    """A row for each estimate: its name, its interval as a bar, and its number."""
    left = 14 + LETTER * max(len(_short(row.label)) for row in rows)
    right = WIDTH - 44.0
    top, bottom = 6.0, 6.0 + ROW * len(rows)
    extent = [value for row in rows for value in (row.value, *(row.interval or ()))]
    x = _scale(extent if guide is None else [*extent, guide], left, right)
    paths = [] if guide is None else [Path(f"M{x(guide)} {top}V{bottom}", "faint", "guide")]
    labels = []
    for index, row in enumerate(rows):
        y = top + ROW * (index + 0.5)
        if row.interval is not None:
            paths.append(Path(f"M{x(row.interval[0])} {y}H{x(row.interval[1])}", row.role, "bar", said=said_of(row)))
        paths.append(_dot(x(row.value), y, row.role, said_of(row), radius=4.0))
        labels.append(Label(left - 8, y + 3.5, _short(row.label), row.role, "end"))
        labels.append(Label(WIDTH - 2, y + 3.5, plain(row.value), "ink", "end"))
    frame = (left, top, right, bottom)
    return Chart(title, x_label, "", bottom + BOTTOM, frame, x.ticks(plain, most=4), [], paths, labels)


def scatter_chart(title: str, x_label: str, y_label: str, dots: Sequence[Dot], said: tuple[str, str]) -> Chart:
    """A dot for each task on two axes with one scale, and the diagonal; `said` tells what lies above and below that."""
    right, bottom = WIDTH - 12, HEIGHT - BOTTOM
    extent = [value for dot in dots for value in (dot.x, dot.y)]
    x, y = _scale(extent, LEFT, right), _scale(extent, bottom, TOP)
    diagonal = Path(f"M{LEFT} {bottom}L{right} {TOP}", "faint", "guide")
    paths = [diagonal, *(_dot(x(dot.x), y(dot.y), "agent", dot.said, radius=4.0) for dot in dots)]
    labels = [  # outside, where no dot is
        Label(right, 12, f"above the line: {said[0]}", "faint", "end"),
        Label(LEFT, HEIGHT - 4, f"below: {said[1]}", "faint"),
    ]
    frame = (LEFT, TOP, right, bottom)
    return Chart(title, x_label, y_label, HEIGHT, frame, x.ticks(plain), y.ticks(plain), paths, labels)


def plain(value: float) -> str:
    """A number in at most four significant digits, with a true minus."""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" if abs(value) < 1e5 else engineering(value)
    return "0" if text in ("-0", "0") else text.replace("-", "\u2212")


def engineering(value: float) -> str:
    """A count with a prefix: 1.5M."""
    from matplotlib.ticker import EngFormatter

    return str(EngFormatter(sep="")(float(f"{value:.3g}"))) if abs(value) >= 1000 else plain(value)


def bracketed(interval: Interval | None) -> str:
    """An interval in brackets, or nothing."""
    return "" if interval is None else f"[{plain(interval[0])}, {plain(interval[1])}]"


def said_of(row: Estimate) -> str:
    """An estimate in words."""
    return f"{row.label}: {plain(row.value)} {bracketed(row.interval)}".rstrip()


def run_role(index: int) -> str:
    """The colour of the run `index`."""
    return f"run-{index % COLOURS}"


def _extent(lines: Sequence[Line], leading: Sequence[str]) -> list[float]:
    """The numbers that the vertical axis shows: those of the leading lines, and others that are not far from them."""
    first = [y for line in lines if not leading or line.label in leading for y in (*line.ys, *line.low, *line.high)]
    near = [y for y in first if np.isfinite(y)] or [0.0]
    low, high = min(near), max(near)
    reach = (high - low) * NEAR
    return near + [y for line in lines for y in line.ys if low - reach <= y <= high + reach]


def _end(line: Line) -> float:
    """The last finite number of a line."""
    return next((float(value) for value in reversed(line.ys) if np.isfinite(value)), 0.0)


def _outside(line: Line, y: Scale) -> str:
    """Where a line ends if that is outside the chart."""
    end = _end(line)
    return "" if y.low <= end <= y.high else f" {plain(end)} {'↓' if end < y.low else '↑'}"


def _apart(places: Sequence[float]) -> list[float]:
    """Places in any order, moved until labels do not overlap."""
    from metarl_jax.experiment.figures import spread

    order = np.argsort(places, kind="stable")
    moved = np.empty(len(order))
    moved[order] = spread([places[index] for index in order], [GAP] * len(order))
    return [round(float(place), 1) for place in moved]


def _scale(values: Sequence[float], start: float, end: float, margin: float = 0.06) -> Scale:
    """The scale that shows all finite values, with a margin at both ends."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = margin * (high - low)
    return Scale(low - room, high + room, start, end)


def _drawn(line: Line, x: Scale, y: Scale) -> list[Path]:
    """The band and the curve of a line, which has gaps where numbers are not finite, and dots where it has few."""
    points = [(x(a), y(b)) for a, b in zip(line.xs, line.ys, strict=True) if np.isfinite(b)]
    paths = []
    if len(line.low):
        there = [(x(a), y(b)) for a, b in zip(line.xs, line.low, strict=True)]
        back = [(x(a), y(b)) for a, b in zip(line.xs, line.high, strict=True)]
        paths.append(Path(_joined([*there, *reversed(back)]) + "Z", line.role, "band"))
    paths.append(Path(_joined(points), line.role, "line", line.dashed, line.label))
    if len(points) <= 12 and not line.dashed:
        paths += [_dot(*point, line.role, radius=2.4) for point in points]
    return paths


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in points) if points else ""


def _dot(x: float, y: float, role: str, said: str = "", radius: float = 3.0) -> Path:
    return Path(
        f"M{x - radius:.1f} {y}a{radius} {radius} 0 1 0 {2 * radius} 0a{radius} {radius} 0 1 0 {-2 * radius} 0Z",
        role,
        "dot",
        said=said,
    )


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"
