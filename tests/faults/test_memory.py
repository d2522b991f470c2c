"""Fault 18: more than fits is refused before it is allocated, with a number that fits."""

import ast
import dataclasses
import re
import resource
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from conftest import compiled
from shell_toy import SHORT, Toy, toy  # noqa: F401

import metarl_jax
from faults.processes import ran
from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.experiment import api, group, memory, training
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.sweep import cohort

pytestmark = pytest.mark.fault(18)
KIB = 2**10
OPTIONS = {name: value for name, value in SHORT.items() if name != "quiet"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hungry(Toy):
    """A toy whose meta-step needs 4 KiB for each task and 4 bytes for each pair of units."""

    name: ClassVar[str] = "hungry"

    hidden: tuple[int, ...] = (4, 4)

    def build(self, environment, mesh=None):
        learner = super().build(environment, mesh)

        def step(state, key):
            state, info = learner.step(state, key)
            meals = jnp.sort(jax.random.normal(key, (self.tasks, KIB)), axis=0)
            units = jnp.sort(jax.random.normal(key, self.hidden), axis=0)
            return state, info | {"meal": meals[0].sum() + units[0].sum()}

        return learner._replace(step=step)


@pytest.fixture(autouse=True)
def hungry(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, Hungry.name, Hungry)
    training.run_keys(0)  # which are compiled


@pytest.fixture
def room(monkeypatch):
    """Sets how many bytes are free."""
    return lambda count: monkeypatch.setattr(memory, "available", lambda: count)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tasks": 10_000_000}, "tasks"), ({"hidden": (20_000, 20_000)}, "hidden"), ({}, "tasks")],
)
def test_more_than_fits_is_refused_with_a_number_that_fits(options, said, room, tmp_path, monkeypatch):
    room(1000 * KIB if options else 30 * KIB)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training, "loop", None)  # nothing is run
        rule = rf"{said} is .*: training needs .*GiB of memory, and .*GiB are free"
        with pytest.raises(UsageError, match=rule) as refusal:
            api.train("hungry", "bandit", meta_steps=4, out=out, **SHORT, **options)
    assert not out.exists()
    fits = re.search(r"; (\w+)=(.*) fits", str(refusal.value))
    value = ast.literal_eval(fits[2])
    assert api.train("hungry", "bandit", meta_steps=4, out=out, **SHORT, **options | {fits[1]: value}).step == 4


def test_where_no_number_fits_the_remedy_is_in_words(room, tmp_path):
    room(KIB)
    with pytest.raises(UsageError, match="choose fewer tasks, smaller networks or shorter lives"):
        api.train("hungry", "bandit", meta_steps=4, out=tmp_path / "run", **SHORT)


def test_a_run_that_fits_is_compiled_once(tmp_path):
    """Its need is known from the program that is then run."""
    config = resolve("hungry", "bandit", tasks=24, **OPTIONS)
    assert compiled(lambda: training.needed(config)) == 1
    need = training.needed(config)
    assert 24 * 4 * KIB <= need < 40 * 24 * 4 * KIB
    (_, init, chunk), mesh = training.programs_of(config)
    keys = training.run_keys(0)
    state = group.everywhere(init(keys.birth), mesh)
    assert compiled(lambda: chunk(state, keys.root, 0, 4)) == 0


def test_a_state_that_does_not_fit_is_not_even_compiled(room):
    room(10)
    assert compiled(lambda: training.needed(resolve("hungry", "bandit", tasks=32, **OPTIONS))) == 0


