"""Legal ranges of options."""

import dataclasses
import typing

import pytest

from metarl_jax.algorithms.base import Algorithm


def test_a_subclass_that_changes_a_default_keeps_the_legal_range() -> None:
    """A subclass that only changes a default need not repeat the range, and cannot lose it."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Larger(Algorithm):
        name: typing.ClassVar[str] = "larger"
        tasks: int = 100

    assert Larger().tasks == 100
    with pytest.raises(ValueError, match="tasks of larger is 0; it must be at least 1"):
        Larger(tasks=0)
