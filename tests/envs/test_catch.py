"""The rules of Catch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.envs import make
from metarl_jax.envs.catch import CatchTask, State

LEFT, STAY, RIGHT = 0, 1, 2


def game(wind: float = 0.0, controls: int = 1, half_width: int = 0, speed: int = 1) -> CatchTask:
    return CatchTask(jnp.float32(wind), jnp.int32(controls), jnp.int32(half_width), jnp.int32(speed))


def place(row: int, ball: int, paddle: int) -> State:
    return State(jnp.int32(row), jnp.int32(ball), jnp.int32(paddle))


def after(step: Any) -> tuple[int, int, int]:
    return int(step.state.row), int(step.state.ball), int(step.state.paddle)


@pytest.mark.parametrize(
    ("task", "state", "action", "expected"),
    [
        (game(), (0, 3, 3), RIGHT, (1, 3, 4)),
        (game(controls=-1), (0, 3, 3), RIGHT, (1, 3, 2)),
        (game(controls=-1), (0, 3, 3), STAY, (1, 3, 3)),
        (game(speed=2), (2, 3, 3), LEFT, (4, 3, 2)),
        (game(wind=1.0), (0, 3, 3), STAY, (1, 4, 3)),
        (game(wind=-1.0), (0, 3, 3), STAY, (1, 2, 3)),
        (game(wind=-1.0), (0, 0, 0), LEFT, (1, 0, 0)),  # the left wall
        (game(wind=1.0), (0, 6, 6), RIGHT, (1, 6, 6)),  # the right one
        (game(speed=2), (8, 3, 3), STAY, (9, 3, 3)),  # the ground
    ],
)
def test_ball_and_paddle_move(task: CatchTask, state: tuple[int, ...], action: int, expected: tuple[int, ...]) -> None:
    step = make("catch").step(jax.random.key(0), place(*state), jnp.int32(action), task)
    assert after(step) == expected
    assert bool(step.terminated) == (expected[0] == 9)
    assert not step.truncated
    shown = np.zeros(24)
    shown[[expected[0], 10 + expected[1], 17 + expected[2]]] = 1
    assert np.array_equal(step.observation, shown)


@pytest.mark.parametrize(
    ("half_width", "paddle", "reward"), [(0, 3, 1.0), (0, 4, -1.0), (1, 4, 1.0), (1, 2, 1.0), (1, 5, -1.0)]
)
def test_a_landed_ball_pays(half_width: int, paddle: int, reward: float) -> None:
    environment, task = make("catch"), game(half_width=half_width)
    step = environment.step(jax.random.key(0), place(8, 3, paddle), jnp.int32(STAY), task)
    assert step.reward == reward
    assert environment.step(jax.random.key(0), place(7, 3, paddle), jnp.int32(STAY), task).reward == 0.0


def test_the_wind_blows_as_often_as_it_says() -> None:
    environment, n = make("catch"), 20_000
    keys = jax.random.split(jax.random.key(0), n)
    step = jax.vmap(lambda key: environment.step(key, place(0, 3, 3), jnp.int32(STAY), game(wind=-0.3)))(keys)
    share = np.mean(np.asarray(step.state.ball) == 2)
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n)
    assert set(np.unique(step.state.ball)) == {2, 3}


def test_the_storm_is_stronger_than_any_wind_of_training() -> None:
    environment, keys = make("catch"), jax.random.split(jax.random.key(0), 200)
    for split, low, high in (("train", 0.0, 0.5), ("test", 0.0, 0.5), ("extrapolation", 0.5, 0.9)):
        tasks = jax.vmap(lambda key, split=split: environment.sample_task(key, split))(keys)
        strength = np.abs(tasks.wind)
        assert np.all((strength >= low) & (strength <= high))
        for number, values in ((np.sign(tasks.wind), {-1, 1}), (tasks.controls, {-1, 1}), (tasks.speed, {1, 2})):
            assert set(np.unique(number)) == values


def test_dead_controls_are_refused() -> None:
    with pytest.raises(ValueError, match="'controls' of catch is 0; it must be 1 or -1"):
        make("catch").check_task(game(controls=0))


@pytest.mark.parametrize("options", [{"rows": 1}, {"columns": 1}, {"episodes": 0}])
def test_boards_without_room_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*whole number of at least"):
        make("catch", **options)
