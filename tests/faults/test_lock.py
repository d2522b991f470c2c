"""One process trains a run at a time; whoever reads it meanwhile finds a whole one."""

import contextlib
import json
import multiprocessing
import os
import threading

import jax
import pytest
from shell_toy import Toy, toy  # noqa: F401

from faults.stored import trained
from metarl_jax.envs import make
from metarl_jax.experiment import api, checkpoint, cli, files
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.lock import HOLDER, locked
from metarl_jax.experiment.run_folder import RunFolder

pytestmark = pytest.mark.fault(15)


def hold(folder, ready, end):
    with locked(folder):
        ready.set()
        end.wait(60)
        os._exit(9)  # as if it was killed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("lock") / "run").path


def test_the_second_process_is_refused_and_told_of_the_first(run):
    """And takes over once the first has died, whatever that has left."""
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(run, ready, end))
    process.start()
    assert ready.wait(60)
    with pytest.raises(UsageError, match=rf"is being trained by process {process.pid} on .* since 20"):
        api.resume(run, meta_steps=24, quiet=True)
    (run / HOLDER).write_text("[" * 1000)
    with pytest.raises(UsageError, match="is being trained by another process"):
        api.resume(run, quiet=True)
    assert api.load(run).step == 22
    end.set()
    process.join()
    assert process.exitcode == 9
    assert (run / HOLDER).exists()
    assert api.resume(run, quiet=True).step == 22
    assert not (run / HOLDER).exists()


def test_what_ends_a_run_happens_inside_the_lock(tmp_path, monkeypatch):
    seen = []

    def evaluate(result, **_):
        with pytest.raises(UsageError, match="is being trained"), locked(result.path):
            pass
        seen.append(json.loads((result.path / HOLDER).read_bytes())["process"])
        raise ZeroDivisionError

    monkeypatch.setattr(api.Result, "evaluate", evaluate)
    for again in (lambda path: trained(path, evaluation_tasks=2), lambda path: api.resume(path, quiet=True)):
        with pytest.raises(ZeroDivisionError):
            again(tmp_path / "run")
    assert seen == [os.getpid()] * 2


def test_flags_are_those_of_the_run_that_is_locked(tmp_path, monkeypatch):
    """Another process may extend it between the reading of the flags and the lock."""
    run = trained(tmp_path / "run").path

    @contextlib.contextmanager
    def late(folder):
        monkeypatch.undo()
        api.resume(folder, meta_steps=30, quiet=True)
        with locked(folder):
            yield

    monkeypatch.setattr(api, "locked", late)
    before = RunFolder(run).description.read_bytes()
    assert cli.main(["resume", str(run), "--log-every", "2", "--quiet"]) == 2
    assert RunFolder(run).description.read_bytes() != before
    assert api.load(run).step == 30


def test_a_reader_always_finds_a_checkpoint(tmp_path, tally):
    """Also where another keeps only one, and replaces it all the time."""
    learner = Toy().build(make("bandit"))
    state = learner.init(jax.random.key(0))
    like, over = jax.eval_shape(lambda: state), threading.Event()
    checkpoint.save(tmp_path, "run", 1, state, keep=1)

    def write():
        for step in range(2, 30):
            checkpoint.save(tmp_path, "run", step, state, keep=1)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    rounds = lost = last = 0
    while not over.is_set():
        step = checkpoint.newest(tmp_path, "run", like)[0]
        lost += step < last
        rounds, last = rounds + 1, step
    writer.join()
    tally(rounds=rounds, lost=lost)


def test_several_processes_may_write_one_file(tmp_path, tally):
    path, failed = tmp_path / "evaluation.json", []

    def write(number):
        try:
            for _ in range(20):
                files.write_whole(path, str(number) * 1000)
        except OSError as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    tally(rounds=160, lost=len(failed))
    assert len(set(path.read_text())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    files.write_whole(path, "old")
    with monkeypatch.context() as patch, contextlib.suppress(OSError):
        patch.setattr(files, "sync", lambda path: (_ for _ in ()).throw(OSError("disk full")))
        files.write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
