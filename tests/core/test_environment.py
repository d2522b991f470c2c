"""What the core asks of every environment."""

import jax
import pytest
from probes import OneTask

from metarl_jax.algorithms import make
from metarl_jax.core.environment import MOST_DRAWS, check_split_has_tasks


@pytest.mark.parametrize("test", [False, True])
def test_an_empty_split_is_refused_and_sampling_from_it_terminates(test: bool) -> None:
    empty, other = ("train", "test") if test else ("test", "train")
    with pytest.raises(
        ValueError, match=rf"line has no {empty} tasks with its options.*1 different.*`withholds` False"
    ):
        check_split_has_tasks(OneTask(test=test), empty)  # type: ignore[arg-type]
    check_split_has_tasks(OneTask(test=test), other)  # type: ignore[arg-type]
    task = jax.jit(lambda key: OneTask(test=test).sample_task(key, empty))(jax.random.key(0))  # type: ignore[arg-type]
    assert task.pay == 1.0
    assert MOST_DRAWS < 100_000
    if test:
        with pytest.raises(ValueError, match="line has no train tasks"):
            make("maml", tasks=2, hidden=(4,)).build(OneTask(test=True))
