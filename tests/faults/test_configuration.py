"""A bad configuration: refused before anything is compiled or written, with what is wrong and what is legal."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from broken import Steep
from conftest import compiled
from core.test_contract import FAULTS
from experiment.test_config import BAD

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.run_folder import RunFolder, described

pytestmark = pytest.mark.fault(10)

MORE: list[tuple[tuple[str, str], dict[str, Any], str]] = [
    (("rl2", "bandit"), {"minibatches": 3, "tasks": 8}, "tasks must be a multiple of minibatches"),
    (("maml", "maze"), {"most_skipped": -1}, "most_skipped is -1; it must be 0"),
    (("maml", "maze"), {"broken": "maks"}, "'mask'"),
    (("meta_gradient", "bandit"), {"lifespan": 1, "estimator": "pes"}, "lifespan=2 or more"),
    (("maml", "maze"), {"meta_lr": 1e18}, "meta_lr of maml is 1e+18; it must be between 0 and 100"),
    (("varibad", "bandit"), {"model_lr": 1e3}, "model_lr of varibad is 1000.0; it must be between 0 and 100"),
    (("maml", "maze"), {"seed": 2**32}, "seed is 4294967296; it must be between"),
    (("maml", "maze"), {"seed": 1.0}, "1.0; it must be of type int"),
    (("maml", "maze"), {"seed": np.float32(1.5)}, "1.5; it must be of type int"),
]


@pytest.fixture(scope="module", autouse=True)
def steep() -> Any:
    ALGORITHMS[Steep.name] = Steep
    yield
    del ALGORITHMS[Steep.name]


def refused(words: str, tmp_path: Path, *names: str, **options: Any) -> bool:
    """Whether it is refused in these words, before a folder is made or a program compiled."""
    caught: list[str] = []

    def attempt() -> None:
        try:
            metarl_jax.train(*names, out=tmp_path / "run", quiet=True, **options)
        except UsageError as error:
            caught.append(str(error))

    programs = compiled(attempt)
    return bool(caught) and words in caught[0] and programs == 0 and not (tmp_path / "run").exists()


def test_nothing_is_compiled_or_written_for_a_bad_configuration(tmp_path: Path, tally: Any) -> None:
    cases = [case for case in [*BAD, *MORE] if "preset" not in case[1]]
    lost = [case for case in cases if not refused(case[2], tmp_path, *case[0], **case[1])]
    assert not lost
    tally(rounds=len(cases), lost=len(lost))


def test_an_environment_that_contradicts_itself_is_refused(tmp_path: Path, tally: Any) -> None:
    lost = [part for part, _ in FAULTS if not refused("Wrong", tmp_path, "rl2", "core.test_contract:Wrong", part=part)]
    assert not lost
    tally(rounds=len(FAULTS), lost=0)


def test_the_edited_fields_of_a_run_are_listed(tmp_path: Path) -> None:
    short: dict[str, Any] = {"meta_steps": 4, "log_every": 4, "evaluation_tasks": 0, "quiet": True}
    run = metarl_jax.train("steep", "bandit", out=tmp_path / "run", **short)
    description = described(RunFolder(run.path))
    description["config"]["algorithm"]["meta_lr"] = 0.5
    description["config"]["environment"]["arms"] = 3
    del description["config"]["run"]["keep"]
    (run.path / "run.json").write_text(json.dumps(description))
    for call in (metarl_jax.resume, metarl_jax.load):
        with pytest.raises(UsageError, match=r"edited or damaged: .*run.keep='absent'.*; restore it") as caught:
            call(run.path)
        assert all(word in str(caught.value) for word in ("algorithm.meta_lr=0.5", "environment.arms=3"))


def test_counts_and_seeds_may_be_numpys_and_are_checked_alike(tmp_path: Path) -> None:
    numbers: dict[str, Any] = {"seed": np.uint32(3), "tasks": np.int64(4), "meta_lr": np.float32(0.5)}
    numbers |= {"meta_steps": np.int64(2), "log_every": np.int16(2), "evaluation_tasks": np.int64(0)}
    numbers |= {"pulls": np.int8(4), "hidden": np.array([4])}
    run = metarl_jax.train("maml", "bandit", preset="tiny", **numbers, quiet=True, out=tmp_path / "run")
    assert (run.step, run.config.run.seed) == (2, 3)
    table = run.evaluate(
        tasks=np.int64(2), seed=np.int64(1), adaptations=np.int8(1), from_scratch=False, quiet=True
    ).table
    table.write(tmp_path / "evaluation.json")
    for illegal, words in ((True, "True; it must be a whole number"), (1.5, "1.5; it must be a whole number")):
        for name in ("tasks", "seed", "adaptations"):
            with pytest.raises(UsageError, match=f"{name} is {words}"):
                run.evaluate(**{name: illegal})
    for name, illegal in (("tasks", 0), ("seed", -1), ("seed", 2**32), ("adaptations", -1)):
        with pytest.raises(UsageError, match=f"{name} is {illegal}; it must be"):
            run.evaluate(**{name: illegal})
    task = run.config.environment.draw_task(jax.random.key(0), "train")
    for name, illegal in (("episodes", 0), ("seed", -1), ("adaptations", 1.5), ("episodes", True)):
        with pytest.raises(UsageError, match=f"{name} is {illegal}; it must be"):
            metarl_jax.adapt(run, task, **{name: illegal})
    metarl_jax.adapt(run, task, episodes=np.int64(1), seed=np.int64(1), adaptations=np.int32(1))
