"""What an evaluation says in one sentence."""

import pytest

from metarl_jax.experiment.results import Table
from metarl_jax.experiment.verdict import verdict


def made(*returns, kind="episode", half=0.01, gain=None):
    """A table of one learner with `returns`, and its references."""
    table = Table("rl2-maze-test", seeds=[0], tasks=20)
    for number, value in enumerate(returns, start=kind == "episode"):
        table.add("rl2", f"{kind}={number}", value, (value - half, value + half))
    if gain is not None:
        table.add("rl2", "gain", sum(gain) / 2, gain)
    for episode, value in ((1, 0.9), (2, 0.95)):
        table.add("random", f"episode={episode}", value / 10)
        table.add("reference", f"episode={episode}", value, note="the shortest path, known map")
    return table


BESIDE = "(random: 0.095; the shortest path, known map: 0.95)."


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (made(0.23, 0.4, 0.55), f"rl2 adapts: return 0.23 → 0.55 by episode 3 {BESIDE}"),
        (made(0.55, 0.23), f"rl2 gets worse as it adapts: return 0.55 → 0.23 by episode 2 {BESIDE}"),
        (made(0.5, 0.51), f"rl2 shows no clear change from episode 1 to 2: return 0.5 → 0.51 {BESIDE}"),
        (made(0.5), f"rl2 has a return of 0.5 {BESIDE}"),
    ],
)
def test_the_sentence_follows_the_curve(table, said):
    assert verdict(table) == said


def test_gradient_steps_come_before_episodes_and_references_are_means_over_episodes():
    table = made(-61.37, -50.78, kind="step", half=1.0)
    table.add("rl2", "episode=1", 3.0)
    expected = "rl2 adapts: return -61.4 → -50.8 by step 1 (random: 0.0925; the shortest path, known map: 0.925)."
    assert verdict(table) == expected


def test_a_gain_paired_over_tasks_decides_where_the_ends_overlap():
    assert verdict(made(0.5, 0.6, half=0.2)).startswith("rl2 shows no clear change")
    assert verdict(made(0.5, 0.6, half=0.2, gain=(0.05, 0.15))).startswith("rl2 adapts")


def test_another_method_can_be_asked_for_and_an_unknown_one_is_an_error():
    table = made(0.5, 0.6)
    said = "random shows no clear change from episode 1 to 2: return 0.09 → 0.095 (the shortest path, known map: 0.95)."
    assert verdict(table, "random") == said
    with pytest.raises(KeyError, match="no returns of 'maml'"):
        verdict(table, "maml")


def test_over_several_seeds_their_intervals_decide():
    table = Table("rl2-maze-test", seeds=[0, 1, 2], tasks=20)
    for episode, means in ((1, [0.1, 0.2, 0.3]), (2, [0.5, 0.6, 0.7])):
        table.add("rl2", f"episode={episode}", means[1], by_seed=means)
    assert verdict(table).startswith("rl2 shows no clear change")
    table.add("rl2", "gain", 0.5, by_seed=[0.5, 0.5, 0.5])
    assert verdict(table).startswith("rl2 adapts")
