"""Known and hidden goals in GridNavi, Dark Room and Key-to-Door: what their oracles claim."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import distinct, drawn
from walks import perform

from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs import DarkRoom, GridNavi, KeyToDoor
from metarl_jax.envs.dark_room import DarkRoomTask
from metarl_jax.envs.grid import MOVES, Place
from metarl_jax.envs.gridnavi import CORNER, GridNaviTask, cells_between
from metarl_jax.envs.room import cells
from metarl_jax.oracles import dark_room, gridnavi, hunt, key_to_door, reference
from metarl_jax.oracles.play import play


def aim(state: Any, task: Any) -> Array:
    return jnp.where(state.has_key, task.door, task.key) if hasattr(task, "door") else task.goal


@pytest.mark.parametrize("split", ["train", "extrapolation"])
@pytest.mark.parametrize(
    "environment",
    [GridNavi(), GridNavi(steps=5), DarkRoom(), DarkRoom(steps=5), DarkRoom(hard=True, steps=9), KeyToDoor(steps=9)],
    ids=lambda e: f"{e.name}-{e.steps}",
)
def test_the_reference_is_what_the_environment_pays(environment: Any, split: Split) -> None:
    tasks, n = drawn(environment, split), 2_000

    def walk(key: Key, task: Any) -> Array:
        return play(
            environment, lambda key, state, task: hunt.toward(key, state.place, aim(state, task)), key, task
        ).total

    played = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(3), n), tasks)
    claimed = reference(environment)(jax.random.key(0), tasks)
    np.testing.assert_allclose(np.broadcast_to(played[:, None], claimed.shape), claimed, atol=1e-5)


def test_known_goals_have_their_published_returns() -> None:
    on_board = jnp.array(cells_between(CORNER, 5))
    known = jax.vmap(lambda goal: gridnavi.best_return(GridNavi(), GridNaviTask(goal, jnp.int32(5))))(on_board)
    assert abs(4 * float(known.mean()) - 44.286) < 1e-3
    in_room = jnp.array(cells(4))
    returns = jax.vmap(lambda goal: dark_room.best_return(DarkRoom(), DarkRoomTask(goal, jnp.int32(4))))(in_room)
    assert abs(float(returns.mean()) - 16.543) < 1e-3
    withheld = np.array([goal in distinct(drawn(DarkRoom(), "test").goal) for goal in cells(4)])
    assert abs(float(returns[withheld].mean()) - 16.6) < 1e-3  # the goals of the test are no easier
    for start in (False, True):
        environment = KeyToDoor(random_start=start)
        values = jax.vmap(functools.partial(key_to_door.best_return, environment))(drawn(environment, "extrapolation"))
        assert np.all(values == 2.0)


def belief_value(places: list[Place], start: Place, goals: list[Place], steps: int, episodes: int, pay: Any) -> float:
    """The Bayes optimum by induction over everything that an agent can know, all five actions at every step.

    `pay(on_goal, paid)` is the reward of a step, `paid` whether the goal was stepped on before in this episode.
    """

    @functools.cache
    def value(possible: frozenset[Place], place: Place, paid: bool, clock: int) -> float:
        if clock == steps * episodes:
            return 0.0
        return max(after(possible, move(place, action), paid, clock) for action in MOVES)

    def move(place: Place, action: Place) -> Place:
        ahead = (place[0] + action[0], place[1] + action[1])
        return ahead if ahead in places else place

    def after(possible: frozenset[Place], place: Place, paid: bool, clock: int) -> float:
        ends = (clock + 1) % steps == 0
        chance = 1 / len(possible) if place in possible else 0.0
        total = 0.0
        for probability, on_goal in ((chance, True), (1 - chance, False)):
            if probability > 0:
                belief = frozenset([place]) if on_goal else possible - {place}
                state = (start, False) if ends else (place, paid or on_goal)
                total += probability * (pay(on_goal, paid) + value(belief, *state, clock + 1))
        return total

    return value(frozenset(goals), start, False, 0)


@pytest.mark.parametrize(("side", "steps", "episodes"), [(3, 4, 2), (3, 3, 3), (4, 5, 2)])
def test_gridnavi_optimum_is_the_best_of_all_policies(side: int, steps: int, episodes: int) -> None:
    board, goals = cells_between(0, side), cells_between(CORNER, side)
    best = belief_value(board, (0, 0), goals, steps, episodes, lambda on_goal, paid: 1.0 if on_goal else -0.1)
    claimed = gridnavi.bayes_returns(GridNavi(side=side, steps=steps, episodes=episodes))
    assert claimed.sum() == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("hard", [False, True])
def test_dark_room_optimum_lies_between_its_bounds(hard: bool) -> None:
    environment = DarkRoom(radius=1, hard=hard, steps=4, episodes=2)
    problem = dark_room.search(environment)
    best = belief_value(cells(1), (0, 0), cells(1), 4, 2, lambda on_goal, paid: float(on_goal and not (hard and paid)))
    assert hunt.paying_steps(problem, hunt.best_walk(problem)).sum() == pytest.approx(best, abs=1e-9)
    assert dark_room.search_returns(environment).sum() <= best + 1e-9 <= dark_room.upper_bound(environment) + 2e-9


def test_the_gridnavi_optimum_has_its_published_value() -> None:
    """4.000 in the first episode, and in the others what an agent that knows the goal gets."""
    np.testing.assert_allclose(gridnavi.bayes_returns(GridNavi()), [4.0, *[44.286 / 4] * 3], atol=1e-3)
    assert abs(gridnavi.bayes_returns(GridNavi()).sum() - 37.214) < 1e-3


def test_posterior_sampling_and_chance_have_their_published_returns() -> None:
    environment, n = GridNavi(), 8_000
    tasks, keys = drawn(environment, "train", n), jax.random.split(jax.random.key(4), n)
    sampling = jax.jit(jax.vmap(functools.partial(gridnavi.posterior_sampling_returns, environment)))(keys, tasks)
    total = np.asarray(sampling.sum(axis=1))
    assert abs(total.mean() - 11.58) < 4 * total.std() / np.sqrt(n)
    assert np.all(np.diff(sampling.mean(axis=0)) > 1.0)
    blind = np.asarray(jax.jit(jax.vmap(functools.partial(gridnavi.random_return, environment)))(keys, tasks))
    assert abs(blind.mean() + 1.1655) < 4 * blind.std() / np.sqrt(n)


@pytest.mark.parametrize(("episodes", "width", "published"), [(1, 1, 2.59), (2, 50, 9.58), (10, 10, 132.6)])
def test_dark_room_search_is_no_worse_than_published(episodes: int, width: int, published: float) -> None:
    environment = DarkRoom(episodes=episodes)
    found, most = dark_room.search_returns(environment, width).sum(), dark_room.upper_bound(environment)
    assert published <= found <= most < 1.03 * found
    if episodes == 1:
        assert found == most == pytest.approx(210 / 81)  # a new cell at every step: no policy does better


@pytest.mark.parametrize(
    "environment",
    [GridNavi(), DarkRoom(radius=2, steps=8, episodes=3), DarkRoom(radius=2, hard=True, steps=6, episodes=4)],
    ids=["gridnavi", "dark_room", "hard"],
)
def test_the_search_is_what_the_environment_pays(environment: Any) -> None:
    """For every goal: along the walk up to the goal, there to the end of the episode, straight there ever after."""
    if isinstance(environment, GridNavi):
        board, goals = cells_between(0, environment.side), cells_between(CORNER, environment.side)
        problem = hunt.Hunt(board, (0, 0), goals, environment.steps, environment.episodes, environment.steps)
        walk, size, claimed = hunt.best_walk(problem), environment.side, gridnavi.bayes_returns(environment)
    else:
        problem = dark_room.search(environment)
        walk, size, claimed = hunt.good_walk(problem, 10), environment.reach, dark_room.search_returns(environment)
    plans = [plan(environment, [problem.places[cell] for cell in walk], goal) for goal in problem.goals]
    tasks = environment.Task(jnp.array(problem.goals), jnp.full(len(plans), size))
    play_all = jax.vmap(jax.vmap(functools.partial(perform, environment), in_axes=(None, 0)))
    rewards = jax.jit(play_all)(tasks, jnp.array(plans)).reward  # [goals, E, T]
    np.testing.assert_allclose(rewards.sum(axis=-1).mean(axis=0), claimed, rtol=1e-5)


def plan(environment: Any, walk: list[Place], goal: Place) -> list[list[int]]:
    """The actions [E, T] of an agent that searches along `walk`."""
    episodes, known = [], False
    for episode in range(environment.episodes):
        ahead = walk[episode * environment.steps : (episode + 1) * environment.steps]
        place, actions = (0, 0), []
        for time in range(environment.steps):
            target = goal if known else ahead[time] if time < len(ahead) else place
            gap = (int(np.sign(target[0] - place[0])), int(np.sign(target[1] - place[1])))
            action = (gap[0], 0) if gap[0] else (0, gap[1])
            place = (place[0] + action[0], place[1] + action[1])
            actions.append(MOVES.index(action))
            known = known or place == goal
        episodes.append(actions)
    return episodes
