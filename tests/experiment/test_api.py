"""From training to a figure with a real learner in a real environment, small enough to compile quickly."""

import json

import jax
import numpy as np
import pytest

import metarl_jax.experiment.api as api
from experiment.test_results import PNG, TOP
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError

SMALL = {"tasks": 4, "envs": 2, "hidden": (), "pulls": 3, "meta_steps": 4, "log_every": 2, "evaluation_tasks": 6}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return api.train("fomaml", "bandit", preset="tiny", quiet=True, out=tmp_path_factory.mktemp("api") / "run", **SMALL)


@pytest.fixture(scope="module")
def table(result):
    return json.loads((result.path / "evaluation.json").read_text())


def test_a_run_ends_with_a_table_and_a_figure(result, table):
    assert set(table) == TOP
    assert (table["tasks"], table["seeds"], table["env_steps"]) == (6, [0], 4 * 4 * 2 * 2 * 3)
    assert {row["row"] for row in table["rows"]} == {
        "fomaml",
        "fomaml-greedy",
        "policy_gradient",
        "random",
        "reference",
    }
    assert {"step=0", "step=1", "step=1,iqm", "episode=1", "episode=1,iqm"} <= {row["column"] for row in table["rows"]}
    assert (result.path / "adaptation.png").read_bytes().startswith(PNG)


def test_every_mean_lies_in_its_interval(table):
    means = [row for row in table["rows"] if row["interval"] is not None and "iqm" not in row["column"]]
    assert means
    for row in means:
        assert row["interval"][0] <= row["value"] + 1e-6
        assert row["value"] - 1e-6 <= row["interval"][1]


def test_the_reference_bounds_the_others(table):
    reference = next(row for row in table["rows"] if row["row"] == "reference" and row["column"] == "episode=1")
    rows = [row for row in table["rows"] if row["column"] == "episode=1" and row["row"] != "reference"]
    assert len(rows) == 4
    assert all(row["bound"] == pytest.approx(reference["value"]) for row in rows)
    assert reference["note"]


def test_the_command_prints_what_the_run_wrote(result, table, capsys):
    assert main(["evaluate", str(result.path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == table["rows"]


def test_a_run_is_loaded_as_it_was(result):
    again = api.load(result.path)
    assert again.config == result.config
    for a, b in zip(jax.tree.leaves(again.meta_params), jax.tree.leaves(result.meta_params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert list(again.metrics["meta_step"]) == [2, 4]


def test_figures_of_a_run(result):
    assert result.plot().axes
    assert {axis.get_ylabel() for axis in result.plot("learning").axes} >= {"return", "loss"}


def test_adapting_to_a_task_of_ones_own(result):
    task = {"mean": [0.0, 0.0, 0.0, 0.0, 1.0]}
    adapted = api.adapt(result, task, adaptations=2)
    assert adapted.returns.shape == (3, 1)
    assert np.all((adapted.returns >= 0) & (adapted.returns <= 3))
    newborn = result.meta_params["params"]
    moved = [bool(np.any(a != b)) for a, b in zip(*map(jax.tree.leaves, (adapted.agent.params, newborn)), strict=True)]
    assert any(moved)
    np.testing.assert_array_equal(api.adapt(result.path, task, adaptations=2).returns, adapted.returns)


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ({}, {}, "lacks 'mean'"),
        ({"mean": [0.1] * 4}, {}, "shape"),
        ({"mean": [2.0] * 5}, {}, "must lie in"),
        ({"means": [0.1] * 5}, {}, "did you mean 'mean'"),
        ({"mean": [0.1] * 5}, {"episodes": 0}, "episodes is 0"),
        ({"mean": [0.1] * 5}, {"adaptations": -1}, "adaptations is -1"),
    ],
)
def test_an_illegal_task_is_refused(result, task, options, words):
    with pytest.raises(UsageError, match=words):
        api.adapt(result, task, **options)


def test_build_gives_the_pure_learner():
    learner = api.build("maml", "bandit", preset="tiny", **SMALL)
    assert learner.env_steps == 4 * 2 * 2 * 3
    shapes = jax.eval_shape(learner.step, jax.eval_shape(learner.init, jax.random.key(0)), jax.random.key(1))
    assert {"return", "loss"} <= set(shapes[1])


def test_agents_may_adapt_more_often_than_in_training(result):
    table = result.evaluate(adaptations=3).table
    assert {"step=0", "step=3"} <= {row.column for row in table.rows if row.row == "fomaml"}


@pytest.mark.parametrize("options", [{"split": "tset"}, {"tasks": 0}, {"seed": -1}, {"adaptations": -1}])
def test_an_evaluation_that_cannot_be_is_refused(result, options):
    with pytest.raises(UsageError):
        result.evaluate(**options)
