"""Sweeps: every member is the run that it would be alone, one program trains many, and nothing is lost on the way."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import COMPILED, events
from shell_toy import SHORT, Toy
from trees import close

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.experiment import api, saving, training
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import Interrupted, TrainingDiverged, UnusableRun, UsageError
from metarl_jax.experiment.metrics import read_metrics
from metarl_jax.experiment.run_folder import RunFolder, diverged_at
from metarl_jax.experiment.sweep import cohort, sweep
from metarl_jax.experiment.sweep.grid import Grid

PAIR = ("scaled", "bandit")
OVER: dict[str, Any] = {"scale": (0.5, 1.0), "tasks": (4, 8)}
LONG = SHORT | {"meta_steps": 22}
TOO_LARGE = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(Toy):
    """The toy with a float option; too large a one diverges in meta-step 10."""

    name: ClassVar[str] = "scaled"
    scale: float = 1.0

    def build(self, environment: Any, mesh: Any = None) -> Any:
        learner = super().build(environment, mesh)

        def step(state: Any, key: Any) -> Any:
            state, info = learner.step(state, key)
            broken = (state.lives["age"] == 10) & (jnp.asarray(self.scale) >= TOO_LARGE)
            w = jnp.where(broken, jnp.nan, state.meta_params["w"] * self.scale)
            return state._replace(meta_params=state.meta_params | {"w": w}), info | {"return": w.sum()}

        return learner._replace(step=step)


@pytest.fixture(scope="module", autouse=True)
def scaled() -> Any:
    ALGORITHMS[Scaled.name] = Scaled
    yield
    del ALGORITHMS[Scaled.name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return metarl_jax.sweep(*PAIR, over=OVER, seeds=2, out=tmp_path_factory.mktemp("whole") / "sweep", **LONG)


def lines(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run, except for the time."""
    found = read_metrics(path / "metrics.jsonl")
    return [{name: value for name, value in line.items() if name != "wall_seconds"} for line in found]


