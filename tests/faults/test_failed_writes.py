"""Fault 5: disk full, read-only folder, file-size limit: training goes on, and whatever was saved stays."""

import json
import os
import resource
import subprocess
import time

import jax
import numpy as np
import pytest
from shell_toy import SHORT, toy  # noqa: F401

from faults.processes import FOREVER, await_file, command, started, surroundings, training
from metarl_jax.experiment import api, checkpoint, saving
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import Interrupted, Unsaved

pytestmark = pytest.mark.fault(5)
TOY = ("toy", "bandit")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return api.train(*TOY, meta_steps=22, out=tmp_path_factory.mktemp("whole") / "run", **SHORT)


def assert_same(run, whole):
    """The same parameters and the same metrics, in memory and on the disk, except for the time."""
    for name in set(whole.metrics) - {"wall_seconds"}:
        np.testing.assert_array_equal(run.metrics[name], whole.metrics[name])
    for one in (run, api.load(run.path)):
        jax.tree.map(np.testing.assert_array_equal, one.meta_params, whole.meta_params)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["meta_step"] for line in lines] == [4, 8, 12, 16, 20, 22]


def limited(size):
    """No file may become larger than `size` bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture
def between():
    """Lets files have no more than a few bytes while a run that calls it is between two of its meta-steps."""

    def from_to(first, last):
        def on_log(line):
            limited(50 if first <= line["meta_step"] < last else resource.RLIM_INFINITY)

        return on_log

    yield from_to
    limited(resource.RLIM_INFINITY)


def test_a_disk_that_is_full_for_a_while_costs_nothing(whole, tmp_path, between, monkeypatch):
    warned = []
    monkeypatch.setattr(saving.log, "warning", lambda words, *values: warned.append(words % values))
    run = api.train(*TOY, meta_steps=22, out=tmp_path / "run", on_log=between(12, 20), **SHORT)
    assert_same(run, whole)
    assert (run.path / "metrics.csv").read_text().count("\n") == 7
    assert sum("metrics.csv" in words for words in warned) == 1
    assert [words.split(";")[0] for words in warned if "metrics.csv" not in words] == [
        "metrics wait until they can be written",
        "meta-step 16 could not be saved",
    ]


def test_a_run_whose_last_save_failed_says_so_and_goes_on_from_the_one_before(whole, tmp_path, between):
    with pytest.raises(Unsaved, match=r"meta-step 22 could not be saved.*step-00000008.*metarl resume") as caught:
        api.train(*TOY, meta_steps=22, out=tmp_path / "run", on_log=between(12, FOREVER), **SHORT)
    limited(resource.RLIM_INFINITY)
    assert (caught.value.exit_code, caught.value.step) == (1, 22)
    assert api.load(tmp_path / "run").step == 8
    assert_same(api.resume(tmp_path / "run", quiet=True), whole)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("UNKNOWN: [a library]\nat x")])
def test_whatever_a_save_raises_the_command_ends_with_one_sentence_and_code_1(error, tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise error

    monkeypatch.setattr(checkpoint, "save", fails)
    words = training(tmp_path / "run", 16, "--quiet")
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("metarl: meta-step 16 could not be saved (")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_save_that_failed_is_tried_again_soon(tmp_path, monkeypatch):
    tried, save = [], checkpoint.save

    def fails_at_first(folder, run, step, *rest):
        tried.append(step)
        if len(tried) == 1:
            raise OSError(28, "No space left on device")
        return save(folder, run, step, *rest)

    monkeypatch.setattr(checkpoint, "save", fails_at_first)
    monkeypatch.setattr("metarl_jax.experiment.training.RETRY", 0.0)
    api.train(*TOY, meta_steps=16, out=tmp_path / "run", **SHORT)
    assert tried == [8, 12, 16]


def test_a_run_that_cannot_be_saved_when_it_is_stopped_does_not_say_that_it_was(tmp_path, monkeypatch):
    def stopped(folder, line, append=saving.append_metrics):
        append(folder, line)
        os.kill(os.getpid(), 15)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "append_metrics", stopped)
    monkeypatch.setattr(checkpoint, "save", fails)
    with pytest.raises((Unsaved, Interrupted), match=r"meta-step 4 could not be saved.*there is no checkpoint"):
        api.train(*TOY, meta_steps=16, out=tmp_path / "run", **SHORT)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few pages."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    """Use up the space; what gives it back."""
    hog = place / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 1024)
        except OSError:
            pass
    return hog.unlink


def use_up_inodes(place):
    """Use up the files; what gives them back."""
    made = []
    try:
        while True:
            made.append(place / f"file-{len(made)}")
            made[-1].touch()
    except OSError:
        made.pop()
    return lambda: [path.unlink() for path in made]


def make_read_only(place):
    """Forbid writing; what allows it."""
    while subprocess.run(["mount", "-o", "remount,ro", str(place)], capture_output=True).returncode:
        time.sleep(0.01)  # a file is open for writing
    return lambda: subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


FAULTS = {"full": fill, "inodes": use_up_inodes, "read-only": make_read_only}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "inodes"])
@pytest.mark.parametrize("lasts", [False, True])
def test_a_disk_that_refuses(fault, lasts, whole, small_disk, tally):
    """For a while, or until the run has ended."""
    back = []

    def on_log(line):
        if line["meta_step"] == 12:
            back.append(FAULTS[fault](small_disk))
        if line["meta_step"] == 20 and not lasts:
            back.pop()()

    def trained():
        return api.train(*TOY, meta_steps=22, out=small_disk / "run", on_log=on_log, **SHORT)

    if lasts:
        with pytest.raises(Unsaved):
            trained()
        back.pop()()
        assert api.load(small_disk / "run").step == 8
        assert_same(api.resume(small_disk / "run", quiet=True), whole)
    else:
        assert_same(trained(), whole)
    tally(1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_on_a_disk_that_refuses_goes_on_and_ends_with_code_1(fault, small_disk, tally):
    run = small_disk / "run"
    with started(training(run)) as process:
        await_file(run / "metrics.jsonl", process)
        while not checkpoint.found(run / "checkpoints"):
            time.sleep(0.02)
        back = FAULTS[fault](small_disk)
        kept = checkpoint.found(run / "checkpoints")[-1]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=5)  # training goes on
        process.terminate()
        complaint = process.communicate(timeout=60)[1]
    back()
    assert process.returncode == 1
    assert "Traceback" not in complaint
    assert f"metarl resume {run}" in complaint.splitlines()[-1]
    assert len(complaint.splitlines()) < 20
    assert api.load(run).step >= int(kept.name[5:])
    tally(1, 0)


@pytest.mark.slow
def test_a_process_with_a_limit_on_files(tmp_path, tally):
    limit = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash"]  # KiB
    words = [*limit, *command(training(tmp_path / "run", 22))]
    done = subprocess.run(words, env=surroundings(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 20
    tally(1, 0)
