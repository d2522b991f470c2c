"""What a report says, that it is one file which loads nothing, and that no name becomes markup."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from experiment.report.conftest import EVIL
from metarl_jax.experiment.report.comparison_section import comparison_section
from metarl_jax.experiment.report.report import report_page
from metarl_jax.experiment.report.run_section import run_section


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.scripts and self.lasttag == "script":
            self.scripts[-1] += data
        self.text += data


def titles(charts):
    return [chart.title for chart in charts]


def test_a_page_loads_nothing_and_runs_no_name(judge):
    """The folder, an option and the title of a film have names that are markup."""
    judged = judge(EVIL)
    together = report_page([judged, judge("other", meta_steps=9)])
    object.__setattr__(judged.result.config.algorithm, "memory", EVIL)
    for page in map(Elements, (together, report_page([judged]))):
        assert "img" not in {tag for tag, _ in page.found}
        assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
        links = [value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "href")]
        assert links == ["data:,"]
        assert not any(word in " ".join(page.scripts) for word in ("fetch(", "import ", "XMLHttpRequest"))
        assert page.text.count(EVIL) >= 2
        assert json.loads(page.scripts[0]) == judged.films


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("rl2", "episode in the task"), ("maml", "gradient steps in the task")]
)
def test_adaptation_is_shown_raw_and_as_shares_of_the_way_to_the_reference(judge, algorithm, kind):
    raw, share, scatter = run_section(judge(algorithm=algorithm)).adaptation
    assert raw.x_label == share.x_label == kind
    assert {label.text for label in raw.labels} == {algorithm, "greedy", "random", "reference"}
    places = {label.text: label.y for label in share.labels}
    frame = share.frame
    zero, hundred = (next(tick.at for tick in share.y_ticks if tick.text == text) for text in ("0", "100"))
    forty = zero + 0.4 * (hundred - zero)
    assert places["reference"] == pytest.approx(hundred + 3.5, abs=1)
    assert algorithm != "rl2" or places["rl2"] == pytest.approx(forty + 3.5, abs=4)  # 0.5 between 0.1 and 1.1
    assert frame[1] <= hundred <= frame[3]
    assert len([path for path in scatter.paths if path.kind == "dot"]) == 12


def test_without_a_reference_only_the_returns_are_shown(judge):
    assert titles(run_section(judge(known=False)).adaptation) == [
        "Adaptation",
        "Each task",
    ]


def test_trials_of_one_episode_are_shown_by_step(judge):
    """From 0.1 to 0.9 in five steps; a random agent has 0.1 in all of them."""
    judged = judge()
    assert "Reward by step" not in titles(run_section(judged).adaptation)
    rewards = np.linspace(0.1, 0.9, 5) + np.zeros((12, 1))
    charts = run_section(judged._replace(rewards=rewards)).adaptation
    (chart,) = [chart for chart in charts if chart.title == "Reward by step"]
    assert chart.x_label == "step in the task"
    assert {label.text for label in chart.labels} == {"rl2", "random", "reference"}
    assert [tick.text for tick in chart.x_ticks][:2] == ["1", "2"]


def test_a_section_opens_with_what_was_learned(judge):
    assert run_section(judge()).sentence.startswith("rl2 adapts: return 0.")
    assert "shows no clear change" in run_section(judge("flat", rise=0.0)).sentence


def test_training_and_cost_are_those_of_the_run(judge):
    section = run_section(judge())
    assert titles(section.learning) == ["Learning, before and after adaptation"]
    assert titles(section.diagnostics) == ["Loss"]
    assert dict(section.cost)["Environment steps"] == "5k"
    assert dict(section.cost)["Speed"] == "1k environment steps a second"
    assert section.options["environment"]["name"] == "maze"


def test_single_lines_of_metrics_are_not_drawn(judge):
    judged = judge()
    short = {name: values[-1:] for name, values in judged.result.metrics.items()}
    judged = judged._replace(result=dataclasses.replace(judged.result, metrics=short))
    section = run_section(judged)
    assert (section.learning, section.diagnostics) == ([], [])


def test_runs_are_compared_in_the_same_tasks(judge):
    section = comparison_section([judge("low"), judge("high", rise=0.5, meta_steps=9)])
    assert section.verdicts == ["high is better by 0.2 [0.2, 0.2]."]
    assert [(row.letter, row.name) for row in section.rows] == [("A", "low"), ("B", "high")]
    assert section.rows[1].cells[-1] == "100 % of tasks"
    assert section.options == {"meta_steps": ["10", "9"]}
    assert "one run" in section.note
    assert len(section.charts) == 5


def test_seeds_of_one_configuration_are_one_method(judge):
    runs = [
        judge(f"{name}-{seed}", rise=rise, seed=seed, tasks=tasks)
        for name, rise, tasks in (("a", 0.3, 8), ("b", 0.6, 4))
        for seed in (0, 1)
    ]
    section = comparison_section(runs)
    assert [row.name for row in section.rows] == ["rl2 tasks=8 (2 seeds)", "rl2 tasks=4 (2 seeds)"]
    assert "2 seeds of each method" in section.note
    assert section.verdicts[0].startswith("rl2 tasks=4 (2 seeds) is better by 0.3")


def test_profiles_fall_from_all_tasks_to_none(judge):
    chart = comparison_section([judge("low"), judge("high", rise=0.5, meta_steps=9)]).charts[-1]
    for path in chart.paths:
        if path.kind == "line":
            heights = np.array([float(pair.split()[1]) for pair in path.d[1:].split("L")])
            assert np.all(np.diff(heights) >= 0)  # y points downwards
