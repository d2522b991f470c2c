"""Random ABC."""

import numpy as np
import pytest
from walks import walk_through

from metarl_jax.envs import make


@pytest.mark.parametrize(("moves", "pay"), [([4, 4, 1, 1, 1, 1], 0.7), ([1, 1, 1, 1], -0.5), ([2, 2, 1, 1, 1, 1], 0.3)])
def test_the_first_object_ends_an_episode_and_pays(moves: list[int], pay: float) -> None:
    environment = make("random_abc")
    steps = walk_through(environment, environment.check_task({"pay": [0.7, -0.5, 0.3]}), moves)
    assert [bool(step.terminated) for step in steps] == [False] * (len(moves) - 1) + [True]
    np.testing.assert_allclose(steps[-1].reward, pay)
