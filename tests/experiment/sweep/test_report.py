"""The figure of a sweep."""

import numpy as np

from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.sweep import grid, report
from metarl_jax.experiment.sweep.grid import Grid


def test_the_figure_has_a_panel_an_option() -> None:
    asked = Grid(resolve("maml", "maze"), {"meta_lr": [1e-4, 1e-3, 1e-2], "hidden": [16, [32, 32]]}, (0, 1))
    table = Table("sweep", [0, 1], 20)
    for number, options in enumerate(asked.cells()):
        table.add(grid.label(options), "return", number, by_seed=[number - 0.5, number + 0.5])
    table.add("random", "return", 0.5)
    learning, widths = report.sweep_figure(table, asked).axes
    assert (learning.get_xscale(), widths.get_xscale()) == ("log", "linear")
    assert [text.get_text() for text in widths.get_xticklabels()] == ["16", "32x32"]
    best = learning.containers[0].lines[0]
    np.testing.assert_array_equal(best.get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_array_equal(best.get_ydata(), [1, 3, 5])  # with the better of the other options
