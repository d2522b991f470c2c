"""How often programs are compiled: once a run, and never again for another seed, evaluation or task."""

from typing import Any

import pytest
from conftest import COMPILED, compilations, compiled, events

import metarl_jax
from metarl_jax.experiment import saving, training
from metarl_jax.experiment.config import resolve

SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 4, "log_every": 2, "evaluation_tasks": 6, "quiet": True}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return metarl_jax.train("rl2", "navigation", out=tmp_path_factory.mktemp("one") / "run", env={"steps": 3}, **SHORT)


def test_a_run_compiles_its_chunk_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With vectors for actions, on all devices, when its need of memory is known; afterwards nothing is compiled."""
    append, counts = saving.append_metrics, []

    def noted(*arguments: Any) -> None:
        counts.append(events[COMPILED])
        append(*arguments)

    monkeypatch.setattr(saving, "append_metrics", noted)
    options: dict[str, Any] = {**SHORT, "meta_steps": 6, "evaluation_tasks": 0, "checkpoint_every": 6, "hidden": (4,)}
    before = compilations("chunk")
    metarl_jax.train("maml", "navigation", out=tmp_path / "run", env={"steps": 3}, **options)
    assert compilations("chunk") == before + 1
    assert counts == counts[:1] * 3


def test_another_seed_compiles_nothing(result: Any, tmp_path: Any) -> None:
    again = lambda: metarl_jax.train("rl2", "navigation", seed=1, out=tmp_path / "run", env={"steps": 3}, **SHORT)  # noqa: E731
    assert compiled(again) == 0


def test_another_evaluation_compiles_nothing(result: Any) -> None:
    assert compiled(lambda: result.evaluate(tasks=5)) > 0
    assert compiled(lambda: result.evaluate(tasks=5, seed=1)) == 0


def test_another_task_compiles_nothing(result: Any) -> None:
    assert compiled(lambda: metarl_jax.adapt(result, {"goal": [0.1, 0.2]})) > 0
    assert compiled(lambda: metarl_jax.adapt(result, {"goal": [0.3, -0.2]}, seed=3)) == 0


def test_another_length_compiles_no_chunk_unless_a_schedule_depends_on_it() -> None:
    chunks = [
        training.programs(
            (config := resolve("rl2", "navigation", preset="tiny", meta_steps=steps, anneal=anneal)).annealed(),
            config.environment,
            None,
            5,
            None,
        )
        for steps, anneal in ((10, 0), (20, 0), (20, -1))
    ]
    assert chunks[0] is chunks[1] is not chunks[2]
