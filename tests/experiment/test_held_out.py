"""Laws that leave nothing for training or the test are refused before anything runs, and no draw goes on for ever."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from probes import Line, Nothing

import metarl_jax
from metarl_jax.algorithms import make
from metarl_jax.core.environment import MOST_DRAWS, check_split_has_tasks
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.errors import UsageError

SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 1, "log_every": 1, "quiet": True}


@dataclasses.dataclass(frozen=True)
class One(Line):
    """A family of one task, whose author did not think of the test."""

    test: bool = False

    @property
    def withholds(self) -> bool:
        return True

    def holds_out(self, task: Nothing) -> jax.Array:
        return jnp.array(self.test)


@pytest.mark.parametrize("test", [False, True])
def test_a_family_of_one_task_is_refused_or_trains_and_never_hangs(test: bool) -> None:
    empty, other = ("train", "test") if test else ("test", "train")
    with pytest.raises(
        ValueError, match=rf"line has no {empty} tasks with its options.*1 different.*`withholds` False"
    ):
        check_split_has_tasks(One(test=test), empty)  # type: ignore[arg-type]
    check_split_has_tasks(One(test=test), other)  # type: ignore[arg-type]
    task = jax.jit(lambda key: One(test=test).sample_task(key, empty))(jax.random.key(0))  # type: ignore[arg-type]
    assert task.pay == 1.0
    assert MOST_DRAWS < 100_000
    if test:
        with pytest.raises(ValueError, match="line has no train tasks"):
            make("maml", tasks=2, hidden=(4,)).build(One(test=True))


@pytest.mark.parametrize(
    ("options", "split"), [({"size": 2}, "test"), ({"size": 2, "openings": 1.0}, "test"), ({"openings": 1.0}, "test")]
)
def test_mazes_without_a_test_are_refused_unless_none_is_asked_for(options: Any, split: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=rf"maze has no {split} tasks with its options, .*size="):
        metarl_jax.train("maml", "maze", out=tmp_path / "run", env=options, evaluation_tasks=4, **SHORT)
    assert not (tmp_path / "run").exists()
    check_split_has_tasks(make_environment("maze", **options), "train")


def test_a_maze_without_training_is_refused(tmp_path: Any) -> None:
    """The only maze of 3 x 3 cells without walls belongs to the test."""
    with pytest.raises(UsageError, match="maze has no train tasks"):
        metarl_jax.train(
            "maml", "maze", out=tmp_path / "run", env={"size": 3, "openings": 1.0}, evaluation_tasks=0, **SHORT
        )
    assert not (tmp_path / "run").exists()


def test_an_evaluation_on_tasks_that_do_not_exist_is_refused(tmp_path: Any) -> None:
    ENVIRONMENTS[One.name] = One
    try:
        options: dict[str, Any] = {"hidden": (4,), "tasks": 2, "evaluation_tasks": 0}
        result = metarl_jax.train("maml", "line", out=tmp_path / "run", **options, **SHORT)
        with pytest.raises(UsageError, match="line has no test tasks"):
            result.evaluate(tasks=2)
    finally:
        del ENVIRONMENTS[One.name]
