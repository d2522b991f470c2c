"""The results format and the figures."""

import json

import numpy as np
import pytest

from metarl_jax.experiment import figures, results
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.results import Row, Table

PNG = b"\x89PNG\r\n\x1a\n"
TOP = {"table", "versions", "device", "date", "seeds", "tasks", "env_steps", "wall_seconds", "rows"}


@pytest.fixture
def table():
    made = Table("maze", seeds=[0, 1], tasks=20, env_steps=1000, wall_seconds=2.5)
    for episode in (1, 2):
        made.add("rl2", f"episode={episode}", np.float32(episode), (episode - 0.5, episode + 0.5), bound=3)
        made.add("rl2", f"episode={episode},iqm", 0.5)
        made.add("random", f"episode={episode}", 0.25, (0.0, 0.5), published=0.2)
    made.add("rl2", "step=0", float("nan"), (float("nan"), 1.0), note="not reached")
    return made


def test_json_has_the_agreed_fields_and_null_where_there_is_nothing(table):
    data = json.loads(table.to_json())
    assert set(data) == TOP
    assert data["rows"][0] == {
        "row": "rl2",
        "column": "episode=1",
        "value": 1.0,
        "interval": [0.5, 1.5],
        "published": None,
        "bound": 3.0,
        "note": None,
    }
    assert data["rows"][-1]["value"] is None
    assert data["rows"][-1]["interval"] is None
    assert data["versions"]["jax"]


def test_what_is_written_can_be_read(table, tmp_path):
    path = table.write(tmp_path / "deep" / "maze.json")
    assert results.read(path) == table


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"row": "x"}]}'])
def test_what_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="no table of results"):
        results.read(tmp_path / "x.json")


def test_cells_are_found_by_name(table):
    assert table.cell("random", "episode=2") == Row("random", "episode=2", 0.25, (0.0, 0.5), 0.2)
    with pytest.raises(KeyError, match="episode=3"):
        table.cell("random", "episode=3")


def test_markdown_has_a_method_a_line(table):
    lines = table.to_markdown().splitlines()
    assert lines[0] == "|  | episode=1 | episode=1,iqm | episode=2 | episode=2,iqm | step=0 |".replace("|  |", "|  |")
    assert lines[2].startswith("| rl2 | 1 [0.5, 1.5] (bound 3) | 0.5 |")
    assert lines[2].endswith("| not reached |")
    assert "0.25 [0, 0.5] (published 0.2)" in lines[3]


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
