"""Peers in JAX: gymnax's older interface, which peers are found, one update of a training, and the floor of PPO."""

import importlib.util
import pathlib
import sys
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import pytest

from metarl_jax.algorithms import PolicyGradient
from metarl_jax.envs import make

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
jax_peer = importlib.import_module("jax_peer")
purejaxrl_ppo = importlib.import_module("purejaxrl_ppo")
speed = importlib.import_module("speed")
xland_rl2 = importlib.import_module("xland_rl2")
spec = importlib.util.spec_from_file_location("benchmarks_peers", BENCHMARKS / "peers.py")  # `peers` is this package
assert spec is not None
assert spec.loader is not None
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)


class World:
    """An environment with gymnax's interface of today; the state counts."""

    limit = 3

    def step(self, key: Any, state: int, action: int, params: Any = None) -> tuple[Any, ...]:
        return "seen", state + 1, 1.0, action == 1, state + 1 == self.limit, {"discount": 1.0}


@pytest.mark.parametrize(("state", "action", "over"), [(0, 0, False), (0, 1, True), (2, 0, True), (2, 1, True)])
def test_the_older_interface_joins_both_ends(state: int, action: int, over: bool) -> None:
    world = jax_peer.older(World())
    assert world.step(None, state, action) == ("seen", state + 1, 1.0, over, {})
    assert world.limit == World.limit
    assert len(World().step(None, 0, 0)) == 6


@pytest.mark.parametrize("folder", [None, "", "elsewhere"])
def test_a_missing_checkout_is_said(
    folder: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    monkeypatch.delenv("GROOVE", raising=False)
    if folder is not None:
        monkeypatch.setenv("GROOVE", folder and str(tmp_path / folder))
    monkeypatch.setattr(sys, "argv", ["peers.py", "rule-grid"])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    assert "environment variable GROOVE" in capsys.readouterr().err


def test_one_peer_of_two_is_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lines(*arguments: Any) -> list[Any]:
        measured.append(arguments)
        return []

    measured: list[Any] = []
    monkeypatch.setattr(peers, "found", lambda library: library == "purejaxrl")
    monkeypatch.setattr(peers, "forms_of", lambda peer: ("usual",))
    monkeypatch.setattr(peers, "lines", lines)
    monkeypatch.setattr(sys, "argv", ["peers.py", "ppo-cartpole", "rule-grid", "--tasks", "3"])
    peers.main()
    assert measured == [("ppo-cartpole", [peers.Peer("purejaxrl", "purejaxrl_ppo")], 3, ())]
    said = capsys.readouterr().err
    assert "left out: groove" in said
    assert "left out: rejax" in said
    assert "purejaxrl" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rule-grid", "--libraries", "torch"], "rule-grid has no peer in torch"),
        (["rule-grid", "--forms", "mine"], "unknown form 'mine'; choose of usual"),
        (["rl2-lake"], "unknown workload 'rl2-lake'"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "found", lambda library: True)
    monkeypatch.setattr(peers, "forms_of", lambda peer: ("usual",))
    monkeypatch.setattr(sys, "argv", ["peers.py", *words])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_checkout_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "train.py").touch()
    monkeypatch.setenv("GROOVE", str(tmp_path))
    assert peers.found("groove")
    assert peers.version("groove") == "unknown"


def test_a_checkout_needs_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "purejaxrl").mkdir()
    (tmp_path / "purejaxrl" / "ppo.py").touch()
    monkeypatch.setenv("PUREJAXRL", str(tmp_path))
    for there in (None, "distrax"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, there=there: there)
        assert peers.found("purejaxrl") == (there is not None)


def test_every_peer_has_a_workload_and_a_remedy() -> None:
    assert set(peers.WORKLOADS) <= set(speed.WORKLOADS)
    assert all(workload.tasks == speed.WORKLOADS[name].tasks for name, workload in peers.WORKLOADS.items())
    assert {peer.library for workload in peers.WORKLOADS.values() for peer in workload.peers} == set(peers.LIBRARIES)


