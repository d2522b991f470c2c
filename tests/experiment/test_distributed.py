"""Several processes that train one run: what they compute together, where they stop, and who goes on with it."""

import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import pytest
from conftest import HURRY
from faults.processes import await_file, ended, free_port, group, ran, surroundings, training
from faults.stored import assert_close, steps
from shell_toy import SHORT, toy  # noqa: F401

from metarl_jax.experiment import api, devices, run_folder
from metarl_jax.experiment import group as groups
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.group import Group
from metarl_jax.experiment.run_folder import RunFolder

REAL = ["--preset=tiny", "--meta-steps=3", "--log-every=1", "--evaluation-tasks=4", "--no-from-scratch", "--tasks=16"]
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "scale.md"
PAIRS = {"maml": "navigation", "rl2": "bandit", "meta_gradient": "catch"}  # the lives of the last go on


def test_processes_train_as_one_does_and_a_signal_to_one_saves_the_run_of_all(tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    with group(training(run, name="divided")) as processes:
        await_file(run / "metrics.jsonl", processes[0])
        processes[1].send_signal(signal.SIGTERM)
        (code, _, complaint), (other, _, _) = ended(processes)
    assert (code, other) == (143, 143), complaint
    assert f"metarl resume {run}" in complaint
    step = steps(run)[-1]
    api.train("divided", "bandit", meta_steps=step, out=whole, **SHORT)
    assert_close(run, whole)
    assert run_folder.described(RunFolder(run))["device"].endswith("in 2 processes")
    assert not (run / "holder.json").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distributed": "nowhere"}, "distributed is nowhere; it must be auto, or HOST:PORT"),
        ({"distributed": "here:1", "processes": 2}, "named with processes and process"),
        ({"distributed": "here:1", "processes": 2, "process": 2}, "process is 2; it must be from 0 to 1"),
        ({"distributed": "here:1", "processes": 0, "process": 0}, "processes is 0; it must be at least 1"),
        ({"distributed": "auto", "process": 0}, "process is 0; it must be left out"),
        ({"processes": 2}, "processes is 2; it must be left out"),
        ({"distributed": "auto", "heartbeat": 0}, "heartbeat is 0; it must be at least 1 second"),
    ],
)
def test_a_group_that_contradicts_itself_is_refused(given, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        api.train("toy", "bandit", out=tmp_path / "run", **SHORT, **given)
    with pytest.raises(UsageError, match=said):
        api.resume(tmp_path, **given)


def test_a_machine_of_no_cluster_says_what_to_name(monkeypatch):
    def nothing(address, *rest, **how):
        assert address is None
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nothing)
    with pytest.raises(UsageError, match=r"distributed is auto, and .*name HOST:PORT, processes and process"):
        groups.join(Group("auto"))


def test_processes_refuse_tasks_that_they_cannot_share(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match=r"10 tasks do not divide by 4 devices of 2 processes.* such as 8"):
        devices.task_mesh(10)
    with pytest.raises(UsageError, match=r"6 tasks in 2 minibatches .*a multiple of 8 tasks, such as 8"):
        devices.task_mesh(6, 2)
    assert devices.task_mesh(8).size == 4


def test_several_seeds_are_not_for_several_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(groups, "count", lambda: 2)
    with pytest.raises(UsageError, match="the number of processes is 2; it must be 1 for several runs"):
        api.train("toy", "bandit", seeds=2, out=tmp_path / "runs", **SHORT)


@pytest.fixture
def hurry(monkeypatch):
    """Compile quickly here too, where a group compiles a program in each of its processes."""
    monkeypatch.setenv("XLA_FLAGS", HURRY)


@pytest.mark.slow
@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("name", PAIRS)
def test_two_processes_of_two_devices_train_as_one_of_four(name, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = ["train", name, PAIRS[name], *REAL]
    with group([*words, f"--out={run}"], heartbeat=60) as processes:
        (code, out, complaint), (other, silent, _) = ended(processes, 400)
    assert (code, other) == (0, 0), complaint
    assert out.splitlines()[-1] == str(run)
    assert not [line for line in silent.splitlines() if line and not line.startswith("[Gloo]")]
    assert ran([*words, f"--out={whole}", "--quiet"])[0] == 0
    assert_close(run, whole)
    assert [row.row for row in api.load(run).evaluated().rows] == [row.row for row in api.load(whole).evaluated().rows]


@pytest.mark.slow
def test_a_run_of_eight_devices_goes_on_with_one_device_and_with_two_processes(tmp_path):
    eight = surroundings() | {"JAX_NUM_CPU_DEVICES": "8", "NPROC": "10"}
    assert ran(training(tmp_path / "eight", 8, "--quiet", name="divided"), eight)[0] == 0
    ends = {name: shutil.copytree(tmp_path / "eight", tmp_path / name) for name in ("one", "two", "same")}
    more = ["--meta-steps=16", "--quiet"]
    assert ran(["resume", str(ends["one"]), *more], surroundings() | {"JAX_NUM_CPU_DEVICES": "1"})[0] == 0
    assert ran(["resume", str(ends["same"]), *more], eight)[0] == 0
    with group(["resume", str(ends["two"]), *more]) as processes:
        found = ended(processes)
    assert [code for code, *_ in found] == [0, 0], found[0][2]
    for name in ("one", "two"):
        assert_close(ends[name], ends["same"])
    assert steps(ends["two"])[-1] == 16


@pytest.mark.slow
def test_what_fails_in_process_0_fails_in_all(tmp_path):
    (tmp_path / "run").mkdir()
    with group(training(tmp_path / "run", 4)) as processes:
        (code, _, said), (other, _, heard) = ended(processes)
    assert (code, other) == (2, 2)
    assert "a run folder is never overwritten" in said
    assert "process 0: " in heard
    assert "a run folder is never overwritten" in heard


def test_only_process_0_warns(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *rest, **how: None)
    monkeypatch.setattr(groups, "leads", lambda: False)
    logger = logging.getLogger("metarl_jax")
    before = logger.level
    try:
        groups.join(Group("here:1", 2, 1))
        assert not logger.isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(before)
        jax.config.update("jax_enable_preemption_service", True)


@pytest.mark.slow
@pytest.mark.usefixtures("hurry")
def test_the_loopback_example_of_the_page_runs(tmp_path):
    block = next(
        block for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL) if "localhost" in block
    )
    (tmp_path / "metarl").write_text(f'#!/bin/sh\nexec {sys.executable} -m metarl_jax "$@"\n')
    (tmp_path / "metarl").chmod(0o755)
    environment = surroundings(PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(PAGE.parents[1]))
    command = ["timeout", "300", "bash", "-ec", block.replace("4567", str(free_port()))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path / "runs" / "pair")[-1] == 30
