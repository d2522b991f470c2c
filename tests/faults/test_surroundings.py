"""Fault 17: the machine around a run: folders that move, clocks, homes, devices, forks, many evaluations."""

import datetime
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
from shell_toy import SHORT, toy  # noqa: F401

from faults.processes import ran, surroundings
from metarl_jax.envs import make
from metarl_jax.envs.adapter import outward
from metarl_jax.experiment import api, checkpoint, devices, doctor, run_folder
from metarl_jax.experiment.errors import UsageError

pytestmark = pytest.mark.fault(17)
TOY = ("toy", "bandit")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return api.train(*TOY, meta_steps=22, out=tmp_path_factory.mktemp("whole") / "run", **SHORT)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    return api.train(*TOY, meta_steps=12, out=tmp_path_factory.mktemp("half") / "run", **SHORT).path


def assert_goes_on(path, whole):
    run = api.resume(path, meta_steps=22, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, run.meta_params, whole.meta_params)
    for name in set(whole.metrics) - {"wall_seconds"}:
        np.testing.assert_array_equal(run.metrics[name], whole.metrics[name])
    assert np.all(np.diff(run.metrics["wall_seconds"]) >= 0)


@pytest.mark.parametrize("name", ["moved", "a b", "é φ 学", "-x", "x;y&'z'$HOME", "line\nbreak", "a" * 200])
def test_a_copied_run_goes_on_wherever_it_lies(name, half, whole, tmp_path, monkeypatch):
    """By its path, and by a relative one from its own folder."""
    shutil.copytree(half, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert_goes_on(pathlib.Path(name), whole)
    monkeypatch.chdir(tmp_path / name)
    assert api.load(".").step == 22


def test_a_moved_run_goes_on(half, whole, tmp_path):
    shutil.copytree(half, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert_goes_on(tmp_path / "there", whole)


def test_a_clock_that_was_set_back_changes_nothing(half, whole, tmp_path, monkeypatch):
    """Files of the future, and a present before them."""
    shutil.copytree(half, tmp_path / "run")
    for age, path in enumerate(checkpoint.found(tmp_path / "run" / "checkpoints")):
        os.utime(path, (4e9 - age * 1e6,) * 2)
    monkeypatch.setattr(time, "time", lambda: 1.0)

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 2, tzinfo=tz)

    monkeypatch.setattr(run_folder.datetime, "datetime", Past)
    assert_goes_on(tmp_path / "run", whole)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", home)
    assert devices.cache_folder() is None
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        devices.prepare()
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    monkeypatch.setattr(doctor.jax, "config", type("None", (), {"values": {"jax_compilation_cache_dir": None}}))
    assert "set XDG_CACHE_HOME" in doctor._cache().problem


def test_a_platform_that_is_not_here_is_one_sentence(monkeypatch, tmp_path):
    def none():
        raise AssertionError

    monkeypatch.setattr(devices.jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UsageError, match="JAX_PLATFORMS=cuda names none of this machine; unset it, or set it to cpu"):
        api.train(*TOY, out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_a_forked_environment_names_spawn(monkeypatch):
    environment = make("navigation")
    task = environment.draw_task(jax.random.key(0), "test")
    env = outward.to_gymnasium(environment, task)
    monkeypatch.setattr(outward.os, "getpid", lambda: -1)
    for forked in (lambda: outward.to_gymnasium(environment, task), env.reset):
        with pytest.raises(RuntimeError, match=r'forked from one that uses JAX.*context="spawn"'):
            forked()


VECTOR = """
import sys
import gymnasium, jax
from metarl_jax.envs import make, to_gymnasium

def one():
    environment = make("navigation")
    return to_gymnasium(environment, environment.draw_task(jax.random.key(0), "test"))

if __name__ == "__main__":
    vector = gymnasium.vector.AsyncVectorEnv([one] * 2, context=sys.argv[1])
    print(vector.reset(seed=0)[0].shape)
    vector.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_a_vector_of_environments_works_or_says_how_it_would(context, tmp_path, tally):
    (tmp_path / "vector.py").write_text(VECTOR)
    command = [sys.executable, str(tmp_path / "vector.py"), context]
    environment = surroundings(PYTHONPATH=str(pathlib.Path.cwd()))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode == 0) == (context == "spawn")
    assert ("(2, 2)" in done.stdout) == (context == "spawn")
    assert ('context="spawn"' in done.stderr) == (context == "fork")
    tally(1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
def test_a_process_whose_home_cannot_be_written_trains_and_evaluates(home, tmp_path, tally):
    environment = surroundings(HOME=home, XDG_CACHE_HOME=None, XDG_CONFIG_HOME=None)
    small = "--preset=tiny --meta-steps=2 --evaluation-tasks=4 --hidden=4 --tasks=4 --out=run --quiet"
    for words in (["train", "maml", "bandit", *small.split()], ["resume", "run", "--quiet"], ["doctor"]):
        code, out, complaint = ran(words, environment, cwd=tmp_path)
        assert "Traceback" not in complaint + out
        assert code == 0 or words == ["doctor"]
    tally(3, 0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_goes_on_with_another_number_of_devices(count, half, whole, tmp_path, tally):
    """With the numbers of before as far as it had come, and with a warning."""
    shutil.copytree(half, tmp_path / "run")
    environment = surroundings() | {"JAX_NUM_CPU_DEVICES": str(count)}
    code, _, complaint = ran(["resume", str(tmp_path / "run"), "--meta-steps=22", "--quiet"], environment)
    run = api.load(tmp_path / "run")
    assert (code, run.step) == (0, 22)
    assert "was started with other device" in complaint
    np.testing.assert_array_equal(run.metrics["return"][:3], whole.metrics["return"][:3])
    np.testing.assert_allclose(run.metrics["return"], whole.metrics["return"], rtol=1e-4)
    tally(1, 0)


MANY = """
import os, sys
from metarl_jax.experiment import api

def taken():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))

for turn in range(30):
    api.load(sys.argv[1]).evaluate(tasks=8, seed=turn, quiet=True)
    if turn in (4, 29):
        print(*taken())
"""


@pytest.mark.slow
def test_thirty_evaluations_in_one_process_take_no_more_than_five(tmp_path, tally):
    options = {"preset": "tiny", "meta_steps": 2, "tasks": 4, "hidden": (4,), "evaluation_tasks": 0, "quiet": True}
    run = api.train("maml", "bandit", out=tmp_path / "run", **options)
    command = [sys.executable, "-c", textwrap.dedent(MANY), str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings())
    assert done.returncode == 0, done.stderr
    (few, files), (many, later) = (map(float, line.split()) for line in done.stdout.splitlines())
    print(few, many, files, later)
    assert later <= files
    assert many <= few + 20  # MiB
    tally(30, 0)
