"""Tables to be read: what they choose, and that they fit a terminal."""

import io

import pytest
from rich.console import Console

from metarl_jax.experiment import tables
from metarl_jax.experiment.results import Table

WIDTHS = (40, 60, 80, 120)


def evaluation(kind="episode", count=10):
    """An evaluation whose cells are all different, with long names and long numbers."""
    table = Table("learned_optimizer-key_to_door-test", seeds=[0], tasks=200)
    for row, method in enumerate(("learned_optimizer", "learned_optimizer-greedy", "policy_gradient")):
        for place in range(count):
            value = -1000.5 - 100 * row - place
            table.add(method, f"{kind}={place}", value, (value - 12.25, value + 12.25))
            table.add(method, f"{kind}={place},iqm", value)
    for method in ("random", "reference"):
        table.add(method, "episode=1", 3.0, (2.0, 4.0), note="straight to the <known> goal")
        table.add(method, "episode=2", 4.0, (3.0, 5.0), note="straight to the <known> goal")
    return table


def printed(table, width, every=False):
    file = io.StringIO()
    Console(file=file, width=width).print(table.to_rich(width, every))
    return file.getvalue()


def test_a_handful_of_columns_is_chosen():
    assert tables.chosen(evaluation()) == ["episode=0", "episode=1", "episode=4", "episode=9"]
    assert tables.chosen(evaluation("step", 3)) == ["step=0", "step=1", "step=2"]


def test_a_comparison_also_shows_its_last_difference_and_other_tables_their_first_columns():
    table = Table("comparison-maze-test", seeds=[0], tasks=20)
    for run in ("runs/one", "runs/two"):
        table.add(run, "episode=1", 1.0)
        table.add(run, "episode=2", 2.0)
    table.add("runs/two", "episode=2,difference", 0.0)
    assert tables.chosen(table) == ["episode=1", "episode=2", "episode=2,difference"]
    assert tables.heading(table) == "runs on 20 held-out tasks of maze"
    other = Table("bandits", seeds=[0], tasks=20)
    for count in range(6):
        other.add("gru", f"n={count}", 1.0)
    assert tables.chosen(other) == ["n=0", "n=1", "n=2", "n=3"]
    assert tables.heading(other) == "bandits"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("kind", ["episode", "step"])
def test_no_number_and_no_header_is_broken_at_any_width(width, every, kind):
    table = evaluation(kind)
    text = printed(table, width, every)
    assert max(map(len, text.splitlines())) <= width
    columns = table.columns() if every else tables.chosen(table)
    for column, cells in tables.texts(table, columns).items():
        assert all(words in text for words in column.replace("=", " ").replace(",", " ").split())
        assert all(words in text for cell in cells.values() for words in cell.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_intervals_over_seeds_fit_too(width):
    table = Table("maze", seeds=[0, 1, 2], tasks=20)
    for episode in range(1, 5):
        table.add("a-long-name-of-a-method", f"episode={episode}", 1234.5, (1200.0, 1300.0), by_seed=[1000.0, 2000.0])
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("1234") == text.count("±50") == text.count("±6353") == 4


def test_methods_are_rows_and_references_stand_beside_the_last_gradient_step():
    lines = [line.split() for line in printed(evaluation("step", 2), 120).splitlines()]
    assert ["policy_gradient", "-1200", "±12", "-1202", "±12"] in lines
    assert ["random", "3.5"] in lines


def test_a_notebook_shows_the_same_columns_and_escapes_names():
    table = evaluation()
    table.add("<script>", "episode=9", 1.0)
    page = table._repr_html_()
    assert page.count("<tr>") == 1 + len(table.methods())
    assert "<th>episode 9</th>" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
