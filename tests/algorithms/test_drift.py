"""The learned drift: what it refuses; its conditions are those of tests/core/test_drifts.py."""

import pytest

from metarl_jax.algorithms import make


def test_agents_must_leave_the_policy_that_acted() -> None:
    with pytest.raises(ValueError, match="choose 2 or more"):
        make("drift", inner_epochs=1)
