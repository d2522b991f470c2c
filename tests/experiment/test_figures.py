"""The figures."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiment.test_results import PNG
from metarl_jax.experiment import figures
from metarl_jax.experiment.results import Table


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


def adapting():
    """A learner that solves its tasks as well as the reference, with a control and an agent far below."""
    table = Table("maml-cartpole-test", seeds=[0], tasks=20)
    for method, returns in (
        ("maml", (100.0, 500.0)),
        ("maml-greedy", (90.0, 490.0)),
        ("policy_gradient", (90.0, 95.0)),
    ):
        for step, value in enumerate(returns):
            table.add(method, f"step={step}", value, (value - 10, value + 10))
    table.add("random", "episode=1", -5000.0)
    table.add("reference", "episode=1", 500.0, note="a controller")
    return table


def test_methods_without_gradient_steps_are_levels_among_those_that_take_them():
    lines = {line.get_label(): list(line.get_ydata()) for line in figures.adaptation_figure(adapting()).axes[0].lines}
    assert lines["maml"] == [100.0, 500.0]
    assert lines["reference"] == [500.0, 500.0]


def test_the_first_method_is_drawn_over_all_others():
    panel = figures.adaptation_figure(adapting()).axes[0]
    order = {line.get_label(): line.get_zorder() for line in panel.get_lines()}
    assert all(order["maml"] > other for name, other in order.items() if name != "maml")


def test_the_range_is_that_of_the_adaptation_and_what_lies_outside_is_named_with_its_value():
    panel = figures.adaptation_figure(adapting()).axes[0]
    low, high = panel.get_ylim()
    assert -200 < low < 80
    assert 510 < high < 700
    assert "random (-5000 ↓)" in {text.get_text() for text in panel.texts}


def test_curves_are_labelled_at_their_ends_without_overlap_and_have_colours_of_their_own():
    panel = figures.adaptation_figure(adapting()).axes[0]
    places = sorted(text.xy[1] for text in panel.texts)
    assert np.min(np.diff(places)) >= figures.LINE_GAP - 1e-9
    words = {text.get_text(): text.get_color() for text in panel.texts}
    assert set(words) == {"maml", "maml, greedy", "from scratch", "random (-5000 ↓)", "a controller"}
    assert len(set(words.values())) == 5
    assert panel.get_legend() is None


def test_titles_and_axes_are_in_words():
    panel = figures.adaptation_figure(adapting()).axes[0]
    assert panel.get_title(loc="left").startswith("maml on 20 held-out tasks of cartpole")
    assert panel.get_xlabel() == "gradient steps in the task"
    assert panel.get_ylabel() == "return (sum of the rewards of an episode)"


def test_a_single_report_is_a_dot_for_each_method_beside_its_name():
    table = Table("rl2-bandit-test", seeds=[0], tasks=20)
    table.add("rl2", "episode=1", 5.0, (4.0, 6.0))
    table.add("reference", "episode=1", 9.0, note="the best arm")
    panel = figures.adaptation_figure(table).axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["rl2", "the best arm"]
    assert panel.get_xlabel() == "return (sum of the rewards of an episode)"


def test_diagnostics_are_panels_in_rows_without_those_never_measured():
    metrics = {"env_steps": np.arange(3.0)} | {f"loss_{index}": np.arange(3.0) for index in range(4)}
    metrics |= {"never": np.full(3, np.nan), "return": np.arange(3.0)}
    figure = figures.learning_figure(metrics, "toy")
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["training return", "loss 0", "loss 1", "loss 2", "loss 3", ""]
    assert figure.get_figwidth() < 15


def test_a_return_that_is_twice_the_same_and_faults_that_never_happened_are_not_drawn():
    returns, steps = np.arange(3.0), np.arange(3)
    quiet = {"env_steps": steps, "return": returns, "return_before": returns, "dead_leaves": np.zeros(3)}
    figure = figures.learning_figure(quiet)
    assert [panel.get_title("left") for panel in figure.axes if panel.axison] == ["training return"]
    loud = quiet | {"return_before": np.zeros(3), "dead_leaves": steps}
    assert len([panel for panel in figures.learning_figure(loud).axes if panel.axison]) == 3


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.3)), min_size=1, max_size=8))
def test_spread_labels_do_not_overlap_and_keep_their_order_and_those_with_room_their_place(labels):
    labels = sorted(labels)
    heights, sizes = [label[0] for label in labels], [label[1] for label in labels]
    moved = figures.spread(heights, sizes)
    gaps = [(one + other) / 2 for one, other in pairwise(sizes)]
    assert all(high - low >= gap - 1e-9 for (low, high), gap in zip(pairwise(moved), gaps, strict=True))
    if all(high - low >= gap for (low, high), gap in zip(pairwise(heights), gaps, strict=True)):
        np.testing.assert_allclose(moved, heights, atol=1e-12)


def test_bands_are_over_seeds_where_there_are_several_and_the_title_counts_them():
    table = Table("rl2-bandit-test", seeds=[0, 1], tasks=20)
    for episode, means in enumerate(([1.0, 2.0], [3.0, 4.0]), start=1):
        table.add("rl2", f"episode={episode}", np.mean(means), by_seed=means)
    panel = figures.adaptation_figure(table).axes[0]
    assert "95 % intervals over 2 seeds" in panel.get_title(loc="left").replace("\n", " ")
    (band,) = panel.collections
    half = table.rows[0].seed_interval[1] - 1.5
    np.testing.assert_allclose(band.get_datalim(panel.transData).height, 2 + 2 * half)
    runs = {"env_steps": np.tile(np.arange(3.0), (2, 1)), "loss": np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])}
    drawn = figures.learning_figure(runs, "rl2")
    np.testing.assert_array_equal(drawn.axes[0].lines[0].get_ydata(), [2.0, 2.0, 2.0])
    assert len(drawn.axes[0].collections) == 1
    assert drawn.get_suptitle() == "rl2; 95 % intervals over 2 seeds"
