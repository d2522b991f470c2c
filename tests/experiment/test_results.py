"""The results format."""

import json
import pathlib
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from metarl_jax.experiment import results
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.results import Row, Table
from metarl_jax.experiment.tables import tasks, texts

PNG = b"\x89PNG\r\n\x1a\n"
SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
TOP = {"format", "digest", "table", "versions", "device", "date", "seeds", "tasks", "env_steps", "wall_seconds", "rows"}


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


def test_a_written_table_is_read_back(table, tmp_path):
    path = table.write(tmp_path / "deep" / "maze.json")
    assert results.read(path) == table


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"row": "x"}]}'])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="not a table of results"):
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


@pytest.fixture(scope="module")
def published():
    return SimpleNamespace(**runpy.run_path(str(SCRIPTS / "published.py")))


@pytest.fixture(scope="module")
def tables():
    return SimpleNamespace(**runpy.run_path(str(SCRIPTS / "tables.py")))


def test_files_from_before_seeds_and_provenance_were_fields_can_be_read(table, tmp_path):
    path = table.write(tmp_path / "maze.json")
    assert "by_seed" not in path.read_text()
    assert "made" not in path.read_text()
    old = results.read(path).rows[0]
    assert (old.by_seed, old.made, old.seed_interval) == (None, None, None)


def test_intervals_over_seeds_stand_apart_from_those_over_tasks(tables, tmp_path):
    table = Table("maze", seeds=[0, 1, 2], tasks=20)
    table.add("rl2", "episode=1", 2.0, (1.5, 2.5), by_seed=np.array([1.0, 2.0, 3.0]))
    table.add("rl2", "episode=2", 2.0, (1.5, 2.5), by_seed=[2.0])
    table.add("rl2", "episode=3", 2.0, by_seed=[1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)  # Student's t with two degrees of freedom, and a standard deviation of 1
    first, single, _ = results.read(table.write(tmp_path / "maze.json")).rows
    assert first.interval == (1.5, 2.5)
    assert first.by_seed == [1.0, 2.0, 3.0]
    assert first.seed_interval == pytest.approx((2 - half, 2 + half))
    assert (single.by_seed, single.seed_interval) == (None, None)
    line = table.to_markdown().splitlines()[2]
    assert "| 2 [1.5, 2.5] (seeds [-0.4841, 4.484]) | 2 [1.5, 2.5] | 2 (seeds [-0.4841, 4.484]) |" in line
    shown = texts(table, table.columns())
    assert [cell["rl2"] for cell in shown.values()] == ["2 ±0.5\nseeds ±2.5", "2 ±0.5", "2\nseeds ±2.5"]
    cells = [tables.words(row) for row in json.loads(table.to_json())["rows"]]
    assert cells == ["2 ±0.5 (seeds ±2.5)", "2 ±0.5", "2 (seeds ±2.5)"]


def test_a_recipe_leaves_the_origin_of_the_rows_that_it_keeps(published, tmp_path):
    """A file of 100,000 tasks, then two other runs of fewer, and at last the first again."""
    path = tmp_path / "bandits.json"

    def run(tasks, seeds, date, cells):
        table = Table("bandits", seeds=list(range(seeds)), tasks=tasks, device=f"device of {date}", date=date)
        for row, column in cells:
            table.add_values(row, column, np.random.default_rng(tasks).normal(size=(seeds, tasks)))
        published.merge(table, path).write(path)
        return results.read(path)

    def origin(table, *cell):
        found = table.provenance(table.cell(*cell))
        assert found["device"] == f"device of {found['date']}"
        return found["tasks"], found["seeds"], found["date"]

    run(1000, 1, "2026-01-01", [("gru", "k=5"), ("gru", "k=10")])
    second = run(100, 3, "2026-01-02", [("linear", "k=5")])
    assert (second.tasks, second.seeds) == (100, [0, 1, 2])
    assert origin(second, "gru", "k=5") == origin(second, "gru", "k=10") == (1000, [0], "2026-01-01")
    assert origin(second, "linear", "k=5") == (100, [0, 1, 2], "2026-01-02")
    assert second.cell("linear", "k=5").made is None
    third = run(10, 2, "2026-01-03", [("gru", "k=10")])
    assert origin(third, "gru", "k=5") == (1000, [0], "2026-01-01")
    assert origin(third, "linear", "k=5") == (100, [0, 1, 2], "2026-01-02")
    assert origin(third, "gru", "k=10") == (10, [0, 1], "2026-01-03")
    assert len(third.rows) == 3
    last = run(1000, 1, "2026-01-01", [("gru", "k=10")])
    assert last.cell("gru", "k=5").made is None  # the table says the same again
    assert origin(last, "linear", "k=5") == (100, [0, 1, 2], "2026-01-02")
    assert tasks(last) == "100 to 1000"


def test_rows_made_under_one_header_need_none_of_their_own(published, tmp_path):
    for row in ("gru", "linear"):
        table = Table("bandits", seeds=[0], tasks=100)
        table.add_values(row, "k=5", np.arange(100.0)[None])
        published.merge(table, tmp_path / "bandits.json").write(tmp_path / "bandits.json")
    kept = results.read(tmp_path / "bandits.json")
    assert [(row.row, row.made) for row in kept.rows] == [("gru", None), ("linear", None)]


def test_cells_know_how_many_tasks_and_seeds_they_are_from():
    table = Table("navigation", seeds=[0, 1], tasks=50)
    table.add_columns("maml", "population,step", np.zeros((2, 50, 3)), first=0, note="40 s")
    table.add_columns("anil", "published,step", np.zeros((1, 40, 1)))
    assert [row.column for row in table.rows[:3]] == ["population,step=0", "population,step=1", "population,step=2"]
    assert {row.note for row in table.rows[:3]} == {"40 s"}
    assert [row.made for row in table.rows] == [None, None, None, {"seeds": [0], "tasks": 40}]


def test_groups_of_tasks_have_equal_weight_in_a_cell():
    goals = np.array([0, 0, 0, 0, 1, 1])
    values = np.array([[1.0, 1, 1, 1, 4, 4], [2.0, 2, 2, 2, 9, 9]])
    table = Table("gridnavi", seeds=[0, 1], tasks=6)
    table.add_values("rl2", "total", values, strata=goals)
    table.add_values("rl2", "unweighted", values)
    cell, unweighted = table.rows
    assert (cell.value, cell.by_seed, cell.interval) == (4.0, [2.5, 5.5], (4.0, 4.0))
    assert unweighted.value == pytest.approx(values.mean())
    assert unweighted.interval[1] > unweighted.interval[0]
