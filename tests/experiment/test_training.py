"""The training loop: resume is exact, signals save, divergence stops, nothing is overwritten."""

import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import compiled
from rule_files import needed
from shell_toy import SHORT, toy  # noqa: F401

from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.experiment import api, checkpoint, run_folder, saving, sealed, training
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import Interrupted, TrainingDiverged, UnusableRun, UsageError
from metarl_jax.experiment.lock import locked
from metarl_jax.experiment.run_folder import RunFolder

TOY = ("toy", "bandit")


def assert_same_run(one, other):
    """Same parameters and same metrics, bit for bit, apart from wall time."""
    for a, b in zip(jax.tree.leaves(one.meta_params), jax.tree.leaves(other.meta_params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert metrics_without_time(one.path) == metrics_without_time(other.path)


def metrics_without_time(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("wall_seconds", "check")} for line in lines]


def interrupt_after(monkeypatch, lines):
    """Send SIGTERM to this process while the chunk that ends with line number `lines` is under way."""
    append = saving.append_metrics
    seen = []

    def append_and_maybe_signal(path, line):
        append(path, line)
        seen.append(line)
        if len(seen) == lines:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(saving, "append_metrics", append_and_maybe_signal)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return api.train(*TOY, meta_steps=22, out=tmp_path_factory.mktemp("whole") / "run", **SHORT)


def test_a_run_equals_a_plain_loop_over_its_steps(whole):
    config = resolve(*TOY)
    learner = config.algorithm.build(config.environment)
    keys = training.run_keys(0)
    state, step = learner.init(keys.birth), jax.jit(learner.step)
    for index in range(22):
        state, _ = step(state, jax.random.fold_in(keys.root, index))
    np.testing.assert_allclose(whole.meta_params["w"], state.meta_params["w"], rtol=1e-5)
    assert whole.step == 22


def test_metrics_are_means_over_chunks(whole):
    assert list(whole.metrics["meta_step"]) == [4, 8, 12, 16, 20, 22]
    assert list(whole.metrics["env_steps"]) == [7 * step for step in (4, 8, 12, 16, 20, 22)]
    assert set(whole.metrics) == {"meta_step", "env_steps", "wall_seconds", "return", "return_before"}
    np.testing.assert_allclose(whole.metrics["return_before"] * -6, whole.metrics["return"], rtol=1e-5)
    assert np.all(np.diff(whole.metrics["wall_seconds"]) >= 0)


def test_another_seed_is_another_run(whole, tmp_path):
    other = api.train(*TOY, seed=1, meta_steps=4, out=tmp_path / "run", **SHORT)
    assert other.metrics["return"][0] != whole.metrics["return"][0]


@pytest.mark.parametrize("lines", [1, 3, 5])
def test_interrupted_and_resumed_equals_uninterrupted(whole, tmp_path, monkeypatch, lines):
    with monkeypatch.context() as patch:
        interrupt_after(patch, lines)
        with pytest.raises(Interrupted) as caught:
            api.train(*TOY, meta_steps=22, out=tmp_path / "run", **SHORT)
    assert (caught.value.exit_code, caught.value.step) == (143, 4 * lines)
    assert api.load(tmp_path / "run").step == 4 * lines
    assert_same_run(api.resume(tmp_path / "run", quiet=True), whole)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_goes_on_as_if_it_had_not_been_interrupted(algorithm, tmp_path, monkeypatch):
    pair = (algorithm, "bandit")
    options = {"preset": "tiny", "meta_steps": 4, "log_every": 1, "checkpoint_every": 4, "evaluation_tasks": 0}
    options |= needed(algorithm)
    uninterrupted = api.train(*pair, out=tmp_path / "whole", quiet=True, **options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            api.train(*pair, out=tmp_path / "run", quiet=True, **options)
    assert_same_run(api.resume(tmp_path / "run", quiet=True), uninterrupted)


def test_work_after_the_last_checkpoint_is_repeated_not_doubled(whole, tmp_path):
    """As after a crash: metrics reach further than the checkpoints, and the last line is torn."""
    run = api.train(*TOY, meta_steps=22, out=tmp_path / "run", **SHORT)
    for path in checkpoint.found(run.path / "checkpoints")[1:]:
        path.rename(path.with_name(path.name.replace("step", "gone")))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"meta_step": 26, "env_st')
    assert api.load(run.path).step == 8
    assert_same_run(api.resume(run.path, quiet=True), whole)


def test_a_damaged_newest_checkpoint_costs_only_the_work_since_the_one_before(whole, tmp_path):
    run = api.train(*TOY, meta_steps=22, out=tmp_path / "run", **SHORT)
    (run.path / "checkpoints" / "step-00000022" / "manifest.json").unlink()
    assert api.load(run.path).step == 16
    assert_same_run(api.resume(run.path, quiet=True), whole)


def test_a_longer_run_equals_one_planned_longer(whole, tmp_path):
    api.train(*TOY, meta_steps=12, out=tmp_path / "run", **SHORT)
    longer = api.resume(tmp_path / "run", meta_steps=22, quiet=True)
    assert_same_run(longer, whole)
    assert api.load(longer.path).config.run.meta_steps == 22


@pytest.mark.parametrize("meta_steps", [None, 26])
def test_a_resumed_run_is_opened_and_restored_once(tmp_path, monkeypatch, meta_steps):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Interrupted):
            api.train(*TOY, meta_steps=22, out=tmp_path / "run", **SHORT)
    calls = []

    def counted(name, function):
        return lambda *arguments: (calls.append(name), function(*arguments))[1]

    for module, name in ((run_folder, "open_run"), (checkpoint, "newest"), (checkpoint, "load")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    resumed = api.resume(tmp_path / "run", meta_steps=meta_steps, quiet=True)
    assert calls == ["open_run", "newest", "load"]
    monkeypatch.undo()
    loaded = api.load(resumed.path)
    assert (loaded.step, loaded.config) == (resumed.step, resumed.config)
    assert_same_run(resumed, loaded)
    for name, values in loaded.metrics.items():
        np.testing.assert_array_equal(resumed.metrics[name], values)


def test_a_run_is_not_made_shorter(tmp_path):
    api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    with pytest.raises(UsageError, match="meta_steps is 3; it must be at least 4"):
        api.resume(tmp_path / "run", meta_steps=3)


def test_a_run_without_a_usable_checkpoint_is_left_alone(tmp_path):
    run = api.train(*TOY, meta_steps=8, out=tmp_path / "run", **SHORT)
    for path in checkpoint.found(run.path / "checkpoints"):
        (path / "manifest.json").unlink()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for again in (api.load, lambda path: api.resume(path, meta_steps=12, quiet=True)):
        with pytest.raises(UnusableRun):
            again(run.path)
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"meta-step 16; the last good checkpoint is .*step-00000008"):
        api.train(*TOY, meta_steps=40, breaks_at=15, out=tmp_path / "run", **SHORT)
    assert api.load(tmp_path / "run").step == 8
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["return"] is None


def test_a_run_folder_is_never_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="exists"):
        api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    assert not any((tmp_path / "run").iterdir())


