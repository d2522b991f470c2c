"""The geometry of charts: places, ticks and labels."""

import re

import numpy as np
import pytest

from metarl_jax.experiment.report import charts
from metarl_jax.experiment.report.charts import Dot, Estimate, Line, interval_chart, line_chart, plain, scatter_chart


def points(path):
    """The places of a path that consists of lines."""
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.d.split("V")[0])[1:]]


def test_the_first_line_is_drawn_last_and_higher_numbers_are_higher_up():
    lines = [Line("rl2", [1, 2, 3], [0.0, 1.0, 2.0]), Line("random", [1, 3], [0.5, 0.5], role="random", dashed=True)]
    chart = line_chart("title", "episode", "return", lines, whole=True)
    drawn = [path for path in chart.paths if path.kind == "line"]
    assert [path.said for path in drawn] == ["random", "rl2"]
    heights = [y for _, y in points(drawn[-1])]
    assert heights == sorted(heights, reverse=True)
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "3"]
    left, top, right, bottom = chart.frame
    assert all(left <= x <= right and top <= y <= bottom for path in drawn for x, y in points(path))
    assert {label.text for label in chart.labels} == {"rl2", "random"}


def test_numbers_that_are_not_finite_leave_no_mark():
    chart = line_chart("title", "x", "y", [Line("loss", [0, 1, 2, 3], [1.0, np.nan, 2.0, np.nan])])
    assert len(points(next(path for path in chart.paths if path.kind == "line"))) == 2
    assert "nan" not in repr(chart)
    assert "nan" not in repr(line_chart("title", "x", "y", [Line("", [0.0], [np.nan])]))


def test_a_far_line_does_not_set_the_scale_and_its_label_says_where_it_is():
    lines = [Line("rl2", [1, 2], [0.0, 1.0]), Line("random", [1, 2], [-50.0, -50.0]), Line("near", [1, 2], [1.2, 1.2])]
    chart = line_chart("title", "x", "y", lines, leading=("rl2",))
    assert chart.y_ticks[0].text == "0"
    assert {label.text for label in chart.labels} == {"rl2", "random −50 ↓", "near"}
    places = sorted(label.y for label in chart.labels)
    assert np.diff(places).min() >= charts.GAP - 0.1


def test_the_scatter_has_one_scale_on_both_axes():
    chart = scatter_chart(
        "title", "before", "after", [Dot(0.0, 1.0, "task 0"), Dot(0.2, 0.5, "task 1")], ("up", "down")
    )
    assert [tick.text for tick in chart.x_ticks] == [tick.text for tick in chart.y_ticks]
    assert [path.said for path in chart.paths if path.kind == "dot"] == ["task 0", "task 1"]


def test_no_label_of_the_scatter_covers_a_dot():
    corners = [Dot(x, y, "") for x in (0.0, 1.0) for y in (0.0, 1.0)]
    chart = scatter_chart("title", "before", "after", corners, ("gained", "lost"))
    _, top, _, bottom = chart.frame
    assert [label.text for label in chart.labels] == ["above the line: gained", "below: lost"]
    assert all(label.y < top - 4 or label.y - charts.GAP > bottom for label in chart.labels)


def test_an_interval_chart_has_a_bar_and_a_number_a_row_and_shows_its_guide():
    rows = [Estimate("A", 0.2, (0.1, 0.3)), Estimate("B", 0.5, None, "run-1")]
    chart = interval_chart("title", "return", rows, guide=1.0)
    assert [path.kind for path in chart.paths].count("bar") == 1
    assert {"A", "B", "0.2", "0.5"} == {label.text for label in chart.labels}
    guide, bar = (next(path for path in chart.paths if path.kind == kind) for kind in ("guide", "bar"))
    assert float(bar.d.split("H")[1]) < points(guide)[0][0] <= chart.frame[2]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.1234, "0.123"),
        (-1.5, "−1.5"),
        (1234.5, "1234"),
        (2.5e6, "2.5M"),
        (949414.0, "949k"),
        (1e-9, "1e−09"),
    ],
)
def test_numbers_are_short(value, said):
    assert plain(value) == said
