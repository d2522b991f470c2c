"""Reference agents against published or computed constants, and against brute force on tiny cases."""

import functools
import itertools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.envs import ENVIRONMENTS, Bandit, CartPole, Maze, Navigation, RandomMDP, make
from metarl_jax.envs.cartpole import State, advance
from metarl_jax.envs.maze import MOVES, MazeTask, open_moves
from metarl_jax.oracles import bandit, cartpole, maze, navigation, reference, tabular
from metarl_jax.oracles.play import play


def draw(environment: Environment, n: int, seed: int = 1) -> Any:
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.jit(jax.vmap(lambda key: environment.draw_task(key, "train")))(keys)


def mean_and_error(values: Array) -> tuple[float, float]:
    sample = np.asarray(values, float)
    return float(sample.mean()), float(sample.std() / np.sqrt(sample.size))


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_environment_has_the_reference_it_names(name: str) -> None:
    environment = make(name)
    returns = reference(environment)
    assert environment.reference is not None
    assert returns is not None
    values = returns(jax.random.key(0), draw(environment, 3))
    assert values.shape == (3, environment.trial_episodes)
    assert values.dtype == jnp.float32
    assert np.all(np.isfinite(values))


def test_an_environment_without_a_reference_has_none() -> None:
    assert reference(Environment()) is None


# Navigation: the constants are sums over the goals that the paper published, and over the population.


def test_navigation_is_exact_on_the_published_goals() -> None:
    goals = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))
    returns = jax.vmap(lambda goal: navigation.best_return(Navigation(), Navigation.Task(goal)))(
        jnp.asarray(goals, float)
    )
    assert abs(float(returns.mean()) + 0.544) < 0.0005
    mean, error = mean_and_error(reference(Navigation())(jax.random.key(0), draw(Navigation(), 20_000))[:, 0])
    assert abs(mean + 0.510) < 4 * error + 0.0005


def test_navigation_bound_is_what_the_environment_pays() -> None:
    environment = Navigation()
    tasks = draw(environment, 50)

    def act(key: Key, state: Any, task: Any) -> Array:
        return task.goal - state.position

    played = jax.jit(jax.vmap(lambda task: play(environment, act, jax.random.key(0), task).total))(tasks)
    bound = jax.vmap(lambda task: navigation.best_return(environment, task))(tasks)
    np.testing.assert_allclose(played, bound, atol=1e-5)


def test_navigation_bound_is_not_beaten_by_a_grid_of_plans() -> None:
    """All plans of three moves of 0, .05 or .1 an axis, toward a goal three steps away."""
    environment, task = Navigation(steps=3), Navigation.Task(jnp.array([0.23, 0.14]))
    strides = np.array(list(itertools.product([0.0, 0.05, 0.1], repeat=6))).reshape(-1, 3, 2)
    distance = np.linalg.norm(np.cumsum(strides, axis=1) - np.asarray(task.goal), axis=-1)
    best = float(navigation.best_return(environment, task))
    assert best >= -distance.sum(axis=1).min() > best - 0.1


# Tabular processes.


def test_tabular_optimum_of_the_population() -> None:
    mean, error = mean_and_error(reference(RandomMDP())(jax.random.key(0), draw(RandomMDP(), 10_000))[:, 0])
    assert abs(mean - 21.837) < 3 * np.hypot(error, 0.016)


def test_tabular_optimum_is_the_best_of_all_policies() -> None:
    """Every deterministic policy of a process of 3 states, 2 actions and 3 steps, one table a step."""
    task = jax.tree.map(np.asarray, RandomMDP(states=3, actions=2).draw_task(jax.random.key(5), "train"))
    tables = list(itertools.product(range(2), repeat=3))
    best = max(policy_value(task, plan) for plan in itertools.product(tables, repeat=3))
    np.testing.assert_allclose(tabular.optimal_value(task, 3)[0], best, rtol=1e-5)


def policy_value(task: Any, plan: tuple[tuple[int, ...], ...]) -> float:
    chance, total = np.array([1.0, 0.0, 0.0]), 0.0
    for table in plan:
        total += float(sum(chance[s] * task.reward_mean[s, table[s]] for s in range(3)))
        chance = sum(chance[s] * task.transition[s, table[s]] for s in range(3))
    return total


# Bandits.


