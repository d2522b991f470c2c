"""A meta-gradient that is not finite, once and again: skipped, counted, and in the end the remedy can be applied."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from broken import Steep

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import Interrupted, TrainingDiverged, UsageError
from metarl_jax.experiment.run_folder import RunFolder, described

pytestmark = pytest.mark.fault(7)

SHORT: dict[str, Any] = {"evaluation_tasks": 0, "quiet": True, "log_every": 4, "checkpoint_every": 8, "meta_steps": 24}


@pytest.fixture(scope="module", autouse=True)
def steep() -> Any:
    ALGORITHMS[Steep.name] = Steep
    yield
    del ALGORITHMS[Steep.name]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def counted(path: Path) -> list[tuple[int, int]]:
    return [(line["skipped"], line["skipped_in_a_row"]) for line in lines(path)]


def test_one_meta_step_is_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = metarl_jax.train("steep", "bandit", first=5, last=5, out=tmp_path / "run", **SHORT)
    np.testing.assert_array_equal(run.meta_params, 23.0)
    assert counted(run.path) == [(0, 0), (1, 0), *[(0, 0)] * 4]
    assert "1 of the 4 meta-steps up to 8 were skipped" in caplog.text
    assert all(line["loss"] == 0 for line in lines(run.path))


def test_many_in_a_row_stop_at_the_last_good_state_from_where_a_smaller_rate_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    words = r"more than 10 meta-steps in a row .* up to meta-step 20, .*lives are finite.*meta_lr.*step-00000020"
    with pytest.raises(TrainingDiverged, match=words):
        metarl_jax.train("steep", "bandit", first=6, last=30, out=path, **SHORT)
    np.testing.assert_array_equal(metarl_jax.load(path).meta_params, 6.0)
    assert counted(path) == [(0, 0), (2, 2), (4, 6), (4, 10), (4, 14)]
    with pytest.raises(UsageError, match=r"width is 3; it must be options that keep the shape|what changes .* width"):
        metarl_jax.resume(path, width=3)
    with pytest.raises(UsageError, match="seed is 1; it must be 0, as from the start of the run"):
        metarl_jax.resume(path, seed=1)
    with pytest.raises(UsageError, match="arms is 3; it must be 5, as from the start"):
        metarl_jax.resume(path, arms=3)
    assert main(["resume", str(path), "--meta-lr", "0.0625", "--quiet"]) == 0
    np.testing.assert_array_equal(metarl_jax.load(path).meta_params, 6.25)
    assert described(RunFolder(path))["changed"] == [{"meta_step": 20, "options": {"meta_lr": [1.0, 0.0625]}}]
    assert "diverged" not in described(RunFolder(path))
    assert metarl_jax.resume(path, quiet=True).step == 24  # the changed configuration is the sealed one


def test_a_row_is_counted_across_an_interruption(tmp_path: Path) -> None:
    ask: dict[str, Any] = {"first": 6, "last": 19, "most_skipped": 12, **SHORT}
    found = []
    for name, stop in (("whole", None), ("parts", 12)):

        def on_log(line: dict[str, Any], stop: int | None = stop) -> None:
            if line["meta_step"] == stop:
                raise KeyboardInterrupt

        path = tmp_path / name
        if stop is not None:
            with pytest.raises((Interrupted, KeyboardInterrupt)):
                metarl_jax.train("steep", "bandit", out=path, on_log=on_log, **ask)
        with pytest.raises(TrainingDiverged, match="meta-step 20"):
            metarl_jax.resume(path, quiet=True) if stop else metarl_jax.train("steep", "bandit", out=path, **ask)
        found.append(counted(path))
    assert found[0] == found[1] == [(0, 0), (2, 2), (4, 6), (4, 10), (4, 14)]


@pytest.mark.slow
def test_a_run_of_a_cohort_that_stops_is_saved_and_the_others_go_on(tmp_path: Path) -> None:
    found = metarl_jax.sweep(
        "steep", "bandit", over={"meta_lr": [0.0625, 1.0]}, first=6, last=30, out=tmp_path / "sweep", **SHORT
    )
    assert [path.name for path in found.diverged] == ["meta_lr=1.0,seed=0"]
    good, lost = (metarl_jax.load(path) for path in (found.runs[0].path, found.diverged[0]))
    assert (good.step, lost.step) == (24, 20)
    np.testing.assert_array_equal(good.meta_params, 1.5)
    np.testing.assert_array_equal(lost.meta_params, 6.0)
    again = metarl_jax.resume(lost.path, meta_lr=0.0625, quiet=True)
    np.testing.assert_array_equal(again.meta_params, 6.25)


def test_a_rate_that_carries_phi_away_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A φ whose products overflow is no φ: at 5e30 all policies are saturated, and nothing is learned."""
    path = tmp_path / "run"
    words = f"train steep bandit --meta-lr 1e30 --most-skipped 0 --meta-steps 8 --log-every 4 --quiet --out {path}"
    assert main(words.split()) == 3
    printed = capsys.readouterr().err
    assert "more than 0 meta-steps in a row were not finite, up to meta-step 4" in printed
    assert "a smaller meta_lr" in printed
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(metarl_jax.load(path).meta_params))


def test_a_skip_costs_no_second_compilation_and_changes_no_other_step() -> None:
    learner = Steep(first=3, last=3).build(metarl_jax.make_environment("bandit"))
    step = jax.jit(learner.step)
    state = learner.init(jax.random.key(0))
    for index in range(6):
        state, info = step(state, jax.random.key(index))
        assert info["skipped"] == (index == 3)
        assert (state.meta_params[0], state.step) == (index + (index < 3), index + 1)
    assert step._cache_size() == 1
