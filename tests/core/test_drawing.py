"""Shapes become JSON that a page can draw."""

import json

import numpy as np

from metarl_jax.core.drawing import Disc, Episode, Film, Line, Polygon, Take, Text, around, bars, box


def film() -> Film:
    frame = [Line(np.array([[0.0, 1 / 3], [1.0, 2.0]]), width=0.1), Disc((0.0, -0.0), 0.5, "agent", opacity=0.5)]
    background = [Polygon(box(0, 0, 2, 1), "goal", filled=False), Text((1, 1), "a <b>", 0.3)]
    return Film("toy", {"goal": [0.5, 1.0]}, (0, 0, 2.0, 1), background, [Take("before", -1.23456, [frame], ["start"])])


def test_a_film_becomes_small_json_and_comes_back_the_same() -> None:
    data = film().to_json()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data == {
        "title": "toy",
        "task": {"goal": [0.5, 1]},
        "bounds": [0, 0, 2, 1],
        "background": [
            {"kind": "polygon", "points": [[0, 0], [2, 0], [2, 1], [0, 1]], "colour": "goal", "filled": False},
            {"kind": "text", "at": [1, 1], "text": "a <b>", "size": 0.3, "colour": "ink"},
        ],
        "episodes": [
            {
                "name": "before",
                "return": -1.235,
                "frames": [
                    [
                        {"kind": "line", "points": [[0, 0.333], [1, 2]], "colour": "ink", "width": 0.1},
                        {
                            "kind": "disc",
                            "centre": [0, 0],
                            "radius": 0.5,
                            "colour": "agent",
                            "filled": True,
                            "opacity": 0.5,
                        },
                    ]
                ],
                "captions": ["start"],
            }
        ],
    }


def test_bars_show_what_is_observed_and_afterwards_what_was_done_and_paid() -> None:
    episode = Episode(np.zeros(3), np.array([[1.0, 0], [0, 2], [0, -4]]), np.array([2, 0]), np.array([0.5, -1.0]))
    drawing = bars(episode, actions=3)
    heights = [[shape.points[2][1] - shape.points[0][1] for shape in frame] for frame in drawing.frames]
    np.testing.assert_allclose(heights[0], [1.0])  # zeros are not drawn, and each number has a scale of its own
    np.testing.assert_allclose(heights[1], [0.5, 1.0, 0.5])
    np.testing.assert_allclose(heights[2], [-1.0, 1.0, -1.0])


def test_bounds_around_others_hold_them() -> None:
    assert around([(0, -1, 1, 1), (-2, 0, 0.5, 3)]) == (-2, -1, 1, 3)
