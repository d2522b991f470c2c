"""The figures."""

import numpy as np

from experiment.test_results import PNG
from metarl_jax.experiment import figures


def test_figures_are_written_as_png(table, tmp_path):
    metrics = {"env_steps": np.arange(3.0), "meta_step": np.arange(3.0), "loss": np.array([1.0, np.nan, 0.5])}
    drawn = [figures.adaptation_figure(table), figures.learning_figure(metrics, "toy")]
    for number, figure in enumerate(drawn):
        path = figures.write_figure(figure, tmp_path / f"{number}.png")
        assert path.read_bytes().startswith(PNG)


def test_the_adaptation_figure_draws_every_method_by_episode(table):
    panel = figures.adaptation_figure(table).axes[-1]
    curves = {line.get_label(): list(line.get_ydata()) for line in panel.get_lines()}
    assert curves == {"rl2": [1.0, 2.0], "random": [0.25, 0.25]}


def test_methods_without_gradient_steps_are_levels_among_those_that_take_them(table):
    table.add("maml", "step=0", 1.0)
    table.add("maml", "step=1", 2.0)
    lines = {line.get_label(): list(line.get_ydata()) for line in figures.adaptation_figure(table).axes[0].get_lines()}
    assert lines == {"maml": [1.0, 2.0], "rl2": [1.5, 1.5], "random": [0.25, 0.25]}
