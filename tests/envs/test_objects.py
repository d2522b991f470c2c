"""The grids with objects: their rules."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Key
from metarl_jax.envs import Objects
from metarl_jax.envs.objects import ObjectsTask

SMALL = Objects(density="dense", side=3, steps=5)
NEAR = ObjectsTask(  # around the centre, cell 4: good ones above and to the right, bad ones in two corners
    place=jnp.array([1, 5, 0, 2], jnp.int32),
    pay=jnp.array([1.0, 0.5, -1.0, -0.3]),
    ends=jnp.array([0.2, 0.0, 0.5, 0.1]),
    returns=jnp.array([0.3, 0.1, 0.4, 0.5]),
)


def small() -> tuple[Objects, ObjectsTask]:
    environment = Objects(density="dense", side=3, steps=3)
    numbers = {"place": [1, 5, 3, 7], "pay": [1.0, 0.5, -1.0, 0.8], "ends": [0.3, 0.0, 0.0, 1.0]}
    return environment, environment.check_task(numbers | {"returns": [0.5, 0.1, 0.0, 0.4]})


def test_objects_refuse_to_share_a_cell() -> None:
    environment, task = small()
    with pytest.raises(ValueError, match="must differ from each other and from the centre, 4"):
        environment.check_task(task._replace(place=np.array([1, 1, 3, 7])))


def test_an_object_pays_once_may_end_the_episode_and_comes_back() -> None:
    n = 4_000

    def up_and_stay(key: Key) -> tuple[Any, Any]:
        first_key, second_key = jax.random.split(key)
        first = SMALL.step(first_key, SMALL.reset(key, NEAR)[1], jnp.int32(1), NEAR)
        return first, SMALL.step(second_key, first.state, jnp.int32(0), NEAR)

    first, second = jax.jit(jax.vmap(up_and_stay))(jax.random.split(jax.random.key(0), n))
    assert np.all(first.reward == 1.0)
    assert not np.any(first.state.there[:, 0])  # never back within the step that takes it
    assert np.all(second.reward == 0.0)  # back under foot, it waits for the next step
    for share, chance in ((first.terminated, 0.2), (second.state.there[:, 0], 0.3)):
        assert abs(np.mean(share) - chance) < 4 * np.sqrt(chance * (1 - chance) / n)
