"""The grids with objects: the optimum against every policy, and as it is paid."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from envs.test_objects import NEAR, SMALL
from samples import Plan, assert_pays

from metarl_jax.envs import Objects
from metarl_jax.envs.grid import MOVES, landings
from metarl_jax.envs.objects import ObjectsTask
from metarl_jax.oracles import objects


def objects_plan(environment: Objects, task: ObjectsTask) -> Plan:
    """Every outcome of every action in turn."""
    places, pay, ends, returns = (np.asarray(leaf).tolist() for leaf in task)
    n, ahead = len(places), landings(environment.width)
    actions = np.zeros((environment.horizon, environment.width**2, *[2] * n), np.int32)

    @functools.cache
    def value(time: int, place: int, there: tuple[int, ...]) -> float:
        if time == environment.horizon:
            return 0.0
        worth = [after(time, int(ahead[action, place]), there) for action in range(len(MOVES))]
        actions[(time, place, *there)] = int(np.argmax(worth))
        return max(worth)

    @functools.cache
    def after(time: int, place: int, there: tuple[int, ...]) -> float:
        taken = [i for i in range(n) if there[i] and places[i] == place]
        stays = [float(i not in taken) if there[i] else returns[i] for i in range(n)]
        total = 0.0
        for outcome in itertools.product((0, 1), repeat=n):
            chance = float(np.prod([p if bit else 1 - p for p, bit in zip(stays, outcome, strict=True)]))
            total += chance * value(time + 1, place, outcome) if chance > 0 else 0.0
        return sum(pay[i] for i in taken) + (1 - sum(ends[i] for i in taken)) * total

    return value(0, environment.centre, (1,) * n), actions


def test_the_worth_of_objects_is_the_best_of_all_policies_and_is_paid() -> None:
    plan = objects_plan(SMALL, NEAR)
    assert float(objects.best_return(SMALL, NEAR)) == pytest.approx(plan[0], abs=1e-5)
    row = jnp.array([SMALL.width, 1])
    assert_pays(SMALL, NEAR, plan, lambda state: (state.place @ row, *state.there.astype(jnp.int32)))
