"""Runs side by side: each mean is that of its own evaluation, and differences are paired by task."""

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import metarl_jax
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.comparison import compared, members, tabulated, to_rich, verdicts
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError

SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 1, "log_every": 1, "evaluation_tasks": 0, "quiet": True}
SMALL: dict[str, Any] = {"hidden": (), "envs": 2, "steps": 3, "lifespan": 2, "pulls": 3, "env": {"arms": 3}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = SHORT | SMALL
    slow = metarl_jax.train("policy_gradient", "bandit", out=folder / "slow", epochs=1, inner_lr=0.0, **options)
    fast = metarl_jax.train("policy_gradient", "bandit", out=folder / "fast", epochs=1, inner_lr=0.5, **options)
    return slow, fast


@pytest.fixture(scope="module")
def table(runs):
    return metarl_jax.compare(*runs, tasks=12)


def test_each_mean_is_that_of_the_run_evaluated_alone(runs, table):
    for run in runs:
        alone = run.evaluate(tasks=12).table.cell("policy_gradient", "episode=1")
        beside = table.cell(str(run.path), "episode=1")
        assert beside.value == pytest.approx(alone.value)
        np.testing.assert_allclose(beside.interval, alone.interval, rtol=1e-6)


def test_differences_are_paired_and_to_the_first(runs, table):
    slow, fast = (str(run.path) for run in runs)
    means = {name: table.cell(name, "episode=1").value for name in (slow, fast)}
    difference = table.cell(fast, "episode=1,difference")
    assert difference.value == pytest.approx(means[fast] - means[slow])
    assert difference.interval[0] <= difference.value <= difference.interval[1]
    with pytest.raises(KeyError):
        table.cell(slow, "episode=1,difference")
    assert table.cell(slow, "steps").value == table.cell(fast, "steps").value > 0


def test_the_command_prints_the_same_table(runs, table, capsys):
    assert main(["compare", *(str(run.path) for run in runs), "--tasks", "12", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == json.loads(table.to_json())["rows"]


def test_the_command_says_which_run_is_better(runs, capsys):
    assert main(["compare", *(str(run.path) for run in runs), "--tasks", "12"]) == 0
    printed = capsys.readouterr().out
    assert "runs on 12 held-out tasks of bandit" in printed
    assert printed.splitlines()[-1].startswith(("No difference is shown: ", "fast is better by", "slow is better by"))


def test_runs_that_cannot_be_compared_are_refused(runs):
    with pytest.raises(UsageError, match="two or more different runs, not 1"):
        metarl_jax.compare(runs[0], runs[0])
    elsewhere = resolve("policy_gradient", "bandit", env={"arms": 4})
    with pytest.raises(UsageError, match=r"b lives in .*arms=4.*, and a in .*arms=3.*; compare runs in one"):
        compared({"a": (runs[0].config, {}), "b": (elsewhere, {})})
    with pytest.raises(UsageError, match="tasks is 0"):
        metarl_jax.compare(*runs, tasks=0)


def test_a_report_of_both_runs_is_one_page_that_is_not_overwritten(runs, tmp_path, capsys):
    words = [
        "report",
        *(str(run.path) for run in runs),
        "--tasks",
        "12",
        "--quiet",
        "--out",
        str(tmp_path / "report.html"),
    ]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == words[-1]
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="player"') == 2
    assert "2 runs compared" in page
    assert main(words) == 2
    assert "not overwritten" in capsys.readouterr().err


def returns(level, seed=0):
    """Made-up returns [tasks, episodes] that rise to the level."""
    return np.array([level / 2, level]) + 0.1 * np.random.default_rng(seed).normal(size=(30, 2))


def made(**levels):
    """The table of made-up runs, each of its own configuration."""
    configs = {f"runs/{name}": resolve("rl2", "bandit", meta_steps=8 + i) for i, name in enumerate(levels)}
    found = {f"runs/{name}": returns(level, i) for i, (name, level) in enumerate(levels.items())}
    return tabulated(configs, found, "test")


def test_the_verdict_names_the_better_run_and_the_interval():
    assert verdicts(made(a=0.0, b=1.0))[0].startswith("b is better by ")
    assert verdicts(made(a=1.0, b=0.0))[0].startswith("a is better by ")
    assert verdicts(made(a=1.0, b=1.0))[0].startswith("No difference is shown: ")
    third, second = verdicts(made(a=0.5, b=1.0, c=0.5))
    assert third.startswith("b is better than a by 0.")
    assert second.startswith("No difference between c and a is shown: ")


@pytest.mark.parametrize("width", [80, 40])
def test_the_terminal_shows_each_difference_with_its_interval(width):
    console = Console(width=width, file=io.StringIO())
    console.print(to_rich(made(a=0.0, b=1.0), width))
    text = console.file.getvalue()
    heads = next(line for line in text.splitlines() if "difference " in f"{line} ")
    assert ("episode 1 " in heads, "episode 2" in heads, "better in" in heads) == (width == 80, True, width == 80)
    assert "[0.9" in text
    assert ("100 %" in text) == (width == 80)
    assert "…" not in text


def test_runs_that_differ_only_in_their_seed_are_one_method():
    configs = {f"a{seed}": resolve("rl2", "bandit", seed=seed) for seed in (0, 1, 2)}
    assert members(configs) == {name: [name] for name in configs}
    other = resolve("maml", "bandit")
    assert members(configs | {"b": other}) == {"rl2 (3 seeds)": list(configs), "b": ["b"]}
    longer = {f"c{seed}": resolve("rl2", "bandit", seed=seed, meta_steps=9) for seed in (0, 1)}
    named = members(configs | longer)
    assert list(named) == [f"rl2 meta_steps={configs['a0'].run.meta_steps} (3 seeds)", "rl2 meta_steps=9 (2 seeds)"]
    found = {name: returns(1.0 if name in longer else 0.0, i) for i, name in enumerate([*configs, *longer])}
    table = tabulated(configs | longer, found, "test")
    cell = table.cell("rl2 meta_steps=9 (2 seeds)", "episode=2,difference")
    assert cell.value == pytest.approx(1, abs=0.1)
    assert cell.interval[0] < cell.value < cell.interval[1]
    assert len(table.cell("rl2 meta_steps=9 (2 seeds)", "episode=2").by_seed) == 2