def test_a_program_whose_loop_does_not_fit_by_far_is_not_even_compiled(room):
    """Compilation for tens of millions of tasks takes a minute."""
    rows = jax.vmap(lambda x: jax.lax.scan(lambda carry, x: (carry, jnp.full(KIB, x)), 0, x)[1].sum())
    program, numbers = jax.jit(rows), jnp.ones((8, 16))
    given = 8 * 16 * KIB * 4
    assert given <= memory.of_loops(program.trace(numbers).jaxpr.jaxpr) < 1.01 * given
    room(given // 3)
    assert compiled(lambda: memory.of_training(program, (), (numbers,))) == 0
    assert memory.of_training(program, (), (numbers,)) >= given
    room(given)
    assert compiled(lambda: memory.of_training(program, (), (numbers,))) == 1


def test_an_evaluation_that_does_not_fit_is_refused(room, tmp_path):
    room(2**30)
    more = SHORT | {"evaluation_tasks": 10**9}
    with pytest.raises(UsageError, match=r"evaluation_tasks is 1000000000: the evaluation needs .*; .*=\d+ fits"):
        api.train("maml", "bandit", out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_an_evaluation_is_compiled_once_and_refused_if_its_program_does_not_fit(room):
    program, numbers = jax.jit(lambda x, sign: jnp.sort(x) * sign), jnp.ones(3)
    assert compiled(lambda: (memory.check_program(program, numbers, True), program(numbers, True))) == 1
    room(10)
    with pytest.raises(UsageError, match=r"an evaluation needs .*GiB of memory, .*; choose fewer tasks or adaptations"):
        memory.check_program(program, numbers, True)


def test_a_sweep_that_does_not_fit_is_refused_with_a_number_of_runs_that_fits(room, tmp_path, monkeypatch):
    room(800 * KIB)
    out, ask = tmp_path / "sweep", {"seeds": 8, "tasks": 8, "meta_steps": 4, **SHORT}
    with monkeypatch.context() as patch:
        patch.setattr(training, "loop", None)  # nothing is run
        with pytest.raises(
            UsageError, match=r"training 8 runs together needs .*GiB .* are free; together=[1-7] fits"
        ) as no:
            metarl_jax.sweep("hungry", "bandit", out=out, **ask)
    assert not out.exists()
    fits = int(re.search(r"together=(\d)", str(no.value))[1])
    assert len(metarl_jax.sweep("hungry", "bandit", out=out, together=fits, **ask).runs) == 8


def test_a_sweep_of_runs_that_do_not_fit_alone_is_refused_in_words(room, tmp_path):
    room(KIB)
    with pytest.raises(UsageError, match="choose fewer tasks, smaller networks or shorter lives"):
        metarl_jax.sweep("hungry", "bandit", out=tmp_path / "sweep", seeds=2, meta_steps=4, **SHORT)


def test_a_sweep_that_fails_while_it_is_traced_leaves_no_folder(tmp_path, monkeypatch):
    """Unless it was there before."""
    out, ask = tmp_path / "sweep", {"seeds": 2, "meta_steps": 4, **SHORT}

    def broken(*_):
        raise TypeError("scan carry")

    with monkeypatch.context() as patch:
        patch.setattr(cohort, "programs", broken)
        with pytest.raises(TypeError, match="scan carry"):
            metarl_jax.sweep("toy", "bandit", out=out, **ask)
        assert not out.exists()
        out.mkdir()
        (out / "mine").touch()
        with pytest.raises(UsageError, match="exists"):
            metarl_jax.sweep("toy", "bandit", out=out, **ask)
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_what_is_free_is_what_machine_container_and_process_allow(tmp_path, monkeypatch):
    free = memory.available()
    assert 2**20 < free < 2**50
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:  50 kB\n")
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", (tmp_path / "max", tmp_path / "not-here"))
    assert memory.available() == 50 * KIB
    (tmp_path / "max").write_text("4096\n")
    assert memory.available() == 4096


BIG = {
    "tasks": "maml navigation --tasks 10000000",
    "pulls": "rl2 bandit --env.pulls 100000000",
    "hidden": "maml navigation --hidden 200000 200000",
    "evaluation": "maml navigation --evaluation-tasks 1000000000",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BIG)
def test_commands_that_ask_for_too_much(case, tmp_path, tally):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, _, complaint = ran(["train", *BIG[case].split(), "--preset=tiny", f"--out={tmp_path / 'run'}"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    most = after.ru_maxrss * KIB
    assert code == 2
    assert after.ru_utime - before.ru_utime < 60  # seconds of a processor
    assert "Traceback" not in complaint
    assert "fits" in complaint.splitlines()[-1]
    assert most < 4 * 2**30
    assert not (tmp_path / "run").exists()
    tally(1, 0)