def test_one_update_of_a_training_is_that_of_the_whole() -> None:
    """The training counts its updates, and its log begins with a whole number that becomes a fraction."""

    def update(state: Any, _: Any) -> Any:
        weights, log = state
        return (weights + jax.random.normal(jax.random.key(3)), log + 0.5), weights

    def train(key: Any, updates: int = 3) -> dict[str, Any]:
        state, metrics = jax.lax.scan(update, (jax.random.normal(key), jnp.asarray(0)), None, updates)
        return {"runner_state": state, "metrics": metrics}

    key = jax.random.key(0)
    caught = jax_peer.scanned(train, key)
    assert caught["metrics"] is update
    step = jax.jit(lambda state, key: caught["metrics"](state, None))
    state = jax_peer.as_it_goes_on(step, caught["runner_state"])
    for _ in range(3):
        state, _ = step(state, None)
    assert state[1] == 1.5
    assert state[0] == pytest.approx(train(key)["runner_state"][0])


def test_xland_walks_in_our_maze() -> None:
    """In a maze of 2 x 2 without walls, two moves reach the exit; then the same trial goes on from the start."""
    right, down = 1, 2

    @jax.jit
    def walk(key: Any) -> Any:
        params = xland_rl2.Params(maze.sample_task(key, "train"))
        begun = world.reset(params, key)
        inside = world.step(params, begun, right)
        return begun, inside, world.step(params, inside, down)

    maze = make("maze", size=2, openings=1.0)
    world = xland_rl2.Maze(maze)
    steps = begun, inside, over = walk(jax.random.key(1))
    assert [bool(step.last()) for step in steps] == [True, False, True]
    assert [float(step.reward) for step in steps] == pytest.approx([0.0, -0.01, 1.0])
    assert jnp.array_equal(over.observation["img"], begun.observation["img"])
    assert not jnp.array_equal(inside.observation["img"], begun.observation["img"])


def test_a_purejaxrl_checkout_trains_with_our_options(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "purejaxrl").mkdir()
    (tmp_path / "purejaxrl" / "ppo.py").write_text(PPO)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("brax", "brax.envs.wrappers.training", "navix", "ppo"):
        monkeypatch.setitem(sys.modules, name, None)
    del sys.modules["ppo"]
    options = PolicyGradient(envs=3, steps=5, inner_lr=0.25)
    step, state = purejaxrl_ppo.meta_step(purejaxrl_ppo.training(options, str(tmp_path)), agents=2)
    (seen, rates), results = step(state, None)
    assert seen.shape == (2, 3, 4)
    assert rates.tolist() == [0.25, 0.25]
    assert results.tolist() == [5, 5]


PPO = """
import gymnax
import jax
from brax import envs
from brax.envs.wrappers.training import AutoResetWrapper, EpisodeWrapper
import navix as nx


def make_train(config):
    environment, params = gymnax.make(config["ENV_NAME"])
    count = config["TOTAL_TIMESTEPS"] // config["NUM_STEPS"] // config["NUM_ENVS"]

    def train(key):
        seen, state = jax.vmap(environment.reset, (0, None))(jax.random.split(key, config["NUM_ENVS"]), params)

        def update(runner, _):
            results = environment.step(key, jax.tree.map(lambda x: x[0], state), 0, params)
            return (runner[0], runner[1] + config["LR"]), len(results)

        runner, metrics = jax.lax.scan(update, (seen, 0), None, count)
        return {"runner_state": runner, "metrics": metrics}

    return train
"""


def test_the_floor_of_ppo_counts_its_products() -> None:
    world = SimpleNamespace(envs=5, steps=7)
    learner = cast(Any, SimpleNamespace(window=SimpleNamespace(world=world)))
    work = speed.ppo_work(4, (8, 6), 2)(SimpleNamespace(epochs=3), learner, 10)
    rows = 5 * 7 * 10
    actor, critic = 4 * 8 + 8 * 6 + 6 * 2, 4 * 8 + 8 * 6 + 6 * 1
    flops = [2 * rows * count for count in (actor, 3 * (actor + critic), 3 * (actor + critic), 3 * (2 * 48 + 18))]
    assert [part.flops for part in work] == flops
    assert [part.kind for part in work] == ["forward", "forward", "weights", "slope"]
