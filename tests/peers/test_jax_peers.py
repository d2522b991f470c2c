"""Peers in JAX: how gymnax's older interface is given back, how a peer is found, and what the floor of PPO counts."""

import importlib.util
import pathlib
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
jax_peer = importlib.import_module("jax_peer")
speed = importlib.import_module("speed")
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


def test_a_checkout_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "train.py").touch()
    monkeypatch.setenv("GROOVE", str(tmp_path))
    assert peers.found("groove")
    assert peers.version("groove") == "unknown"


def test_every_peer_has_a_workload_and_a_remedy() -> None:
    assert set(peers.WORKLOADS) <= set(speed.WORKLOADS)
    assert {peer.library for peer in peers.WORKLOADS.values()} == set(peers.MISSING)


def test_the_floor_of_ppo_counts_its_products() -> None:
    world = SimpleNamespace(envs=5, steps=7)
    learner = cast(Any, SimpleNamespace(window=SimpleNamespace(world=world)))
    work = speed.ppo_work(4, (8, 6), 2)(SimpleNamespace(epochs=3), learner, 10)
    rows = 5 * 7 * 10
    actor, critic = 4 * 8 + 8 * 6 + 6 * 2, 4 * 8 + 8 * 6 + 6 * 1
    flops = [2 * rows * count for count in (actor, 3 * (actor + critic), 3 * (actor + critic), 3 * (2 * 48 + 18))]
    assert [part.flops for part in work] == flops
    assert [part.kind for part in work] == ["forward", "forward", "weights", "slope"]