def assert_same(one: Any, other: Any) -> None:
    """The same runs, bit for bit, in whatever order."""
    others = {run.path.name: run for run in other.runs}
    assert {run.path.name for run in one.runs} == set(others)
    for run in one.runs:
        jax.tree.map(np.testing.assert_array_equal, run.meta_params, others[run.path.name].meta_params)
        assert lines(run.path) == lines(others[run.path.name].path)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Send SIGTERM while line number `count` of all metrics is written."""
    append, seen = saving.append_metrics, []

    def noted(folder: Any, line: Any) -> None:
        append(folder, line)
        seen.append(line)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(saving, "append_metrics", noted)


def test_a_member_is_the_run_that_it_is_alone(whole: Any, tmp_path: Path) -> None:
    assert len(whole.runs) == 8
    assert not whole.diverged
    member = api.load(whole.path / "scale=0.5,tasks=8,seed=1")
    alone = metarl_jax.train(*PAIR, scale=0.5, tasks=8, seed=1, out=tmp_path / "run", **LONG)
    assert (member.step, member.config) == (alone.step, alone.config)
    close(member.meta_params["w"], alone.meta_params["w"], rtol=1e-4, atol=1e-5)
    assert list(member.metrics) == list(alone.metrics)
    for name in set(alone.metrics) - {"wall_seconds"}:
        np.testing.assert_allclose(member.metrics[name], alone.metrics[name], rtol=1e-4, atol=1e-5)
    shutil.copytree(member.path, tmp_path / "copy")
    assert metarl_jax.resume(tmp_path / "copy", meta_steps=26, quiet=True).step == 26  # an ordinary run in every way


def test_members_differ_in_options_and_seeds(whole: Any) -> None:
    returns = {run.path.name: tuple(run.metrics["return_before"]) for run in whole.runs}
    assert len(set(returns.values())) == 4  # the toy does not depend on its number of tasks


def test_floats_and_seeds_are_one_program_and_each_static_option_is_another(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [len(part.folders) for part in whole.cohorts] == [4, 4]
    assert [part.like.algorithm.tasks for part in whole.cohorts] == [4, 8]
    append, counts = saving.append_metrics, []

    def noted(*arguments: Any) -> None:
        counts.append(events[COMPILED])
        append(*arguments)

    monkeypatch.setattr(saving, "append_metrics", noted)
    other = LONG | {"log_every": 5, "checkpoint_every": 100}  # another program than that of any other test
    split = metarl_jax.sweep(*PAIR, over=OVER, seeds=2, together=3, out=tmp_path / "sweep", **other)
    assert [len(part.folders) for part in split.cohorts] == [2, 2, 2, 2]
    programs = [cohort.programs(*part.made_of, 5, cohort.Lanes(part).mesh) for part in split.cohorts]
    assert programs[0] is programs[1] is not programs[2] is programs[3]
    by_cohort = np.reshape(counts, (4, 10))  # two runs of five chunks
    np.testing.assert_array_equal(by_cohort, by_cohort[:, :1] + np.zeros((1, 10)))  # the first chunk compiles
    for one, same in zip(split.runs, whole.runs, strict=True):
        close(one.meta_params["w"], same.meta_params["w"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 14, 30])
def test_interrupted_and_resumed_equals_uninterrupted(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    ask: dict[str, Any] = {"over": OVER, "seeds": 2, "out": tmp_path / "sweep"} | LONG
    with monkeypatch.context() as patch:
        interrupt_after(patch, count)
        with pytest.raises(Interrupted, match=r"metarl resume .*sweep") as caught:
            metarl_jax.sweep(*PAIR, **ask)
    assert caught.value.exit_code == 143
    with pytest.raises(UsageError, match="is not finished; continue it with `metarl resume"):
        metarl_jax.load_sweep(tmp_path / "sweep")
    (tmp_path / "sweep" / "checkpoints").rename(tmp_path / "lost")
    with pytest.raises(UnusableRun, match="was saved at meta-step"):  # rather than begin anew
        metarl_jax.resume_sweep(tmp_path / "sweep", quiet=True)
    shutil.rmtree(tmp_path / "sweep" / "checkpoints", ignore_errors=True)
    (tmp_path / "lost").rename(tmp_path / "sweep" / "checkpoints")
    again = metarl_jax.sweep(*PAIR, **ask) if count == 2 else metarl_jax.resume_sweep(tmp_path / "sweep", quiet=True)
    assert_same(again, whole)
    assert [row.value for row in again.table.rows] == [row.value for row in whole.table.rows]
    assert not (tmp_path / "sweep" / "checkpoints").exists()


def test_a_finished_sweep_is_loaded_and_not_trained_again(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "loop", None)
    for again in (metarl_jax.load_sweep(whole.path), metarl_jax.resume_sweep(whole.path, quiet=True)):
        assert_same(again, whole)
        assert again.table.rows == whole.table.rows
        assert again.best.path == whole.best.path


def test_the_order_of_members_does_not_matter(whole: Any, tmp_path: Path) -> None:
    over = {"tasks": [8, 4], "scale": [1.0, 0.5]}
    other = metarl_jax.sweep(*PAIR, over=over, seeds=[1, 0], out=tmp_path / "sweep", **LONG)
    by_options = {(run.config.algorithm, run.config.run.seed): run for run in other.runs}
    for run in whole.runs:
        same = by_options[run.config.algorithm, run.config.run.seed]
        jax.tree.map(np.testing.assert_array_equal, run.meta_params, same.meta_params)
        assert lines(run.path) == lines(same.path)


def test_another_request_in_the_same_folder_is_refused(whole: Any, tmp_path: Path) -> None:
    for change in ({"seeds": 3}, {"over": {"scale": [0.5]}}, {"meta_steps": 4}, {"together": 3}):
        with pytest.raises(UsageError, match="another sweep is in it"):
            metarl_jax.sweep(*PAIR, **({"over": OVER, "seeds": 2, "out": whole.path} | LONG | change))
    with pytest.raises(UsageError, match=r"is not a run, but holds 8: name one of them, such as .*seed=0"):
        metarl_jax.load(whole.path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="exists"):
        metarl_jax.sweep(*PAIR, over=OVER, out=tmp_path / "taken", **LONG)
    written = json.loads((whole.path / "sweep.json").read_text())
    written["request"]["seeds"] = [9]
    (tmp_path / "taken" / "sweep.json").write_text(json.dumps(written))
    with pytest.raises(UsageError, match=r"sweep.json was edited"):
        metarl_jax.load_sweep(tmp_path / "taken")


def test_a_diverged_run_does_not_stop_the_others(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = {"scale": [0.5, TOO_LARGE]}
    with monkeypatch.context() as patch:
        interrupt_after(patch, 14)  # in the chunk after the divergence
        with pytest.raises(Interrupted):
            metarl_jax.sweep(*PAIR, over=over, seeds=2, out=tmp_path / "sweep", **LONG)
    found = metarl_jax.resume_sweep(tmp_path / "sweep", quiet=True)
    assert [path.name for path in found.diverged] == [f"scale=100.0,seed={seed}" for seed in range(2)]
    assert "scale=100.0,seed=1 diverged at meta-step 12" in caplog.text
    for run, same in zip(found.runs, (run for run in whole.runs if "scale=0.5,tasks=8" in run.path.name), strict=True):
        assert lines(run.path) == lines(same.path)
    lost = found.diverged[0]
    assert diverged_at(RunFolder(lost)) == 12
    assert [line["meta_step"] for line in lines(lost)] == [4, 8, 12]
    assert lines(lost)[-1]["return"] is None
    kept = api.load(lost)  # the state before the chunk in which it diverged
    assert kept.step == 8
    assert np.all(np.isfinite(kept.meta_params["w"]))
    cell = found.table.cell("scale=100.0", "return")
    assert (cell.value, cell.note) == (None, "2 of 2 diverged")
    assert found.best.config.algorithm.scale == 0.5


def test_a_sweep_whose_runs_all_diverge_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"all 2 runs in .* diverged"):
        metarl_jax.sweep(*PAIR, over={"scale": [TOO_LARGE]}, seeds=2, out=tmp_path / "sweep", **LONG)


def test_the_table_has_means_and_intervals_over_seeds(whole: Any) -> None:
    assert json.loads((whole.path / "table.json").read_text()) == json.loads(whole.table.to_json())
    cell = whole.table.cell("scale=0.5, tasks=4", "return")
    mine = [run.metrics["return"][-1] for run in whole.runs[:2]]
    np.testing.assert_allclose(cell.by_seed, mine)
    assert cell.value == pytest.approx(np.mean(mine))
    assert cell.seed_interval[0] < cell.value < cell.seed_interval[1]
    means = {run.config.algorithm.scale: 0.0 for run in whole.runs}
    for run in whole.runs:
        means[run.config.algorithm.scale] += run.metrics["return"][-1]
    assert whole.best.config.algorithm.scale == max(means, key=lambda scale: means[scale])
    assert (whole.path / "sweep.png").exists()
    shown = whole._repr_html_()
    assert f"{len(whole.runs)} runs</summary>" in shown
    assert "best: " in shown
    assert "<th>return</th>" in shown


def test_several_seeds_of_one_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five runs on four devices: three share the six lanes, of which one is spare."""
    monkeypatch.chdir(tmp_path)
    results = metarl_jax.train(*PAIR, seeds=5, seed=3, **LONG)
    assert results.path == Path("runs/scaled-bandit-seeds-1")
    assert [run.config.run.seed for run in results.runs] == [3, 4, 5, 6, 7]
    assert results.table.seeds == [3, 4, 5, 6, 7]
    assert len(results.table.cell("scaled", "return").by_seed) == 5
    assert repr(results) == "<Results scaled on bandit, 5 seeds: runs/scaled-bandit-seeds-1>"
    shown = results._repr_html_()
    assert "5 runs</summary>" in shown
    assert all(run.path.name in shown for run in results.runs)
    assert [run.path for run in api.members(results.path)] == [run.path for run in results.runs]
    assert [*api.members(results)] == [*results.runs]
    bands = results.plot("learning").axes[0].collections
    assert len(bands) == 1
    alone = metarl_jax.train(*PAIR, seed=7, **LONG)
    close(results.runs[-1].meta_params["w"], alone.meta_params["w"], rtol=1e-4, atol=1e-5)