@pytest.mark.parametrize(("pulls", "arms", "value"), [(10, 5, 6.6600), (10, 10, 6.7140)])
def test_bayes_optimum_of_the_published_sizes(pulls: int, arms: int, value: float) -> None:
    assert abs(bandit.bayes_value(arms, pulls) - value) < 5e-5


@pytest.mark.parametrize(("arms", "pulls"), [(1, 4), (2, 1), (2, 5), (3, 4)])
def test_bayes_optimum_is_the_best_of_all_histories(arms: int, pulls: int) -> None:
    assert bandit.bayes_value(arms, pulls) == pytest.approx(float(tree_value(((0, 0),) * arms, pulls)), rel=1e-12)


def tree_value(counts: tuple[tuple[int, int], ...], left: int) -> Fraction:
    """The same optimum over the whole tree of histories, in fractions, nothing pooled."""
    if left == 0:
        return Fraction(0)
    values = []
    for i, (won, lost) in enumerate(counts):
        chance = Fraction(won + 1, won + lost + 2)
        up = tree_value((*counts[:i], (won + 1, lost), *counts[i + 1 :]), left - 1)
        down = tree_value((*counts[:i], (won, lost + 1), *counts[i + 1 :]), left - 1)
        values.append(chance * (1 + up) + (1 - chance) * down)
    return max(values)


@pytest.mark.parametrize(("rewards", "chance"), [("bernoulli", 5.0), ("gaussian", 0.0)])
def test_bandit_rows_are_in_order(rewards: Any, chance: float) -> None:
    """Chance < Thompson < known arms; for Bernoulli arms Bayes lies between the last two."""
    environment = Bandit(rewards=rewards)
    tasks, keys = draw(environment, 2_000), jax.random.split(jax.random.key(0), 2_000)
    known, _ = mean_and_error(reference(environment)(jax.random.key(0), tasks)[:, 0])
    choose = bandit.thompson(environment)
    play_all = jax.jit(jax.vmap(lambda key, task: bandit.expected_return(environment, choose, key, task)))
    thompson, error = mean_and_error(play_all(keys, tasks))
    blind, blind_error = mean_and_error(jax.vmap(lambda task: bandit.random_return(environment, task))(tasks))
    assert abs(blind - chance) < 4 * blind_error
    assert blind + 0.5 < thompson < known - 1.0
    if rewards == "bernoulli":
        assert thompson + 4 * error < bandit.bayes_value(5, 10) < known
        assert abs(thompson - 5.82) < 4 * error  # 20,000 tasks; 5.7 is published for 1,000 of them


# CartPole.


@functools.cache
def control(physics: Any, flip: bool, nominal: bool) -> tuple[float, float]:
    environment = CartPole(physics=physics, flip=flip, episodes=1)
    tasks, keys = draw(environment, 200), jax.random.split(jax.random.key(2), 200)

    def one(key: Key, task: Any) -> Array:
        believed = cartpole.nominal_task() if nominal else task
        return cartpole.control_return(environment, believed, key, task)

    return mean_and_error(jax.jit(jax.vmap(one))(keys, tasks))


def test_known_physics_balance_the_pole() -> None:
    assert control("mild", True, False)[0] == 500.0
    assert control("wide", True, False)[0] > 488.0  # 496.3 over 2,000 tasks


def test_nominal_physics_do_not() -> None:
    """Half of the tasks swap the actions, and what balances the one half topples the other."""
    mean, error = control("mild", True, True)
    assert mean + 5 * error < 400.0


def test_the_gain_solves_the_riccati_equation() -> None:
    task = CartPole(physics="wide").draw_task(jax.random.key(3), "train")

    def move(numbers: Array, force: Array) -> Array:
        return cartpole.vector(advance(State(*numbers, time=jnp.int32(0)), force, task))  # type: ignore[misc]

    a, b = (np.asarray(m, float) for m in jax.jacobian(move, argnums=(0, 1))(jnp.zeros(4), jnp.float32(0.0)))
    cost = np.diag(cartpole.STATE_COST)
    p = scipy.linalg.solve_discrete_are(a, b[:, None], cost, np.array([[cartpole.FORCE_COST]]))
    np.testing.assert_allclose(cartpole.feedback(task), b @ p @ a / (cartpole.FORCE_COST + b @ p @ b), rtol=1e-3)


