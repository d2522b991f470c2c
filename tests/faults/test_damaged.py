"""Bits that flipped, files that were cut, emptied or lost: always noticed, and the run goes on from what is whole."""

import json
import random
import shutil

import numpy as np
import pytest
from shell_toy import toy  # noqa: F401

from faults.stored import content, copied, flip, newest, same, steps, timeless, trained
from metarl_jax.experiment import api, checkpoint, cli, metrics, results, run_folder
from metarl_jax.experiment.errors import UnusableRun, UsageError
from metarl_jax.experiment.run_folder import RunFolder

flips, losses = pytest.mark.fault(3), pytest.mark.fault(4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole") / "run").path


@flips
def test_a_flipped_bit_of_a_checkpoint_is_always_found(whole, tmp_path, caplog, tally):
    """In any file of the newest one; the step before is used."""
    rng, lost = random.Random(0), 0
    for case in range(50):
        run = copied(whole, tmp_path / str(case))
        file = rng.choice(sorted(newest(run).iterdir()))
        flip(file, rng)
        caplog.clear()
        lost += api.load(run).step != 16 or "skipped checkpoint step-00000022" not in caplog.text
    tally(rounds=50, lost=lost)


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def empty(file):
    file.write_bytes(b"")


def lose(file):
    file.unlink()


@losses
@pytest.mark.parametrize("name", [checkpoint.MANIFEST, checkpoint.ARRAYS])
@pytest.mark.parametrize("damage", [cut, empty, lose])
def test_a_damaged_file_costs_the_work_since_the_step_before(whole, tmp_path, caplog, name, damage):
    run = copied(whole, tmp_path / "run")
    damage(newest(run) / name)
    assert api.load(run).step == 16
    assert "skipped checkpoint step-00000022" in caplog.text
    api.resume(run, quiet=True)
    assert same(run, whole)
    assert steps(run) == [8, 16, 22]
    assert (run / "checkpoints" / "damaged-00000022-1").is_dir()


def gone(checkpoints):
    shutil.rmtree(checkpoints)


def emptied(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.mkdir()


def renamed(checkpoints):
    for path in checkpoint.found(checkpoints):
        path.rename(path.with_name(f"{path.name} (copy)"))


def a_file(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.write_text("")


def a_loop(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.symlink_to(checkpoints.name)


def all_damaged(checkpoints):
    for path in checkpoint.found(checkpoints):
        empty(path / checkpoint.ARRAYS)


@losses
@pytest.mark.parametrize("loss", [gone, emptied, renamed, a_file, a_loop, all_damaged])
def test_a_run_that_was_saved_never_begins_anew(whole, tmp_path, capsys, loss):
    run = copied(whole, tmp_path / "run")
    loss(run / "checkpoints")
    before = content(run)
    assert cli.main(["resume", str(run)]) == 4
    assert cli.main(["resume", str(run), "--meta-steps=40"]) == 4
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(UnusableRun):
        api.load(run)
    assert content(run) == before


@losses
def test_a_run_that_never_saved_begins_anew(whole, tmp_path):
    stopped = tmp_path / "run"

    def stop(line):
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        trained(stopped, on_log=stop)
    shutil.rmtree(stopped / "checkpoints")
    description = run_folder.described(RunFolder(stopped))
    del description["saved"]
    run_folder._write_description(RunFolder(stopped), description)
    api.resume(stopped, quiet=True)
    assert same(stopped, whole)


@losses
def test_a_lost_newest_checkpoint_is_reported(whole, tmp_path, caplog):
    run = copied(whole, tmp_path / "run")
    shutil.rmtree(newest(run))
    assert api.load(run).step == 16
    assert "meta-step 16 is used, although 22 was saved later" in caplog.text


@flips
def test_a_flipped_bit_of_the_metrics_changes_no_number(whole, tmp_path, caplog, tally):
    """The line is left out with a warning, or what is left of it says the same."""
    rng, lost, run = random.Random(1), 0, copied(whole, tmp_path / "run")
    file = RunFolder(run).metrics
    written, lines = file.read_bytes(), metrics.read_metrics(file)
    for _ in range(300):
        file.write_bytes(written)
        flip(file, rng)
        caplog.clear()
        found = metrics.metrics_until(file, 22)
        lost += any(line not in lines for line in found) or (found != lines and not caplog.records)
    tally(rounds=300, lost=lost)


@flips
def test_a_run_with_a_damaged_line_goes_on_without_it(whole, tmp_path, caplog):
    run = copied(whole, tmp_path / "run")
    file = RunFolder(run).metrics
    first, second, *rest = file.read_bytes().splitlines(keepends=True)
    damaged = first + second.replace(b"return", b"retorn", 1) + b"".join(rest)
    file.write_bytes(damaged)
    assert list(api.load(run).metrics["meta_step"]) == [4, 12, 16, 20, 22]
    assert "metrics.jsonl was damaged: 1 lines are left out (2)" in caplog.text
    resumed = api.resume(run, meta_steps=24, quiet=True)
    assert list(resumed.metrics["meta_step"]) == [4, 12, 16, 20, 22, 24]
    assert (run / "metrics.jsonl.damaged-1").read_bytes() == damaged
    caplog.clear()
    api.load(run)
    assert not caplog.records


@losses
@pytest.mark.parametrize("damage", [cut, empty, lose])
def test_metrics_that_end_before_the_checkpoint_are_reported(whole, tmp_path, caplog, damage):
    run = copied(whole, tmp_path / "run")
    damage(RunFolder(run).metrics)
    result = api.load(run)
    assert "and the run was saved at 22: metrics are missing" in caplog.text
    assert result.cost == (None, None)
    assert api.resume(run, meta_steps=24, quiet=True).metrics["meta_step"][-1] == 24


@flips
@pytest.mark.parametrize("name", ["run.json", "evaluation.json"])
def test_a_flipped_bit_of_a_description_is_found(whole, tmp_path, name, tally):
    rng, lost, run = random.Random(2), 0, copied(whole, tmp_path / "run")
    results.Table("toy", [0], 3).write(run / "evaluation.json")
    read = {"run.json": api.load, "evaluation.json": lambda path: results.read(path / name)}[name]
    written = (run / name).read_bytes()
    for _ in range(100):
        (run / name).write_bytes(written)
        flip(run / name, rng)
        try:
            read(run)
            lost += json.loads((run / name).read_bytes()) != json.loads(written)
        except UsageError:
            pass
    tally(rounds=100, lost=lost)


@losses
@pytest.mark.parametrize("path", ["[ab]", "a*b?", "{x,y}", "ä ö\n", "-o", "$HOME", "%s"])
def test_characters_of_a_path_mean_nothing(tmp_path, path, tally):
    """A run in such a folder is saved, loaded and resumed."""
    run = trained(tmp_path / path / "run", meta_steps=10).path
    assert api.load(run).step == 10
    assert api.resume(run, meta_steps=22, quiet=True).step == 22
    assert len(timeless(run)) == 7
    tally(rounds=1, lost=0)


@losses
def test_evaluations_of_an_earlier_step_are_not_shown(whole, tmp_path):
    run = copied(whole, tmp_path / "run")
    result = api.load(run)
    table = results.Table("toy", [0], 3, meta_step=22)
    table.write(run / "evaluation.json")
    assert result.evaluated() == table
    longer = api.resume(run, meta_steps=24, quiet=True)
    assert longer.evaluated() is None
    table.meta_step = None
    table.write(run / "evaluation.json")
    assert longer.evaluated() is None


@losses
def test_what_was_read_is_what_was_written(whole, tmp_path):
    """A save whose file is not what it wrote raises, and leaves the older ones as they were."""
    run = copied(whole, tmp_path / "run")
    before = content(run)
    state = {"w": np.float32(1)}
    arrays = checkpoint._contents
    try:
        checkpoint._contents = lambda *given: arrays(*given[:2], {"w": np.float32(2)[None]})
        with pytest.raises(OSError, match=r"was written but cannot be used: w is"):
            checkpoint.save(run / "checkpoints", "mine", 30, state, keep=1)
    finally:
        checkpoint._contents = arrays
    after = content(run)
    assert {path: after[path] for path in before} == before
    assert steps(run) == [8, 16, 22]
    with pytest.raises(OSError, match="w is not finite"):
        checkpoint.save(run / "checkpoints", "mine", 30, {"w": np.float32("nan")}, keep=1)
    assert steps(run) == [8, 16, 22]
