"""Two colours and the grids with objects: their optima against every policy, in the long run, and as they are paid."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key
from metarl_jax.envs import Objects, TwoColours
from metarl_jax.envs.grid import MOVES, landings
from metarl_jax.envs.objects import ObjectsTask
from metarl_jax.envs.two_colours import CELLS, SIDE, State, published_task
from metarl_jax.oracles import objects, two_colours
from metarl_jax.oracles.play import play

Plan = tuple[float, np.ndarray]  # the best return, and the actions by time and situation


def assert_pays(environment: Environment, task: Any, plan: Plan, situation: Any, n: int = 20_000) -> None:
    """The actions of the plan earn its value, within four standard errors over `n` episodes."""
    value, actions = plan[0], jnp.asarray(plan[1])

    def act(key: Key, state: Any, task: Any) -> Array:
        return actions[(state.time, *situation(state))]

    keys = jax.random.split(jax.random.key(2), n)
    total = np.asarray(jax.jit(jax.vmap(lambda key: play(environment, act, key, task).total))(keys))
    assert abs(total.mean() - value) < 4 * total.std() / np.sqrt(n)


def test_the_boxes_exchange_their_worth_every_swap_steps() -> None:
    environment, boxes = TwoColours(swap=10, steps=50), jnp.array([7, 18], jnp.int32)
    for before, pay in ((0, 1.0), (9, 1.0), (10, -1.0), (19, -1.0), (20, 1.0)):
        state = State(jnp.array([1, 1], jnp.int32), boxes, jnp.int32(before))
        assert environment.step(jax.random.key(0), state, jnp.int32(2), published_task()).reward == pay


def two_colours_plan(steps: int, swap: int) -> Plan:
    """Every state and outcome in turn; the value is the mean over the starts."""
    ahead, rewards = landings(SIDE), {False: 1.0, True: -1.0}
    actions = np.zeros((steps, CELLS, CELLS, CELLS), np.int32)

    @functools.cache
    def value(time: int, walker: int, boxes: tuple[int, int]) -> float:
        if time == steps:
            return 0.0
        worth = [after(time, int(ahead[action, walker]), boxes) for action in range(len(MOVES))]
        actions[(time, walker, *boxes)] = int(np.argmax(worth))
        return max(worth)

    @functools.cache
    def after(time: int, walker: int, boxes: tuple[int, int]) -> float:
        if walker not in boxes:
            return value(time + 1, walker, boxes) - 0.04
        second = walker == boxes[1]
        free = [cell for cell in range(CELLS) if cell not in boxes]
        moved = [(boxes[0], cell) if second else (cell, boxes[1]) for cell in free]
        swapped = swap > 0 and time // swap % 2 == 1
        return rewards[second != swapped] + float(np.mean([value(time + 1, walker, new) for new in moved]))

    starts = itertools.permutations(range(CELLS), 3)
    return float(np.mean([value(0, walker, (one, other)) for walker, one, other in starts])), actions


@pytest.mark.parametrize("swap", [0, 2])
def test_the_worth_of_two_colours_is_the_best_of_all_policies_and_is_paid(swap: int) -> None:
    environment, plan = TwoColours(steps=4, swap=swap), two_colours_plan(4, swap)
    assert float(two_colours.best_return(environment, published_task())) == pytest.approx(plan[0], abs=1e-5)
    assert_pays(environment, published_task(), plan, lambda state: (state.place @ jnp.array([SIDE, 1]), *state.boxes))


def test_known_colours_in_the_long_run() -> None:
    """.27893 a step, by taking the bad box until it lies in a corner, where it is least in the way.

    To leave it where it happens to lie is worth .2694 on average: the 2.69 M of ten million steps.
    """
    left_alone = np.array([average_around(place) for place in range(CELLS)])
    assert left_alone.mean() == pytest.approx(0.2694, abs=5e-5)
    assert left_alone.max() == pytest.approx(left_alone[0])
    assert two_colours.average_reward(published_task().pay) == pytest.approx(left_alone[0], abs=2e-5)


def average_around(bad: int) -> float:
    """The best average reward if the bad box is never taken: value iteration over walker and good box, damped."""
    value, ahead = np.zeros((CELLS, CELLS)), landings(SIDE)
    walker, good = np.indices((CELLS, CELLS))
    legal = (walker != good) & (walker != bad) & (good != bad)
    for _ in range(100):
        moved = (value * legal).sum(axis=1, keepdims=True) / (CELLS - 2)
        worth = np.where(walker == good, 1.0 + moved, value - 0.04)
        worth[bad] = -np.inf
        gain = worth[ahead].max(axis=0) - value
        value = np.where(legal, value + 0.5 * (gain - gain[legal][0]), 0.0)
    assert np.ptp(gain[legal]) < 1e-6
    return float(gain[legal].mean())


SMALL = Objects(density="dense", side=3, steps=5)
NEAR = ObjectsTask(  # around the centre, cell 4: good ones above and to the right, bad ones in two corners
    place=jnp.array([1, 5, 0, 2], jnp.int32),
    pay=jnp.array([1.0, 0.5, -1.0, -0.3]),
    ends=jnp.array([0.2, 0.0, 0.5, 0.1]),
    returns=jnp.array([0.3, 0.1, 0.4, 0.5]),
)


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