def test_without_out_every_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [api.train(*TOY, meta_steps=4, **SHORT).path for _ in range(2)]
    assert paths == [Path("runs/toy-bandit-0-1"), Path("runs/toy-bandit-0-2")]


def test_bad_input_leaves_nothing_behind(tmp_path):
    with pytest.raises(UsageError):
        api.train(*TOY, tasks=0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_resumed_on_another_device_says_so(tmp_path, monkeypatch, caplog):
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    here, elsewhere = run_folder.trained_on(RunFolder(run.path))[0], "1 x another device"
    monkeypatch.setattr(run_folder.devices, "describe", lambda: elsewhere)
    api.resume(run.path)
    assert not caplog.text  # nothing was left to train
    began = json.loads((run.path / "run.json").read_text())
    api.resume(run.path, meta_steps=8)
    change = f"other device ({here}, now {elsewhere}): the rest will not be the same bit for bit"
    assert f"{run.path} was started with {change}" in caplog.text
    api.resume(run.path, meta_steps=12)
    assert run_folder.trained_on(RunFolder(run.path)) == [here, elsewhere]
    description = json.loads((run.path / "run.json").read_text())
    assert [span["meta_step"] for span in description["continued"]] == [4]
    assert all(description[name] == began[name] for name in ("versions", "device", "date"))
    monkeypatch.undo()
    api.resume(run.path, meta_steps=16)
    description = json.loads((run.path / "run.json").read_text())
    assert [(span["meta_step"], span["device"]) for span in description["continued"]] == [(4, elsewhere), (12, here)]
    run_folder.note_change(RunFolder(run.path), 4)  # back where it began, before it ever was elsewhere
    assert run_folder.trained_on(RunFolder(run.path)) == [here]


@pytest.mark.parametrize("edit", ["seed", "digest", "config", "text"])
def test_an_edited_configuration_is_refused(tmp_path, edit):
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    description = json.loads((run.path / "run.json").read_text())
    if edit == "seed":
        description["config"]["run"]["seed"] = 9
    elif edit in description:
        del description[edit]
    (run.path / "run.json").write_text("{" if edit == "text" else json.dumps(description))
    with pytest.raises(UsageError, match=r"was edited|is not the card of a run"):
        api.load(run.path)


def rewritten(run, change):
    """The configuration as another version of the program would have written it."""
    description = json.loads((run.path / "run.json").read_text())
    change(description["config"])
    del description["digest"]
    (run.path / "run.json").write_bytes(sealed.written(description))


def test_an_option_that_a_run_is_older_than_has_its_default(tmp_path, caplog):
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    before = api.load(run.path).config
    rewritten(run, lambda config: config["run"].pop("checkpoint_minutes"))
    assert "older" not in caplog.text
    assert api.load(run.path).config == before
    assert "is older than some options, which have their defaults: checkpoint_minutes=None" in caplog.text
    assert api.resume(run.path, meta_steps=8).metrics["meta_step"][-1] == 8


def test_an_option_that_was_removed_is_named(tmp_path):
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    rewritten(run, lambda config: config["run"].update(chekpoint_minutes=1.0))
    with pytest.raises(UsageError, match=r"made by another version .*'chekpoint_minutes'.*'checkpoint_minutes'"):
        api.load(run.path)
    rewritten(run, lambda config: config.pop("preset"))
    with pytest.raises(UsageError, match=r"made by another version .*'preset'"):
        api.load(run.path)


@pytest.mark.parametrize("part", ["environment", "algorithm"])
def test_an_unregistered_name_is_reported(tmp_path, part):
    """A user's own environment, before it was imported: no other version is to blame."""
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    rewritten(run, lambda config: config[part].update(name="mine"))
    with pytest.raises(UsageError, match=rf"the {part} 'mine', which is not known here.*{part.upper()}S\['mine'\]"):
        api.load(run.path)


def test_a_variant_keeps_its_name_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run_folder.create(resolve("fomaml", "navigation"), None)
    assert folder.path == Path("runs/fomaml-navigation-0-1")
    assert run_folder.open_run(folder.path)[1] == resolve("fomaml", "navigation")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for again in (api.load, api.resume):
        with pytest.raises(UsageError, match="is not a run"):
            again(tmp_path)


def test_leaves_without_a_gradient_are_named_once(tmp_path, caplog):
    """Step sizes of adaptations that do not take place; in a run of several chunks."""
    short = {"meta_steps": 4, "log_every": 2, "evaluation_tasks": 0, "quiet": True, "hidden": (4,), "tasks": 4}
    idle = {"adaptations": 0, "learned_rates": True}
    result = api.train("maml", "bandit", out=tmp_path / "idle", preset="tiny", **idle, **short)
    np.testing.assert_array_equal(result.metrics["dead_leaves"], 4.0)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "up to meta-step 2, 4 leaves of φ had a gradient of exactly zero" in said
    assert said.count("rates") == 4


def test_checkpoints_are_saved_by_the_clock(tmp_path):
    options = SHORT | {"checkpoint_every": 1000, "checkpoint_minutes": 1e-9, "keep": 100}
    run = api.train(*TOY, meta_steps=12, out=tmp_path / "run", **options)
    assert [path.name[-2:] for path in checkpoint.found(run.path / "checkpoints")] == ["04", "08", "12"]


def test_two_processes_do_not_train_the_same_run(tmp_path):
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    with locked(run.path), pytest.raises(UsageError, match=f"is being trained by process {os.getpid()}"):
        api.resume(run.path, meta_steps=8, quiet=True)


def test_chunks_of_every_length_are_one_program():
    config = resolve(*TOY)
    learner = config.algorithm.build(config.environment)
    keys = training.run_keys(0)
    chunk = training.compile_chunk(learner, 5, None)
    state, _, _ = chunk(jax.jit(learner.init)(keys.birth), keys.root, 0, 5)
    assert compiled(lambda: chunk(chunk(state, keys.root, 5, 2)[0], keys.root, 7, 1)) == 0