# Mazes.


@functools.cache
def explored(openings: float) -> tuple[Any, np.ndarray, np.ndarray]:
    """300 mazes with the explorer's steps [300, 10] and the shortest ones [300]."""
    environment = Maze(openings=openings)
    tasks = draw(environment, 300)
    both = jax.jit(jax.vmap(lambda task: (maze.explorer_steps(environment, task), maze.shortest_steps(task))))
    explorer, shortest = both(tasks)
    return jax.tree.map(np.asarray, tasks), np.asarray(explorer), np.asarray(shortest)


def test_the_explorer_learns_from_its_first_attempt() -> None:
    _, explorer, shortest = explored(0.1)
    assert np.all(np.diff(explorer, axis=1) <= 0)
    assert np.all(explorer >= shortest[:, None])
    ratio = (explorer / shortest[:, None]).mean(axis=0)
    assert ratio[0] > 1.5  # 2.01 over 4,096 mazes
    assert 1.0 < ratio[2] < 1.08  # 1.048


def test_in_a_tree_the_explorer_walks_the_shortest_path_from_attempt_two() -> None:
    _, explorer, shortest = explored(0.0)
    assert np.array_equal(explorer[:, 1:], np.broadcast_to(shortest[:, None], (300, 9)))
    assert np.any(explorer[:, 0] > shortest)


def test_the_first_attempt_is_a_depth_first_search() -> None:
    tasks, explorer, _ = explored(0.1)
    for i in range(100):
        assert explorer[i, 0] == depth_first_steps(jax.tree.map(lambda leaf, i=i: leaf[i], tasks))


def depth_first_steps(task: MazeTask) -> int:
    """The same explorer on a plain stack."""
    n, stack, seen, steps = int(task.size), [(0, 0)], {(0, 0)}, 0
    while stack[-1] != (n - 1, n - 1):
        row, column = stack[-1]
        gain = {0: -(n - 1 - row), 1: n - 1 - column, 2: n - 1 - row, 3: -(n - 1 - column)}
        is_open = {
            0: row > 0 and task.down[row - 1, column],
            1: task.right[row, column],
            2: task.down[row, column],
            3: column > 0 and task.right[row, column - 1],
        }
        fresh = [m for m in range(4) if is_open[m] and (row + MOVES[m][0], column + MOVES[m][1]) not in seen]
        steps += 1
        if not fresh:
            stack.pop()
            continue
        best = max(fresh, key=lambda m: (gain[m], -m))
        stack.append((row + MOVES[best][0], column + MOVES[best][1]))
        seen.add(stack[-1])
    return steps


def test_too_short_a_clock_leaves_the_explorer_inside() -> None:
    environment = Maze(steps=11)  # the shortest path takes at least 12
    steps = jax.vmap(lambda task: maze.explorer_steps(environment, task))(draw(environment, 3))
    assert np.all(np.isinf(steps))
    returns = reference(environment)(jax.random.key(0), draw(environment, 3))
    np.testing.assert_allclose(returns, -0.11, rtol=1e-5)


def test_the_maze_reference_is_what_the_environment_pays() -> None:
    environment = Maze()
    tasks = draw(environment, 50)

    def walk(task: Tree) -> Array:
        distance = maze.exit_distances(task)

        def act(key: Key, state: Any, task: Any) -> Array:
            cells = jnp.stack([state.row, state.column]) + jnp.asarray(MOVES)
            ahead = jnp.where(open_moves(task, state.row, state.column), distance[cells[:, 0], cells[:, 1]], jnp.inf)
            return jnp.argmin(ahead)

        return play(environment, act, jax.random.key(0), task).total

    expected = reference(environment)(jax.random.key(0), tasks)
    np.testing.assert_allclose(jax.jit(jax.vmap(walk))(tasks), expected[:, 0], atol=1e-5)


def test_the_random_walk_is_lost() -> None:
    environment = Maze()
    keys = jax.random.split(jax.random.key(0), 300)
    walks = jax.jit(jax.vmap(lambda key, task: maze.random_walk(environment, key, task)))(keys, draw(environment, 300))
    assert 0.0 < np.mean(walks.terminated) < 0.2  # 5.9 % get out within 140 steps
    assert np.all(walks.steps[~walks.terminated] == environment.horizon)
