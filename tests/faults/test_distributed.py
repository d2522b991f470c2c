"""Fault 14: a process of a distributed run dies. The others end within the heartbeat, and the run goes on later."""

import signal
import time

import pytest
from shell_toy import SHORT, toy  # noqa: F401

from faults.processes import ended, group, training
from faults.stored import assert_close, steps
from metarl_jax.experiment import api

pytestmark = pytest.mark.fault(14)
HEARTBEAT = 5


class Stop(Exception):
    pass


def stop(line):
    raise Stop


def await_save(run, process, after=0):
    while process.poll() is None and not (run.exists() and max(steps(run), default=0) > after):
        time.sleep(0.02)
    assert process.poll() is None


def killed(run, victim):
    """Kill one process of a run that has been saved; the exit code of the other, and the seconds until it ended."""
    with group(training(run, name="divided"), heartbeat=HEARTBEAT) as processes:
        await_save(run, processes[0])
        processes[victim].kill()
        start = time.monotonic()
        return ended([processes[1 - victim]])[0][0], time.monotonic() - start


def assert_equals_an_unbroken_run(run, whole):
    api.train("divided", "bandit", meta_steps=steps(run)[-1], out=whole, **SHORT)
    assert_close(run, whole)


def test_a_killed_process_ends_the_other_and_one_process_goes_on(tmp_path, tally):
    code, seconds = killed(tmp_path / "run", victim=1)
    assert code != 0
    assert seconds < 3 * HEARTBEAT
    with pytest.raises(Stop):
        api.resume(tmp_path / "run", quiet=True, on_log=stop)
    assert_equals_an_unbroken_run(tmp_path / "run", tmp_path / "whole")
    tally(rounds=1, lost=0)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_run_whose_process_was_killed_goes_on_when_all_are_started_again(victim, tmp_path, tally):
    run = tmp_path / "run"
    code, seconds = killed(run, victim)
    assert code != 0
    assert seconds < 3 * HEARTBEAT
    with group(["resume", str(run), "--quiet"], heartbeat=HEARTBEAT) as processes:
        await_save(run, processes[0], after=steps(run)[-1])
        processes[victim].send_signal(signal.SIGTERM)
        codes = [code for code, *_ in ended(processes)]
    assert codes == [143, 143]
    assert_equals_an_unbroken_run(run, tmp_path / "whole")
    tally(rounds=1, lost=0)
