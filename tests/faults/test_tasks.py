"""Tasks at random and at the edges of their ranges: finite numbers of stable types from one program, or a refusal."""

from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
from envs.test_envs import SHARES, TASKS, VARIANTS, keys, legal_task, one_task, rolled, roller, signature, task_numbers
from hypothesis import strategies

pytestmark = pytest.mark.fault(11)

QUICK = ("navigation", "bandit", "cartpole")
LONG = -(-200 // TASKS)  # examples, of TASKS tasks each
OUTSIDE = strategies.floats(1.001, 1e6) | strategies.sampled_from([np.inf, np.nan])


def fuzzed(name: str, examples: int) -> int:
    """How many tasks were tried; each moves its numbers to random shares of their ranges, or to an edge."""
    fields, space, tried = task_numbers(name), VARIANTS[name].observation_space, 0
    first = rolled(name, keys(6), jax.tree.map(lambda *x: np.stack(x), *(one_task(name, i) for i in range(TASKS))))

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @hypothesis.given(shares=strategies.lists(SHARES, min_size=len(fields) * TASKS, max_size=len(fields) * TASKS))
    def attempt(shares: list[float | None]) -> None:
        nonlocal tried
        tried += TASKS
        tasks = [legal_task(name, i, dict(zip(fields, shares[i::TASKS], strict=True))) for i in range(TASKS)]
        steps = rolled(name, keys(6), jax.tree.map(lambda *x: np.stack(x), *tasks))
        assert signature(steps) == signature(first)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(steps))
        assert np.all((steps.observation >= space.low) & (steps.observation <= space.high))

    programs = roller(name)._cache_size()
    attempt()
    assert roller(name)._cache_size() == programs
    return tried


@pytest.mark.parametrize("name", QUICK)
def test_a_few_tasks(name: str, tally: Any) -> None:
    tally(rounds=fuzzed(name, 3), lost=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_hundred_tasks(name: str, tally: Any) -> None:
    tally(rounds=fuzzed(name, LONG), lost=0)


@pytest.mark.parametrize("name", QUICK)
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=strategies.data())
def test_illegal_numbers_are_refused(name: str, data: strategies.DataObject) -> None:
    environment, task = VARIANTS[name], one_task(name)
    field = data.draw(strategies.sampled_from(task_numbers(name)))
    (low, high), like = environment.limits[field], np.asarray(getattr(task, field))
    value = low + data.draw(OUTSIDE) * (high - low) if np.isfinite(high - low) else np.nan
    with pytest.raises(ValueError, match=f"{field!r} of {environment.name} is .*must lie in"):
        environment.check_task(task._replace(**{field: np.full(like.shape, value)}))
