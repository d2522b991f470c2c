"""Fault 2: SIGTERM and SIGINT, twice, at random times, also during compilation."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from shell_toy import SHORT, toy  # noqa: F401

from faults.processes import await_file, started, training
from metarl_jax.experiment import api, cli, interruption
from metarl_jax.experiment.errors import UsageError

pytestmark = pytest.mark.fault(2)
TOY = ("toy", "bandit")
BUSY = """import hashlib, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
from metarl_jax.experiment.interruption import listening
with listening() as interruption:
    print("listening", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {turns})  # as deaf to handlers as a compilation
    print(interruption.signal_number, flush=True)"""


def assert_equals_an_unbroken_run(run, out):
    """A run that was stopped has the parameters of one that was planned to end there."""
    stopped = api.load(run)
    whole = api.train(*TOY, meta_steps=stopped.step, out=out, **SHORT)
    jax.tree.map(np.testing.assert_array_equal, stopped.meta_params, whole.meta_params)
    for name in set(whole.metrics) - {"wall_seconds"}:
        np.testing.assert_array_equal(stopped.metrics[name], whole.metrics[name])


def test_a_signal_saves_what_an_unbroken_run_has(tmp_path):
    """The command line as a user has it: SIGINT, exit 130, and a run that can be resumed."""
    run = tmp_path / "run"
    with started(training(run)) as process:
        await_file(run / "metrics.jsonl", process)
        process.send_signal(signal.SIGINT)
        complaint = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"metarl resume {run}" in complaint
    assert_equals_an_unbroken_run(run, tmp_path / "other")


@contextlib.contextmanager
def busy(turns):
    """A process that listens and is busy."""
    words = [sys.executable, "-c", BUSY.format(turns=turns)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.kill()
    process.stdout.close()


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_second_signal_ends_the_process_at_once_whatever_it_does(number):
    with busy(2 * 10**9) as process:
        process.send_signal(number)
        time.sleep(2 * interruption.SAME)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=10) == 128 + number


def test_a_signal_that_arrives_twice_at_once_is_one_request():
    """As `timeout` and some schedulers send it."""
    with busy(1_000_000) as process:
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        assert process.stdout.read() == f"{int(signal.SIGTERM)}\n"
        assert process.wait(timeout=10) == 0


def test_an_interrupt_that_a_library_takes_for_its_own_failure_is_one_still(monkeypatch):
    def importing(words):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("Encountered an error while initializing the extension.") from interrupt

    monkeypatch.setattr(cli, "_dispatch", importing)
    assert cli.main([]) == 130


def test_handlers_are_restored(tmp_path):
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_run_without_a_terminal_ignores_that_it_hangs_up(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    try:
        with interruption.listening() as heard:
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard.signal_number is None


def test_in_an_interactive_session_a_second_signal_has_its_usual_effect(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it runs apart
    try:
        with interruption.listening() as heard:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.signal_number == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def survives(run: pathlib.Path, code: int, number: int, other: pathlib.Path) -> bool:
    """Whether a stopped process left nothing, or a run that goes on from a complete step."""
    if code not in (128 + number, -number):
        return False
    try:
        resumed = api.resume(run, meta_steps=10**9, quiet=True, on_log=stop)
    except Stop:
        assert_equals_an_unbroken_run(run, other)
        return True
    except UsageError:  # before there was a run
        return not run.exists()
    return bool(resumed)


class Stop(Exception):
    pass


def stop(line):
    raise Stop


@pytest.mark.slow
def test_signals_at_random_times_lose_nothing(tmp_path, tally):
    chance, lost, rounds = random.Random(0), 0, 20
    for index in range(rounds):
        number, run = chance.choice(interruption.SIGNALS), tmp_path / f"run-{index}"
        with started(training(run), stdout=subprocess.DEVNULL) as process:
            if milestone := (None, "run.json", "metrics.jsonl")[index % 3]:
                await_file(run / milestone, process)
            time.sleep(chance.uniform(0, 2))
            process.send_signal(number)
            if index % 2:  # twice
                time.sleep(chance.choice((0.005, 0.05, 0.4)))
                process.send_signal(number)
            complaint = process.communicate(timeout=100)[1]
        whole = survives(run, process.returncode, number, tmp_path / f"other-{index}")
        early = complaint.rstrip().endswith("KeyboardInterrupt")  # while Python itself was starting
        lost += not whole or "RuntimeWarning" in complaint or ("Traceback" in complaint and not early)
        print(index, number, process.returncode, whole, complaint.splitlines()[-1:])
    tally(rounds, lost)
