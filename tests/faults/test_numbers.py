"""Fault 17: settings of JAX that change its numbers: 64 bits, other keys, strict promotion, its debug checks.

All algorithms and environments run in processes of their own, as `lane.py` says.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import outside
import pytest
import safetensors.numpy
from laws.test_laws import VARIANTS
from outside import live
from shell_toy import SHORT, toy  # noqa: F401

import metarl_jax
from faults import lane
from metarl_jax.algorithms import make
from metarl_jax.core.keys import IMPLEMENTATION, key_of
from metarl_jax.core.meta import MetaLearner
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import api, run_folder
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.run_folder import RunFolder

pytestmark = pytest.mark.fault(17)

PACKAGE = pathlib.Path(metarl_jax.__file__).parent
TOY = ("toy", "navigation")
X64 = {"JAX_ENABLE_X64": "1"}
STRICT = {**X64, "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
# Not JAX_DEBUG_KEY_REUSE, which does not know what vmap makes of keys: see tests/laws/test_keys.py.
DEBUG = {**X64, "JAX_DEBUG_NANS": "1"}
LANES = {"strict": STRICT, "debug": DEBUG, "other-keys": {"JAX_DEFAULT_PRNG_IMPL": "rbg"}}
SMALL = [pytest.param("maml", marks=pytest.mark.slow), "rl2"]


def small(name: str) -> MetaLearner:
    environment = make_environment("tabular", states=3, actions=2, steps=3, episodes=2)
    return make(name, **VARIANTS[name][1], tasks=4, envs=2).build(environment)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_in_64_bits_keeps_its_types_without_implicit_promotion(name: str, monkeypatch: Any) -> None:
    lane.exempt(monkeypatch.setattr)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        learner = small(name)
        state = jax.eval_shape(learner.init, key_of(0))
        after = jax.eval_shape(learner.step, state, key_of(1))[0]
    floats = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {jnp.dtype("float64")}
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), after)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["algorithms", "environments"])
@pytest.mark.parametrize("settings", LANES)
def test_everything_runs(settings: str, what: str, tally: Callable[..., None]) -> None:
    lines = [json.loads(line) for line in ran([lane.__file__, what], LANES[settings]).stdout.splitlines()]
    faults = {line["name"]: line["fault"] for line in lines if line["fault"]}
    print(json.dumps(faults, indent=1))
    tally(rounds=len(lines), lost=len(faults))
    assert len(lines) >= len(VARIANTS)


def ran(command: list[str], settings: dict[str, str]) -> Any:
    path = {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, *command], env=os.environ | path | settings, capture_output=True, text=True, check=False
    )


def test_keys_are_of_one_kind_whatever_the_default() -> None:
    """Under vmap, rbg would draw the same rejected tasks for ever."""
    environment = make_environment("navigation")

    def goals() -> np.ndarray:
        keys = jax.random.split(key_of(0), 64)
        return np.asarray(jax.jit(jax.vmap(lambda key: environment.sample_task(key, "test")))(keys).goal)

    usual = goals()
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(goals(), usual)


@pytest.mark.parametrize("kind", ["rbg", "raw"])
def test_a_key_of_another_kind_is_refused(kind: str) -> None:
    key = jax.random.PRNGKey(0) if kind == "raw" else jax.random.key(0, impl=kind)
    learner = small("maml")
    calls: list[Callable[[], Any]] = [
        lambda: make_environment("navigation").sample_task(key, "train"),
        lambda: learner.init(key),
        lambda: learner.step(jax.eval_shape(learner.init, key_of(0)), key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f'it must be a typed key of {IMPLEMENTATION}: make it with .*impl="'):
            call()


def test_the_package_makes_keys_in_one_place() -> None:
    makes = re.compile(r"random\.(key|PRNGKey)\((?!.*impl=)")
    found = [path.name for path in PACKAGE.rglob("*.py") if makes.search(path.read_text())]
    assert found == []


SETTINGS = {
    "JAX_ENABLE_X64": lambda: jax.enable_x64(True),
    "JAX_THREEFRY_PARTITIONABLE": lambda: jax.threefry_partitionable(not jax.config.jax_threefry_partitionable),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_goes_on_only_with_the_settings_that_it_began_with(name: str, tmp_path: pathlib.Path) -> None:
    with SETTINGS[name]():
        run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
        was = int(run_folder.described(RunFolder(run.path))["numbers"][name])
    before = files(run.path)
    for go_on in (lambda: api.resume(run.path, meta_steps=8), lambda: api.load(run.path)):
        with pytest.raises(UsageError, match=rf"was trained with {name}={was}, .*; set {name}={was} before JAX"):
            go_on()
    assert files(run.path) == before
    with SETTINGS[name]():
        longer = api.resume(run.path, meta_steps=8)
        whole = api.train(*TOY, meta_steps=8, out=tmp_path / "whole", **SHORT)
    jax.tree.map(np.testing.assert_array_equal, longer.meta_params, whole.meta_params)


def files(path: pathlib.Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_another_version_is_named(tmp_path: pathlib.Path, monkeypatch: Any, caplog: Any) -> None:
    run = api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    versions = run_folder.devices.versions()
    monkeypatch.setattr(run_folder.devices, "versions", lambda: versions | {"jax": "9.9.9"})
    api.resume(run.path, meta_steps=8)
    assert f"other versions (jax {versions['jax']}, now 9.9.9): the rest will not be the same" in caplog.text


@pytest.mark.slow
def test_a_run_in_64_bits_from_the_command_line(tmp_path: pathlib.Path) -> None:
    """Trained, resumed, evaluated, exported, acted with; and neither another default key nor 32 bits go unnoticed."""
    run, metarl = tmp_path / "run", ["-m", "metarl_jax"]
    small = ["--preset", "tiny", "--tasks", "4", "--evaluation-tasks", "4", "--quiet"]
    wide = {**X64, "JAX_DEFAULT_PRNG_IMPL": "rbg"}
    for command in (
        ["train", "maml", "navigation", *small, "--meta-steps", "2", "--out", str(run)],
        ["resume", str(run), "--meta-steps", "4", "--quiet"],
        ["evaluate", str(run), "--tasks", "4"],
        ["export", str(run), "--out", str(tmp_path / "exported")],
    ):
        done = ran([*metarl, *command], wide)
        assert done.returncode == 0, done.stderr[-2000:]
    before = files(run)
    for settings in ({}, {**wide, "JAX_THREEFRY_PARTITIONABLE": "0"}):
        done = ran([*metarl, "resume", str(run), "--meta-steps", "6", "--quiet"], settings)
        assert done.returncode == 2
        assert "which gives other numbers" in done.stderr
        assert "Traceback" not in done.stderr
    assert files(run) == before


AGENTS = ["maml bandit", "maml navigation", "rl2 bandit", "q_learning bandit", "meta_gradient navigation"]


@pytest.mark.slow
@pytest.mark.parametrize("pair", AGENTS)
def test_an_agent_in_64_bits_acts_and_is_exported(pair: str, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    """It lives the same life without the package, and says what is missing in a process of 32 bits."""
    name, environment = pair.split()
    options = {"preset": "tiny", "tasks": 4, "envs": 2, "meta_steps": 2, "evaluation_tasks": 0, "quiet": True}
    with jax.enable_x64(True):
        run = metarl_jax.train(name, environment, out=tmp_path / "run", **options)
        agent, folder = run.policy(seed=3), run.export(tmp_path / "export")
        actions = live(agent, 30)
        ours = agent.saved()
    wide = {str(x.dtype) for x in ours.values()} - {"bool", "int32", "uint32"}
    assert wide == {"float64"}
    command = [outside.__file__, str(folder), "30", str(tmp_path / "alone")]
    narrow = ran(command, {})
    assert narrow.returncode == 1
    assert "set JAX_ENABLE_X64=1 before JAX is imported" in narrow.stderr
    done = ran(command, X64)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "alone.npy"), actions, rtol=1e-9, atol=1e-12)
    theirs = safetensors.numpy.load((tmp_path / "alone").read_bytes())
    for part, x in ours.items():
        np.testing.assert_allclose(theirs[part], x, rtol=1e-9, atol=1e-12, err_msg=part)


def test_a_run_that_fails_before_it_has_learned_leaves_no_folder(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    def broken(*arguments: Any) -> None:
        raise TypeError("scan carry")

    with monkeypatch.context() as context:
        context.setattr(api.training, "programs", broken)
        with pytest.raises(TypeError, match="scan carry"):
            api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()
    api.train(*TOY, meta_steps=4, out=tmp_path / "run", **SHORT)
