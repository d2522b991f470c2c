"""The empty rooms."""

import pytest
from walks import walk_through

from metarl_jax.envs import make
from metarl_jax.oracles import chains


def test_walls_and_doors_of_the_empty_rooms() -> None:
    environment = make("empty_rooms", room=3)
    assert environment.free.sum() == 4 * 9 + 4
    task = environment.check_task({"goal": [0, 4]})
    blocked = walk_through(environment, task, [2, 2, 2])[-1]  # right, into the wall at column 3
    assert blocked.state.place.tolist() == [0, 2]
    steps = walk_through(environment, task, [3, 2, 2, 2, 2, 1])  # down, through the door at row 1, up
    assert float(steps[-1].reward) == 1.0
    assert [bool(step.terminated) for step in steps] == [False] * 5 + [True]
    assert chains.distances(environment)[0, 4] == 6
    near = environment.goals(farthest=False), environment.goals(farthest=True)
    assert [len(goals) for goals in near] == [26, 9]
    with pytest.raises(ValueError, match="must be free and not the start"):
        environment.check_task({"goal": [3, 3]})
