"""GridNavi, Dark Room and Key-to-Door: their rules and their splits."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import distinct, drawn
from walks import act, perform

import metarl_jax
from metarl_jax.core.environment import Environment, is_held_out
from metarl_jax.core.policy import perception
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import SPLITS
from metarl_jax.envs import DarkRoom, GridNavi, KeyToDoor, make
from metarl_jax.envs.grid import MOVES, Place
from metarl_jax.envs.gridnavi import cells_between
from metarl_jax.envs.room import cells

ENVS = 3


def test_the_posterior_of_gridnavi_equals_enumeration() -> None:
    """Along a random walk over two episodes: the goals that contradict no reward so far, each with equal chance."""
    environment = make("gridnavi", steps=6, episodes=2)
    policy = metarl_jax.make_algorithm("rl2", memory="belief").policy(environment)
    params, told, belief = policy.init(jax.random.key(0)), perception(environment), environment.belief()

    @jax.jit
    def walk(task: Any) -> Any:
        scene = opening(environment, policy, task, jax.random.key(5), ENVS)
        seen = rollout(environment, policy, params, task, scene, jax.random.key(6), 12)[1]
        return seen, belief.unroll({}, belief.blank((ENVS,)), told.features(seen.timestep), told.keep(seen.timestep))

    for seed in range(4):
        seen, said = walk(environment.sample_task(jax.random.key(seed), "train"))
        for env in range(ENVS):
            possible = {(row, column) for row in range(5) for column in range(5) if max(row, column) >= 2}
            for t in range(12):
                expected = np.zeros((5, 5))
                expected[tuple(np.transpose(list(possible)))] = 1 / len(possible)
                np.testing.assert_allclose(said[t, env].reshape(5, 5), expected, atol=1e-6)
                place = tuple(int(half.argmax()) for half in np.split(np.asarray(seen.next_observation[t, env]), 2))
                possible = possible & {place} if seen.reward[t, env] > 0 else possible - {place}


STAY, UP, RIGHT, DOWN, LEFT = range(5)


def test_gridnavi_pays_on_the_goal_and_lasts_its_fifteen_steps() -> None:
    steps = act(GridNavi(), {"goal": [2, 0], "side": 5}, LEFT, DOWN, DOWN, STAY, UP, DOWN, *[RIGHT] * 9)
    np.testing.assert_allclose(steps.reward, [-0.1, -0.1, 1, 1, -0.1, 1, *[-0.1] * 9], rtol=1e-6)
    assert np.flatnonzero(steps.terminated).tolist() == [14]
    assert not np.any(steps.truncated)
    assert steps.state.place[-1].tolist() == [2, 4]  # walked on against the right wall
    assert np.flatnonzero(steps.observation[-1]).tolist() == [2, 7 + 4]


def test_dark_room_pays_every_step_on_the_goal_and_once_if_hard() -> None:
    walk = [RIGHT, RIGHT, STAY, LEFT, RIGHT]
    for hard, rewards in ((False, [0, 1, 1, 0, 1]), (True, [0, 1, 0, 0, 0])):
        steps = act(DarkRoom(hard=hard, steps=5), {"goal": [0, 2], "radius": 4}, *walk)
        assert steps.reward.tolist() == rewards
        assert steps.terminated.tolist() == [False] * 4 + [True]
        assert not np.any(steps.truncated)
    assert DarkRoom(hard=True).reach == 8
    assert len(cells(DarkRoom(hard=True).reach)) == 17 * 17


def test_a_wall_stops_a_move() -> None:
    steps = act(DarkRoom(), {"goal": [4, 4], "radius": 4}, *[UP] * 6)
    assert steps.state.place[:, 0].tolist() == [-1, -2, -3, -4, -4, -4]
    assert np.flatnonzero(steps.observation[-1]).tolist() == [1, 11 + 5]  # in the frame of the 11 x 11 room


def test_the_door_opens_with_the_key_alone() -> None:
    task = {"key": [0, 2], "door": [0, 1], "radius": 4}
    steps = act(KeyToDoor(), task, RIGHT, RIGHT, STAY, LEFT)
    assert steps.reward.tolist() == [0, 1, 0, 1]
    assert steps.terminated.tolist() == [False, False, False, True]
    late = act(KeyToDoor(steps=3), task, RIGHT, RIGHT, LEFT)
    assert (bool(late.terminated[2]), bool(late.truncated[2])) == (True, False)
    never = act(KeyToDoor(steps=3), task, UP, DOWN, RIGHT)
    assert never.truncated.tolist() == [False, False, True]
    assert not np.any(never.terminated)


def test_key_and_door_in_one_cell_pay_together() -> None:
    steps = act(KeyToDoor(), {"key": [0, 0], "door": [0, 0], "radius": 4}, STAY)
    assert (float(steps.reward[0]), bool(steps.terminated[0])) == (2.0, True)


def test_key_to_door_starts_in_the_centre_or_anywhere() -> None:
    far = KeyToDoor().draw_task(jax.random.key(0), "extrapolation")

    def starts(environment: KeyToDoor) -> set[Place]:
        keys = jax.random.split(jax.random.key(0), 2_000)
        return distinct(jax.jit(jax.vmap(lambda key: environment.reset(key, far)[1].place))(keys))

    assert starts(KeyToDoor()) == {(0, 0)}
    assert starts(KeyToDoor(random_start=True)) == set(cells(4))


def test_gridnavi_shares_its_21_goals_between_train_and_test() -> None:
    goals = {split: distinct(drawn(GridNavi(), split).goal) for split in SPLITS}
    board = {place for place in itertools.product(range(5), repeat=2) if max(place) >= 2}
    assert goals["train"] == goals["test"] == board
    assert len(board) == 21
    assert goals["extrapolation"] == set(itertools.product(range(7), repeat=2)) - set(cells_between(0, 5))


@pytest.mark.parametrize(("radius", "withheld"), [(1, 1), (2, 3), (4, 10), (8, 36)])
def test_dark_room_withholds_one_goal_in_eight(radius: int, withheld: int) -> None:
    environment = DarkRoom(radius=radius)
    train, test = (distinct(drawn(environment, split).goal) for split in SPLITS[:2])
    assert train | test == set(cells(radius))
    assert not train & test
    assert len(test) == withheld
    assert np.all(jax.vmap(environment.holds_out)(drawn(environment, "test")))
    assert not np.any(jax.vmap(environment.holds_out)(drawn(environment, "train")))
    outside = set(cells(radius + 1)) - set(cells(radius))
    assert distinct(drawn(environment, "extrapolation").goal) == outside


def test_key_to_door_withholds_one_task_in_eight() -> None:
    environment = KeyToDoor()
    places = jnp.array(list(itertools.product(cells(4), repeat=2)), jnp.int32)  # [6561, 2, 2]
    held_out = jax.vmap(lambda pair: is_held_out(environment.Task(pair[0], pair[1], jnp.int32(4))))(places)
    assert 0.11 < np.mean(held_out) < 0.14
    far = drawn(environment, "extrapolation")
    farthest = np.stack([np.abs(far.key).max(axis=1), np.abs(far.door).max(axis=1)])
    assert np.all(farthest.max(axis=0) == 5)
    assert 0.45 < np.mean(farthest[0] == 5) < 0.85  # half, and the free one by chance
    assert np.all(farthest.min(axis=0) <= 5)


@pytest.mark.parametrize("environment", [GridNavi(), DarkRoom(), KeyToDoor()], ids=lambda e: e.name)
def test_every_task_number_changes_the_trajectory(environment: Environment) -> None:
    """Random walks of one episode in many tasks, each as it is and with one number changed."""
    tasks, n = drawn(environment, "train"), 2_000
    actions = jax.random.randint(jax.random.key(2), (n, environment.horizon), 0, len(MOVES))
    walk = jax.jit(jax.vmap(functools.partial(perform, environment)))
    before = walk(tasks, actions)
    for field, value in tasks._asdict().items():
        after = walk(tasks._replace(**{field: jnp.flip(value, -1) if value.ndim > 1 else value - 1}), actions)
        assert not np.array_equal(before.observation, after.observation) or not np.array_equal(
            before.reward, after.reward
        ), field


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("gridnavi", {"goal": [1, 1], "side": 5}, r"'goal' of gridnavi is \[1, 1\]; .*at least 2"),
        ("gridnavi", {"goal": [0, 5], "side": 5}, "both below the side, 5"),
        ("dark_room", {"goal": [0, -5], "radius": 4}, r"'goal' of dark_room is \[0, -5\]; .*radius, 4"),
        ("key_to_door", {"key": [0, 0], "door": [5, 0], "radius": 4}, "'door' of key_to_door"),
    ],
)
def test_places_outside_the_room_are_refused(name: str, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name).check_task(numbers)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gridnavi", {"side": 2}, "side is 2; it must be a whole number of at least 3: choose side=3"),
        ("gridnavi", {"steps": 0}, "steps is 0"),
        ("dark_room", {"radius": -1}, "radius is -1"),
        ("dark_room", {"episodes": 0}, "episodes is 0"),
        ("key_to_door", {"radius": 0}, "radius is 0; it must be a whole number of at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **options)