def test_what_a_callback_raises_stops_all_runs_after_they_were_saved(whole: Any, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def stop(line: dict[str, Any]) -> None:
        seen.append((line["run"], line["meta_step"]))
        if seen[-1] == ("scale=1.0,tasks=4,seed=0", 8):
            raise RuntimeError("good enough")

    ask: dict[str, Any] = {"over": OVER, "seeds": 2, "out": tmp_path / "sweep"} | LONG
    with pytest.raises(RuntimeError, match="good enough"):
        metarl_jax.sweep(*PAIR, on_log=stop, **ask)
    first = [folder.path.name for folder in whole.cohorts[0].folders]
    assert seen[:4] == [(name, 4) for name in first]
    assert seen[-1][1] == 8
    assert_same(metarl_jax.resume_sweep(tmp_path / "sweep", quiet=True), whole)


def test_every_run_has_trackers_of_its_own(whole: Any) -> None:
    for run in whole.runs:
        rows = (run.path / "metrics.csv").read_text().splitlines()
        assert len(rows) == 1 + len(lines(run.path))
        assert [int(row.split(",")[0]) for row in rows[1:]] == [line["meta_step"] for line in lines(run.path)]


def test_a_file_a_command_and_a_call_ask_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Grid] = []
    monkeypatch.setattr(sweep, "run_grid", lambda grid, **how: asked.append(grid))
    monkeypatch.setattr("metarl_jax.experiment.commands.sweep.announce_all", lambda *anything: 0)
    over = {"meta_lr": [1e-4, 0.001], "hidden": [[16], [32, 32]], "estimator": ["lvc", "reptile"], "env.size": [3]}
    common: dict[str, Any] = {"preset": "tiny", "over": over, "seeds": 2}
    metarl_jax.sweep("maml", "maze", **common, env={"openings": 0.2}, meta_steps=4)
    content = {"algorithm": "maml", "environment": "maze", "options": {"meta_steps": 4}, "env": {"openings": 0.2}}
    (tmp_path / "a.json").write_text(json.dumps(content | common))
    (tmp_path / "b.toml").write_text(
        'algorithm = "maml"\nenvironment = "maze"\npreset = "tiny"\nseeds = 2\noptions.meta_steps = 4\n'
        "env.openings = 0.2\n[over]\nmeta_lr = [1e-4, 1e-3]\nhidden = [16, [32, 32]]\n"
        'estimator = ["lvc", "reptile"]\n"env.size" = [3]\n'
    )
    words = "--over meta-lr=1e-4,1e-3 --over hidden=16,32x32 --over estimator=lvc,reptile --over env.size=3"
    flags = f"{words} --preset tiny --seeds 2 --meta-steps 4 --env.openings 0.2"
    for command in (["maml", "maze", *flags.split()], [str(tmp_path / "a.json")], [str(tmp_path / "b.toml")]):
        assert main(["sweep", *command]) == 0
    assert len(asked) == 4
    assert asked[0] == asked[1] == asked[2] == asked[3]
    assert asked[0].varied == ("meta_lr",)
    assert len(asked[0].members) == 16


