"""Exported agents: what they do without the package, what is refused, and what is never executed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import outside
import pytest
import safetensors.numpy
from outside import live
from probes import Secret

import metarl_jax
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.experiment import sealed
from metarl_jax.experiment.agents import deployed
from metarl_jax.experiment.agents.deployed import CARD, START, TENSORS
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError

SHORT: dict[str, Any] = {"meta_steps": 2, "log_every": 2, "evaluation_tasks": 0, "quiet": True}
SMALL = {"tasks": 4, "envs": 4, "hidden": ()}
RUNS: dict[str, dict[str, Any]] = {  # beside those of the default suite
    "rl2 secret": {"tasks": 4, "width": 8},
    "q_learning secret": SMALL,
    "meta_gradient navigation": {"preset": "tiny", "envs": 2},
    "varibad bandit": {"preset": "tiny"},
    "learned_rule catch": {"preset": "tiny"},
    "algorithm_distillation bandit": {"preset": "tiny"},
}


@pytest.fixture(scope="module", autouse=True)
def secret() -> Any:
    ENVIRONMENTS[Secret.name] = Secret
    yield
    del ENVIRONMENTS[Secret.name]


@pytest.fixture(scope="module")
def result(secret: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("maml") / "run"
    return metarl_jax.train("maml", Secret.name, out=out, adaptations=2, **SMALL, **SHORT)


@pytest.fixture(scope="module")
def exported(result: Any) -> Path:
    return result.export(result.path.parent / "export")


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def alone(folder: Path, saved: Path, steps: int) -> None:
    """Let the exported agent live in a process that cannot import the package."""
    command = [sys.executable, outside.__file__, str(folder), str(steps), str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr


def check_same_life(result: Any, folder: Path, saved: Path) -> None:
    """The agent of the run and that of the export, without the package, choose and learn alike from the same seed."""
    agent = result.policy(seed=3)
    actions = live(agent, 60)
    alone(folder, saved, 60)
    np.testing.assert_allclose(np.load(saved.with_suffix(".npy")), actions, rtol=1e-3, atol=1e-4)
    theirs = safetensors.numpy.load(saved.read_bytes())
    ours = agent.saved()
    assert theirs.keys() == ours.keys()
    for name, x in ours.items():
        np.testing.assert_allclose(theirs[name], x, rtol=2e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(
        live(metarl_jax.load(folder, trust=True).agent(seed=3), 60), actions, rtol=1e-3, atol=1e-4
    )


def test_an_exported_agent_lives_the_same_life_without_the_package(result: Any, exported: Path, tmp_path: Path) -> None:
    check_same_life(result, exported, tmp_path / "saved")
    assert int(safetensors.numpy.load_file(tmp_path / "saved")["clock/age"]) == 2  # it has adapted, as in training


@pytest.mark.slow
@pytest.mark.parametrize("pair", RUNS)
def test_agents_of_many_algorithms_live_the_same_life_without_the_package(pair: str, tmp_path: Path) -> None:
    algorithm, environment = pair.split()
    result = metarl_jax.train(algorithm, environment, out=tmp_path / "run", **RUNS[pair], **SHORT)
    check_same_life(result, result.export(tmp_path / "export"), tmp_path / "saved")


def test_the_folder_says_what_it_is(result: Any, exported: Path) -> None:
    card = json.loads((exported / CARD).read_text())
    assert {path.name for path in exported.iterdir()} == {CARD, *card["files"]}
    assert set(card["files"]) == {TENSORS, "agent.py", "born.jax_export", "act.jax_export", "adapt.jax_export"}
    assert card["config"] == result.config.to_json()
    assert card["training"]["meta_steps"] == 2
    assert card["programs"]["act"]["inputs"]["scene"]["observation"] == {"shape": ["e", 1], "dtype": "float32"}
    assert "cpu" in card["programs"]["adapt"]["platforms"]
    assert b"metarl_jax" not in b"".join(x for x in (exported / "agent.py").read_bytes().splitlines() if b"import" in x)


def test_an_export_is_loaded_as_the_run_that_it_was(result: Any, exported: Path) -> None:
    loaded = metarl_jax.load(exported)
    assert (loaded.config, loaded.step) == (result.config, result.step)
    returns = [metarl_jax.adapt(run, {"good": 1}, adaptations=2).returns for run in (loaded, result)]
    np.testing.assert_array_equal(*returns)
    np.testing.assert_array_equal(live(loaded.policy(seed=1), 20), live(result.policy(seed=1), 20))


def test_programs_are_loaded_only_with_trust(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed.jax.export, "deserialize", None)
    with pytest.raises(UsageError, match=r"run code of whoever made them.*trust=True"):
        metarl_jax.load(exported).agent()


def test_nothing_is_overwritten(result: Any, exported: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never overwrites"):
        result.export(exported)
    agent = result.policy()
    agent.save(tmp_path / "agent")
    with pytest.raises(FileExistsError):
        agent.save(tmp_path / "agent")


def test_a_saved_agent_continues_as_if_it_had_not_been(result: Any, tmp_path: Path) -> None:
    one, other = result.policy(seed=1), result.policy(seed=2)
    live(one, 7)
    one.act(np.ones(1))
    one.save(tmp_path / "agent")
    other.restore(tmp_path / "agent")
    for agent in (one, other):
        agent.observe(1.0, terminated=True, observation=np.ones(1))
    np.testing.assert_array_equal(live(other, 20), live(one, 20))


def test_only_the_saved_life_of_such_an_agent_is_restored(result: Any, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(safetensors.numpy.save({"x": np.zeros(1)}))
    (tmp_path / "none").write_bytes(b"none")
    with pytest.raises(UsageError, match="of the saved agent is missing; it must be"):
        result.policy().restore(tmp_path / "other")
    with pytest.raises(UsageError, match="is not a saved agent"):
        result.policy().restore(tmp_path / "none")


def test_lives_of_one_seed_are_the_same_and_of_others_different(result: Any) -> None:
    agent = result.policy()
    first = live(agent, 40)
    agent.reset(0)
    np.testing.assert_array_equal(live(agent, 40), first)
    agent.reset()
    assert np.any(live(agent, 40) != first)


def test_environments_in_parallel_are_a_rollout_too(result: Any) -> None:
    agent = result.policy(envs=2)
    assert live(agent, 40).shape == (40, 2)
    assert int(agent.life.clock["age"]) == 2
    with pytest.raises(UsageError, match="envs is 3; it must be a divisor of 4"):
        result.policy(envs=3)


def test_an_adapted_agent_is_exported_as_it_is(result: Any, tmp_path: Path) -> None:
    adapted = metarl_jax.adapt(result, {"good": 1}, adaptations=2)
    agent = result.policy(adapted)
    folder = agent.export(tmp_path / "export")
    assert (folder / START).exists()
    assert not (folder / "adapt.jax_export").exists()
    there = metarl_jax.load(folder, trust=True).agent()
    there.reset(7)
    agent.reset(7)
    np.testing.assert_array_equal(live(there, 20), live(agent, 20))


def test_misuse_is_refused(result: Any) -> None:
    agent = result.policy()
    with pytest.raises(UsageError, match="call `act` first"):
        agent.observe(1.0)
    agent.act(np.ones(1))
    with pytest.raises(UsageError, match="call `observe` after each step"):
        agent.act(np.ones(1))
    with pytest.raises(UsageError, match="observation is missing"):
        agent.observe(1.0, truncated=True)
    with pytest.raises(UsageError, match=r"of shape \(2,\); it must be of shape \(1,\)"):
        agent.observe(1.0, observation=np.ones(2))


def forged(folder: Path, **changes: Any) -> None:
    """Change the card and seal it again."""
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_bytes(sealed.written({name: card[name] for name in card if name != "digest"} | changes))


def card_of(folder: Path) -> Any:
    return json.loads((folder / CARD).read_text())


def exchange(folder: Path) -> None:
    (folder / "act.jax_export").write_bytes(b"evil")


def link(folder: Path) -> None:
    (folder / "act.jax_export").rename(folder / "moved")
    os.symlink(folder / "moved", folder / "act.jax_export")


def climb(folder: Path) -> None:
    files = card_of(folder)["files"]
    forged(folder, files=files | {"../run/run.json": files[TENSORS]})


def renamed(folder: Path) -> None:
    programs = card_of(folder)["programs"]
    forged(folder, programs={"../../act": programs.pop("act"), **programs})


def larger(folder: Path) -> None:
    leaves = card_of(folder)["leaves"]
    name = next(iter(leaves[TENSORS]))
    leaves[TENSORS][name]["shape"] = [2**27]
    forged(folder, leaves=leaves)


def other_sizes(folder: Path) -> None:
    config = card_of(folder)["config"]
    config["algorithm"]["hidden"] = [64, 64]
    forged(folder, config=config)


def long_header(folder: Path) -> None:
    content = (2**62).to_bytes(8, "little") + (folder / TENSORS).read_bytes()[8:]
    (folder / TENSORS).write_bytes(content)


def endless(folder: Path) -> None:
    with (folder / "adapt.jax_export").open("r+b") as file:
        file.truncate(2**40)  # a hole, which takes no space


def module(folder: Path) -> None:
    config = card_of(folder)["config"]
    config["environment"]["name"] = "antigravity:fly"
    forged(folder, config=config)


def edited(folder: Path) -> None:
    (folder / CARD).write_text((folder / CARD).read_text().replace('"seed": 0', '"seed": 1'))


def no_options(folder: Path) -> None:
    forged(folder, config=card_of(folder)["config"] | {"run": 7})


HOSTILE = {
    exchange: "act.jax_export is not what its card describes: it has another SHA-256",
    link: "act.jax_export cannot be read",
    climb: "edited or damaged",
    renamed: "edited or damaged",
    larger: "the tensors of the card need",
    other_sizes: "does not fit the configuration on its card",
    long_header: "header",
    endless: "at most 268435456 bytes",
    module: "needs antigravity:fly, whose module would be run",
    edited: "edited or damaged",
    no_options: "edited or damaged",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_folder_is_refused_at_once(change: Any, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed.jax.export, "deserialize", None)
    change(copy)
    start = time.monotonic()
    with pytest.raises(UsageError, match=HOSTILE[change]):
        metarl_jax.load(copy, trust=change is not module)
    assert time.monotonic() - start < 5


def test_the_loader_finds_damage_by_itself(copy: Path) -> None:
    (copy / "act.jax_export").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="another SHA-256"):
        deployed.load(copy)
    forged(copy, format=99)
    with pytest.raises(ValueError, match="is 99; it must be 1"):
        deployed.load(copy)


def test_the_command_exports_a_run_and_an_export(exported: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["export", str(exported), "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "again")
    again, before = card_of(tmp_path / "again"), card_of(exported)
    assert again["training"] == before["training"]
    assert again["files"][TENSORS] == before["files"][TENSORS]
    assert main(["export", str(exported), "--out", str(tmp_path / "again")]) == 2
