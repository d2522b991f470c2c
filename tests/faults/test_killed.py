"""Runs that are killed, at any time and also inside a save, end as if they had not been."""

import functools
import random
import shutil
import time

import jax
import pytest
from shell_toy import toy  # noqa: F401

from faults import victims
from faults.stored import OPTIONS, copied, newest, same, steps, trained
from metarl_jax.experiment import api, checkpoint, files

pytestmark = pytest.mark.fault(1)

SAVES = OPTIONS | {"checkpoint_every": 4, "keep": 2}  # saves take most of the time
SETTINGS = (
    "jax_num_cpu_devices",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_disable_most_optimizations",
)
LONG = SAVES | {"meta_steps": 402}


@functools.cache
def context():
    return victims.context()


def advanced(path, options, kill_at=None, seconds=None):
    """Whether a process that trains a run came to its end: it may kill itself, or be killed so long after a save."""
    settings = {name: jax.config.values[name] for name in SETTINGS}
    process = context().Process(target=victims.advance, args=(path, options, kill_at, settings))
    process.start()
    if seconds is not None:
        before = saved(path)
        while process.is_alive() and saved(path) == before:
            time.sleep(0.01)
        process.join(seconds)
        process.kill()
    process.join()
    assert process.exitcode in (0, -9)
    if not (path / "run.json").exists():  # killed before the run had a name
        shutil.rmtree(path, ignore_errors=True)
    return process.exitcode == 0


def saved(path):
    """Which checkpoints a run has."""
    return steps(path) if path.exists() else []


def is_whole(path):
    """Whether what a killed process left can be loaded, from a complete step."""
    return saved(path) == [] or api.load(path).step == saved(path)[-1]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("unbroken") / "run", **SAVES).path


def lost(path, options, unbroken, kills=()):
    """Whether a run that was killed so often is not the unbroken one, or was ever without a complete step."""
    broken = [not is_whole(path) for kill in kills if not advanced(path, options, **kill)]
    assert advanced(path, options)
    leftovers = [name for folder in (path, path / "checkpoints") for name in folder.iterdir() if ".draft" in name.name]
    return any(broken) or not same(path, unbroken) or leftovers != [] or len(steps(path)) > options["keep"]


def test_a_run_that_was_killed_inside_saves_is_the_unbroken_one(unbroken, tmp_path, tally):
    rng = random.Random(0)
    kills = [{"kill_at": rng.randrange(20, most)} for most in (60, 200)]
    tally(rounds=1, lost=int(lost(tmp_path / "run", SAVES, unbroken, kills)))


def test_what_was_left_by_the_last_save_is_cleared_although_no_other_follows(unbroken, tmp_path, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(checkpoint, "delete_old", lambda *_: None)
        run = trained(tmp_path / "run", **SAVES).path
    assert len(steps(run)) > SAVES["keep"]
    left = [copied(newest(run), files.draft_of(newest(run))), files.draft_of(run / "run.json")]
    left[1].touch()
    assert api.resume(run, quiet=True).step == OPTIONS["meta_steps"]
    assert not any(path.exists() for path in left)
    assert steps(run) == steps(unbroken)


@pytest.mark.slow
def test_a_run_may_be_killed_at_any_operation_on_its_files(unbroken, tmp_path, tally):
    """Every fifth of them: all parts of a save, of which there are six."""
    number, rounds, losses, ended = 1, 0, 0, False
    while not ended:
        path = tmp_path / str(number)
        ended = advanced(path, SAVES, kill_at=number)
        losses += lost(path, SAVES, unbroken)
        rounds, number = rounds + 1, number + 5
    tally(rounds=rounds, lost=losses)


@pytest.mark.slow
def test_a_run_may_be_killed_at_any_time(tmp_path, tally):
    unbroken = trained(tmp_path / "unbroken", **LONG).path
    losses = 0
    for number in range(20):
        rng, path = random.Random(number), tmp_path / str(number)
        losses += lost(path, LONG, unbroken, [{"seconds": rng.uniform(0, 1)} for _ in range(3)])
    tally(rounds=20, lost=losses)