def test_the_command_prints_a_line_for_each_combination_and_the_best(
    whole: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["resume", str(whole.path)]) == 0
    printed = capsys.readouterr().out
    assert f"best: {whole.winner.row}" in printed
    assert printed.splitlines()[-2:] == [str(whole.path), str(whole.best.path)]
    assert main(["resume", str(whole.path), "--meta-steps", "30"]) == 2
    assert "extend one of its runs" in capsys.readouterr().err
    words = f"sweep scaled bandit --over scale=0.5,1.0 --out {tmp_path / 'sweep'} --meta-steps 4 --evaluation-tasks 0"
    assert main([*words.split(), "--json"]) == 0
    assert {row["row"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"scale=0.5", "scale=1.0"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    options: dict[str, Any] = {"tasks": 4, "envs": 2, "hidden": (), "meta_steps": 4, "log_every": 2, "quiet": True}
    options |= {"preset": "tiny", "evaluation_tasks": 6, "env": {"pulls": 3}}
    out = tmp_path_factory.mktemp("real")
    over = {"inner_lr": [0.1, 1.0]}
    many = metarl_jax.sweep("fomaml", "bandit", over=over, seeds=2, out=out / "sweep", **options)
    return many, metarl_jax.train("fomaml", "bandit", inner_lr=1.0, seed=1, out=out / "run", **options)


@pytest.mark.slow
def test_a_real_member_learns_and_is_evaluated_as_alone(real: Any) -> None:
    many, alone = real
    member = api.load(many.path / "inner_lr=1.0,seed=1")
    close(member.meta_params, alone.meta_params, rtol=1e-3, atol=1e-5)
    evaluations = [json.loads((run.path / "evaluation.json").read_text()) for run in (member, alone)]
    for mine, other in zip(*(evaluation["rows"] for evaluation in evaluations), strict=True):
        assert (mine["row"], mine["column"]) == (other["row"], other["column"])
        assert mine["value"] == pytest.approx(other["value"], abs=0.51)  # a rounding may tip an action
    assert evaluations[0]["seeds"] == [1]
    assert evaluations[0]["env_steps"] == evaluations[1]["env_steps"]
    table = metarl_jax.compare(member, alone, tasks=4)
    assert table.cell(str(member.path), "episode=1").value == pytest.approx(
        table.cell(str(alone.path), "episode=1").value
    )


@pytest.mark.slow
def test_a_real_sweep_is_pooled_over_seeds(real: Any) -> None:
    many, _ = real
    values = [metarl_jax.load(run.path).evaluate(tasks=6).table.cell("fomaml", "step=1").value for run in many.runs[:2]]
    assert many.table.cell("inner_lr=0.1", "step=1").by_seed == pytest.approx(values, abs=0.51)
    assert many.table.cell("inner_lr=0.1", "return").value == many.table.cell("inner_lr=0.1", "step=1").value
    assert many.table.cell("reference", "return").value >= many.table.cell("random", "return").value - 0.5
    again = many.evaluate(tasks=6)
    assert [row.value for row in again.rows] == [row.value for row in many.table.rows]
