"""Chains, rooms, objects and colours: their rules, and what an agent that knows them gets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.core.types import Array, Key, Step
from metarl_jax.envs import Objects, TwoColours, make
from metarl_jax.envs.discounting_chain import DELAYS, published_task
from metarl_jax.envs.grid import landings
from metarl_jax.envs.objects import ObjectsTask
from metarl_jax.envs.two_colours import CELLS, SIDE, free_cell
from metarl_jax.envs.two_colours import published_task as two_boxes
from metarl_jax.oracles import chains, reference, two_colours
from metarl_jax.oracles.play import play


def walk_through(environment: Any, task: Any, actions: list[int], seed: int = 0) -> list[Step]:
    _, state = environment.reset(jax.random.key(seed), task)
    steps = []
    for i, action in enumerate(actions):
        steps.append(environment.step(jax.random.key(seed + i), state, jnp.int32(action), task))
        state = steps[-1].state
    return steps


def test_only_the_first_action_decides_a_delayed_chain() -> None:
    environment = make("delayed_chain")
    task = environment.check_task({"length": 6, "pay": [1.0, -1.0]})
    for first, pay in ((0, 1.0), (1, -1.0)):
        steps = walk_through(environment, task, [first, 1, 0, 1, 0, 1])
        assert [float(step.reward) for step in steps] == [0.0] * 5 + [pay]
        assert [bool(step.terminated) for step in steps] == [False] * 5 + [True]


def test_a_discounting_chain_pays_once_after_its_delay() -> None:
    environment = make("discounting_chain")
    play_all = jax.jit(jax.vmap(lambda chain: chain_rewards(environment, chain)))
    rewards = np.asarray(play_all(jnp.arange(len(DELAYS))))  # [5, 100]
    for chain, (delay, pay) in enumerate(zip(DELAYS, [1.0, 1.0, 1.0, 1.1, 1.0], strict=True)):
        assert np.flatnonzero(rewards[chain]).tolist() == [delay - 1]
        np.testing.assert_allclose(rewards[chain, delay - 1], pay, rtol=1e-6)
    np.testing.assert_allclose(
        chains.discounting_chain_returns(environment, jax.random.key(0), published_task()), 1.1, rtol=1e-6
    )


def chain_rewards(environment: Any, chain: Array) -> Array:
    def advance(state: Any, _: None) -> tuple[Any, Array]:
        step = environment.step(jax.random.key(0), state, chain, published_task())
        return step.state, step.reward

    return jax.lax.scan(advance, environment.reset(jax.random.key(0), published_task())[1], None, length=100)[1]


def test_the_best_of_a_and_c_is_worth_what_theory_says() -> None:
    environment = make("random_abc")
    tasks = jax.vmap(lambda key: environment.draw_task(key, "train"))(jax.random.split(jax.random.key(0), 20_000))
    best = np.asarray(reference(environment)(jax.random.key(0), tasks))[:, 0]  # type: ignore[misc]
    assert abs(best.mean() - 19 / 48) < 4 * best.std() / np.sqrt(best.size)


@pytest.mark.parametrize(("moves", "pay"), [([4, 4, 1, 1, 1, 1], 0.7), ([1, 1, 1, 1], -0.5), ([2, 2, 1, 1, 1, 1], 0.3)])
def test_the_first_object_ends_an_episode_and_pays(moves: list[int], pay: float) -> None:
    environment = make("random_abc")
    steps = walk_through(environment, environment.check_task({"pay": [0.7, -0.5, 0.3]}), moves)
    assert [bool(step.terminated) for step in steps] == [False] * (len(moves) - 1) + [True]
    np.testing.assert_allclose(steps[-1].reward, pay)


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


def small() -> tuple[Objects, ObjectsTask]:
    environment = Objects(density="dense", side=3, steps=3)
    numbers = {"place": [1, 5, 3, 7], "pay": [1.0, 0.5, -1.0, 0.8], "ends": [0.3, 0.0, 0.0, 1.0]}
    return environment, environment.check_task(numbers | {"returns": [0.5, 0.1, 0.0, 0.4]})


def test_objects_refuse_to_share_a_cell() -> None:
    environment, task = small()
    with pytest.raises(ValueError, match="must differ from each other and from the centre, 4"):
        environment.check_task(task._replace(place=np.array([1, 1, 3, 7])))


def test_a_taken_box_pays_and_appears_elsewhere() -> None:
    environment, task = TwoColours(), two_boxes()
    _, state = environment.reset(jax.random.key(0), task)
    state = state._replace(place=jnp.array([2, 2]), boxes=jnp.array([2 * SIDE + 3, 2 * SIDE + 1]))
    right = environment.step(jax.random.key(1), state, jnp.int32(2), task)
    left = environment.step(jax.random.key(1), state, jnp.int32(4), task)
    stay = environment.step(jax.random.key(1), state, jnp.int32(0), task)
    np.testing.assert_allclose([right.reward, left.reward, stay.reward], [1.0, -1.0, -0.04], rtol=1e-6)
    assert right.state.boxes[0] not in (2 * SIDE + 3, 2 * SIDE + 1)
    assert right.state.boxes[1] == 2 * SIDE + 1
    swapped = TwoColours(swap=1).step(jax.random.key(1), state._replace(time=jnp.int32(1)), jnp.int32(2), task)
    assert float(swapped.reward) == -1.0


def test_a_box_appears_in_every_free_cell_alike() -> None:
    cells = jax.vmap(lambda key: free_cell(key, jnp.int32(9), jnp.int32(4)))(
        jax.random.split(jax.random.key(0), 23_000)
    )
    counts = np.bincount(np.asarray(cells), minlength=CELLS)
    assert counts[9] == counts[4] == 0
    assert np.all(np.abs(counts[counts > 0] - 1_000) < 5 * np.sqrt(1_000))
    assert np.sum(counts > 0) == CELLS - 2


def test_known_colours_are_worth_what_their_best_policy_earns() -> None:
    """The long run: first the bad box is taken until it lies in a corner, out of the way; then .279 a step."""
    environment, task = TwoColours(steps=20_000), two_boxes()
    rate = two_colours.average_reward(task.pay)
    assert abs(rate - 0.2789) < 2e-4
    worth = two_colours.arrivals(two_colours.relative_values(task.pay), task.pay)

    def act(key: Key, state: Any, task: Any) -> Array:
        ahead = jnp.asarray(landings(SIDE))[:, state.place[0] * SIDE + state.place[1]]
        return jnp.argmax(worth[ahead, state.boxes[0], state.boxes[1]])

    keys = jax.random.split(jax.random.key(0), 8)
    earned = np.asarray(jax.jit(jax.vmap(lambda key: play(environment, act, key, task).total))(keys))
    assert abs(earned.mean() / environment.steps - rate) < 0.002
    assert 0.9 * 100 * rate < float(two_colours.best_return(TwoColours(), task)) < 100 * rate
