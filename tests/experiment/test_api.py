"""From training to a figure with a real learner in a real environment, small enough to compile quickly."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import compiled
from probes import OneTask
from trees import close

import metarl_jax
from experiment.test_results import PNG, TOP
from metarl_jax.core.environment import check_split_has_tasks
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import api
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError

SMALL = {"tasks": 4, "envs": 2, "hidden": (), "pulls": 3, "meta_steps": 4, "log_every": 2, "evaluation_tasks": 6}
SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 1, "log_every": 1, "quiet": True}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return api.train("fomaml", "bandit", preset="tiny", quiet=True, out=tmp_path_factory.mktemp("api") / "run", **SMALL)


@pytest.fixture(scope="module")
def table(result):
    return json.loads((result.path / "evaluation.json").read_text())


def test_a_run_ends_with_a_table_and_a_figure(result, table):
    assert set(table) == TOP | {"meta_step"}
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


def test_a_run_draws_its_adaptation_and_its_learning(result):
    assert result.plot().axes
    assert {axis.get_title(loc="left") for axis in result.plot("learning").axes} >= {
        "training return, last rollout",
        "loss",
    }


def test_adapting_to_a_given_task_moves_the_agent(result):
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


def test_build_returns_the_pure_learner():
    learner = api.build("maml", "bandit", preset="tiny", **SMALL)
    assert learner.env_steps == 4 * 2 * 2 * 3
    shapes = jax.eval_shape(learner.step, jax.eval_shape(learner.init, jax.random.key(0)), jax.random.key(1))
    assert {"return", "loss"} <= set(shapes[1])


def test_agents_may_adapt_more_often_than_in_training_with_progress_and_without_the_agent_from_scratch(result, capsys):
    table = result.evaluate(adaptations=3, from_scratch=False).table
    assert {"step=0", "step=3"} <= {row.column for row in table.rows if row.row == "fomaml"}
    assert table.methods() == ["fomaml", "fomaml-greedy", "random", "reference"]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "0/3  evaluating fomaml on 6 test tasks"
    assert said[-1] == "3/3  evaluated on 6 test tasks"


def test_the_gain_of_an_evaluation_is_from_its_first_to_its_last_report(result, table):
    cells = {(row["row"], row["column"]): row["value"] for row in table["rows"]}
    assert cells["fomaml", "gain"] == pytest.approx(cells["fomaml", "step=1"] - cells["fomaml", "step=0"])
    assert ("random", "gain") not in cells


@pytest.mark.parametrize("options", [{"split": "tset"}, {"tasks": 0}, {"seed": -1}, {"adaptations": -1}])
def test_an_evaluation_with_illegal_options_is_refused(result, options):
    with pytest.raises(UsageError):
        result.evaluate(**options)


def test_build_takes_arrays_for_the_float_options_of_the_algorithm() -> None:
    options: dict[str, Any] = {"tasks": 4, "envs": 2, "hidden": (4,), "steps": 3}

    def moved(**rest: Any) -> Any:
        learner = metarl_jax.build("maml", "navigation", **options, **rest)
        return learner.step(learner.init(jax.random.key(0)), jax.random.key(1))[0].meta_params

    grid = jax.jit(jax.vmap(lambda lr, spread: moved(meta_lr=lr, spread=spread)))
    found = grid(jnp.array([1e-3, 0.1]), jnp.array([1.0, 0.5]))
    other = jax.jit(lambda: moved(meta_lr=0.1, spread=0.5))()
    close(jax.tree.map(lambda x: x[1], found), other, rtol=1e-3, atol=1e-5)
    assert compiled(lambda: grid(jnp.array([1e-2, 0.2]), jnp.array([0.7, 0.5]))) == 0
    with pytest.raises(UsageError, match="tasks is an array; it must be static"):
        metarl_jax.build("maml", "navigation", tasks=jnp.int32(4))
    with pytest.raises(UsageError, match="'meta_lr'"):
        metarl_jax.build("maml", "navigation", metalr=jnp.float32(0.1))


@pytest.mark.parametrize(
    ("options", "split"), [({"size": 2}, "test"), ({"size": 2, "openings": 1.0}, "test"), ({"openings": 1.0}, "test")]
)
def test_mazes_without_test_tasks_are_refused(options: Any, split: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=rf"maze has no {split} tasks with its options, .*size="):
        metarl_jax.train("maml", "maze", out=tmp_path / "run", env=options, evaluation_tasks=4, **SHORT)
    assert not (tmp_path / "run").exists()
    check_split_has_tasks(make_environment("maze", **options), "train")


def test_mazes_without_training_tasks_are_refused(tmp_path: Any) -> None:
    """The only maze of 3 x 3 cells without walls belongs to the test."""
    with pytest.raises(UsageError, match="maze has no train tasks"):
        metarl_jax.train(
            "maml", "maze", out=tmp_path / "run", env={"size": 3, "openings": 1.0}, evaluation_tasks=0, **SHORT
        )
    assert not (tmp_path / "run").exists()


def test_an_evaluation_on_an_empty_split_is_refused(tmp_path: Any) -> None:
    ENVIRONMENTS[OneTask.name] = OneTask
    try:
        options: dict[str, Any] = {"hidden": (4,), "tasks": 2, "evaluation_tasks": 0}
        result = metarl_jax.train("maml", "line", out=tmp_path / "run", **options, **SHORT)
        with pytest.raises(UsageError, match="line has no test tasks"):
            result.evaluate(tasks=2)
    finally:
        del ENVIRONMENTS[OneTask.name]
