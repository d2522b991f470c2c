"""gymnax's environments as distributions of tasks: what every one of them keeps, and what each law means."""

import copy
import functools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.test_envs import draw_action, same, signature
from metarl_jax.core.environment import Box, is_held_out
from metarl_jax.core.types import SPLITS, Array, Key, Step, Tree
from metarl_jax.envs import ADAPTED, ENVIRONMENTS, from_gymnax, make
from metarl_jax.envs.adapter import Adapted
from metarl_jax.envs.adapter.laws import read
from metarl_jax.envs.adapter.peer import frozen_fields, peer_of
from metarl_jax.experiment.catalogue import catalogue
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.config import RunConfig, resolve
from metarl_jax.experiment.errors import UsageError

KINDS = (  # one of each kind by default: physics with vectors, physics, a game, a grid, a maze, a chain, a bandit
    "Pendulum-v1",
    "CartPole-v1",
    "Catch-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "MemoryChain-bsuite",
    "BernoulliBandit-misc",
)
HEAVY = set(ADAPTED) - {f"gymnax/{name}" for name in KINDS}
TASKS, LONGEST = 64, 60  # many short walks: some of them meet what is rare
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in ADAPTED]
every_environment = pytest.mark.parametrize("name", NAMES)


@functools.cache
def variant(name: str) -> Adapted:
    """The curated family with a clock short enough to test."""
    kind = ADAPTED[name]
    return kind(steps=min(LONGEST, kind.steps))


def of_many(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled, of a batch. It answers in NumPy: to look at that compiles nothing."""
    compiled = jax.jit(jax.vmap(function))
    return lambda *arguments: jax.device_get(compiled(*arguments))


class Walk(NamedTuple):
    """What was given to every step of a random walk over episode ends, and what came of it."""

    key: Array  # its words
    state: Any
    action: Array
    step: Step


def walk(environment: Adapted, key: Key, task: Tree) -> Walk:
    def advance(state: Any, key: Key) -> tuple[Any, Walk]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        action = draw_action(environment, act_key)
        step = environment.step(step_key, state, action, task)
        fresh = environment.reset(reset_key, task)[1]
        over = step.terminated | step.truncated
        return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, step.state), Walk(
            jax.random.key_data(step_key), state, action, step
        )

    start_key, key = jax.random.split(key)
    start = environment.reset(start_key, task)[1]
    return jax.lax.scan(advance, start, jax.random.split(key, max(20, environment.horizon + 1)))[1]


@functools.cache
def walker(name: str) -> Any:
    return of_many(functools.partial(walk, variant(name)))


@functools.cache
def some_tasks(name: str, split: Any = "train") -> Tree:
    sample = of_many(lambda key: variant(name).sample_task(key, split))
    return sample(jax.random.split(jax.random.key(7), 300))


def few_tasks(name: str) -> Tree:
    return jax.tree.map(lambda leaf: leaf[:TASKS], some_tasks(name))


def one_task(name: str, i: int = 0) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], some_tasks(name))


def differs(task: Any, tasks: Any) -> np.ndarray:
    """Which tasks have no number in common with this one."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(task, tasks, strict=True)]
    return np.all([np.any(np.reshape(b != a, (len(b), -1)), axis=1) for a, b in pairs], axis=0)


def repeated(task: Tree) -> Tree:
    return jax.tree.map(lambda leaf: np.stack([leaf] * TASKS), task)


@functools.cache
def trajectories(name: str) -> Walk:
    return walker(name)(jax.random.split(jax.random.key(1), TASKS), few_tasks(name))


def test_every_gymnax_environment_that_needs_no_download_is_adapted() -> None:
    import gymnax

    assert set(ADAPTED) == {f"gymnax/{name}" for name in gymnax.registered_envs} - {"gymnax/MNISTBandit-bsuite"}
    assert len(ADAPTED) == 25


def test_adapted_environments_are_listed_separately() -> None:
    found = catalogue()
    assert [entry["name"] for entry in found["adapted"]] == list(ADAPTED)
    assert not set(ADAPTED) & set(ENVIRONMENTS)
    assert all(entry["summary"] and entry["splits"] == list(SPLITS) for entry in found["adapted"])


def test_gymnax_is_imported_only_when_used() -> None:
    program = (
        "import sys; from metarl_jax.envs import ADAPTED; from metarl_jax.experiment.catalogue import catalogue;"
        "catalogue(); sys.exit('gymnax' in sys.modules or 'gymnasium' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@every_environment
def test_shapes_and_types_are_stable(name: str) -> None:
    environment, key, space = variant(name), jax.random.key(0), variant(name).action_space
    assert hash(environment) == hash(copy.copy(environment))
    assert set(environment.limits) == set(environment.Task._fields)
    task = jax.eval_shape(lambda key: environment.sample_task(key, "train"), key)
    action = jax.ShapeDtypeStruct(space.shape, space.dtype)
    observation, state = jax.eval_shape(environment.reset, key, task)
    step = jax.eval_shape(environment.step, key, state, action, task)
    assert signature(observation) == signature(step.observation) == (environment.observation_space.shape, jnp.float32)
    assert signature(state) == signature(step.state)
    assert signature(step.reward) == ((), jnp.float32)
    assert signature(step.terminated) == signature(step.truncated) == ((), jnp.bool_)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((observation, state, step, task)))


@every_environment
def test_splits_are_legal_and_disjoint(name: str) -> None:
    environment = variant(name)
    held_out, outside = of_many(is_held_out), of_many(environment.extrapolates)
    assert not np.any(held_out(some_tasks(name, "train")))
    assert np.all(held_out(some_tasks(name, "test")))
    assert [bool(np.any(outside(some_tasks(name, split)))) for split in SPLITS] == [False, False, True]
    assert np.all(outside(some_tasks(name, "extrapolation")))
    assert len(np.unique(np.concatenate([np.reshape(x, (300, -1)) for x in some_tasks(name)], axis=1), axis=0)) > 20
    for split in SPLITS:
        assert signature(some_tasks(name, split)) == signature(some_tasks(name))
        for field, (low, high) in environment.limits.items():
            values = getattr(some_tasks(name, split), field)
            assert np.all((values >= np.float32(low)) & (values <= np.float32(high))), field
        task = jax.tree.map(lambda leaf: leaf[0], some_tasks(name, split))
        assert same(environment.check_task(task), task)


@every_environment
def test_observations_are_finite_and_inside_the_space(name: str) -> None:
    steps, space = trajectories(name).step, variant(name).observation_space
    assert np.all(np.isfinite(steps.observation))
    assert np.all(np.isfinite(steps.reward))
    assert np.all((steps.observation >= np.float32(space.low)) & (steps.observation <= np.float32(space.high)))


def at_the_edges(name: str) -> Tree:
    """Tasks whose numbers lie at either end of what is legal, each by chance."""
    environment, drawn, chance = variant(name), few_tasks(name)._asdict(), np.random.default_rng(0)
    for field, ends in environment.limits.items():
        if field not in ("controls", environment.family.places):
            side = chance.integers(2, size=(TASKS, *[1] * (drawn[field].ndim - 1)))
            ends = np.array(ends, drawn[field].dtype)
            drawn[field] = np.broadcast_to(ends[side], drawn[field].shape)
    return environment.Task(**drawn)


@every_environment
def test_observations_are_finite_at_the_edges_of_the_legal_range(name: str) -> None:
    space, tasks = variant(name).observation_space, at_the_edges(name)
    steps = walker(name)(jax.random.split(jax.random.key(9), TASKS), tasks).step
    assert np.all(np.isfinite(steps.observation))
    assert np.all(np.isfinite(steps.reward))
    assert np.all((steps.observation >= np.float32(space.low)) & (steps.observation <= np.float32(space.high)))


@every_environment
def test_episodes_end_within_the_horizon_and_for_one_reason(name: str) -> None:
    environment, steps = variant(name), trajectories(name).step
    assert not np.any(steps.terminated & steps.truncated)
    assert np.max(trajectories(name).state.time) < environment.horizon
    assert np.all(steps.truncated == (steps.state.time == environment.horizon) & ~steps.terminated)
    assert np.all(np.any(steps.terminated | steps.truncated, axis=1))


@every_environment
def test_the_key_decides_everything_and_every_task_number_counts(name: str) -> None:
    task, keys = one_task(name), jax.random.split(jax.random.key(4), TASKS)[np.array([0, 0, *range(2, TASKS)])]
    before = walker(name)(keys, repeated(task)).step
    other = jax.tree.map(lambda leaf: leaf[np.flatnonzero(differs(task, some_tasks(name)))[0]], some_tasks(name))
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], before) for i in range(3)]
    assert same(lanes[0], lanes[1])
    assert not same(lanes[0], lanes[2])
    for field in task._fields:
        others = repeated(task._replace(**{field: getattr(other, field)}))
        after = walker(name)(keys, others).step
        felt = [(before.observation, after.observation), (before.reward, after.reward)]
        assert not all(np.array_equal(a, b) for a, b in felt), field


@every_environment
def test_a_batch_of_steps_equals_a_loop(name: str) -> None:
    single = jax.jit(lambda key, *given: variant(name).step(jax.random.wrap_key_data(key), *given))
    for lane, time in ((0, 0), (1, 3), (2, 7)):
        given = jax.tree.map(lambda leaf, lane=lane, time=time: leaf[lane, time], trajectories(name))
        one = single(given.key, given.state, given.action, one_task(name, lane))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, given.step)


@every_environment
def test_a_step_is_gymnaxs_with_the_same_parameters_and_key(name: str) -> None:
    environment, given = variant(name), jax.tree.map(lambda leaf: leaf[:, 4], trajectories(name))
    observation, reward, terminated = of_many(functools.partial(gymnax_step, environment))(given, few_tasks(name))
    np.testing.assert_allclose(given.step.reward, reward, rtol=1e-5, atol=1e-6)
    if name != "gymnax/MetaMaze-misc":  # which ends falsely
        np.testing.assert_array_equal(given.step.terminated, terminated)
    if name == "gymnax/FrozenLake-misc":  # shown one-hot
        observation = np.eye(16)[observation]
    shown = np.delete(observation.reshape(TASKS, -1), list(environment.hidden), axis=1)
    np.testing.assert_allclose(given.step.observation, shown, rtol=1e-5, atol=1e-6)


def gymnax_step(environment: Adapted, given: Walk, task: Any) -> Any:
    """The same step by gymnax alone, its parameters and state put together here by hand."""
    peer, params = peer_of(environment.family)
    numbers, action = task._asdict(), given.action
    chosen = {field: numbers[field] for field in numbers if hasattr(params, field)}
    frozen = {field: value for field, value in numbers.items() if getattr(given.state.inner, field, 0) is None}
    params = params.replace(max_steps_in_episode=jnp.asarray(environment.steps), **chosen)
    if peer.name == "CartPole-v1":
        params = params.replace(total_mass=params.masscart + params.masspole)
        params = params.replace(polemass_length=params.masspole * params.length)
    if peer.name == "Acrobot-v1":
        params = params.replace(link_com_pos_1=params.link_length_1 / 2)
    if peer.name == "BernoulliBandit-misc":
        params = params.replace(t_max=environment.steps)
    if environment.sticky:
        action = given.step.state.last_action
    elif environment.permuted:
        action = task.controls[action]
    elif isinstance(environment.action_space, Box):
        action = jnp.clip(action, environment.action_space.low, environment.action_space.high)
    key = jax.random.wrap_key_data(given.key)
    key = jax.random.split(key)[0] if environment.sticky else key
    answer = peer.step_env(key, given.state.inner.replace(**frozen), action, jax.tree.map(jnp.asarray, params))
    return answer[0], answer[2], answer[3]


@every_environment
def test_reset_never_changes_the_task(name: str) -> None:
    """What gymnax would draw anew at each reset is not in the state, and so it is the task's for a lifetime."""
    environment, tasks = variant(name), few_tasks(name)
    frozen = frozen_fields(environment)
    same_but_frozen = repeated(one_task(name))._replace(**{field: getattr(tasks, field) for field in frozen})
    states = of_many(functools.partial(environment.reset, jax.random.key(2)))(same_but_frozen)[1]
    assert all(getattr(states.inner, field) is None for field in frozen)
    for leaf in jax.tree.leaves(states):
        assert np.all(leaf == leaf[:1])


def test_frozen_fields_show_the_same_at_every_reset() -> None:
    environment, task = variant("gymnax/Swimmer-misc"), one_task("gymnax/Swimmer-misc")
    seen = jax.jit(jax.vmap(environment.reset, (0, None)))(jax.random.split(jax.random.key(0), 50), task)[0]
    np.testing.assert_array_equal(seen[:, :10], np.broadcast_to(np.ravel(task.urchin_xys), (50, 10)))
    assert len(np.unique(seen[:, 10:12], axis=0)) == 50  # where it starts is drawn anew
    assert seen.shape == (50, 14)  # and the goal is hidden


def test_the_maze_goes_on_when_the_respawn_lands_on_the_goal() -> None:
    environment, task = make("gymnax/MetaMaze-misc"), one_task("gymnax/MetaMaze-misc")._replace(goal=jnp.array([1, 2]))
    _, state = jax.jit(environment.reset)(jax.random.key(0), task)
    state = state._replace(inner=state.inner.replace(pos=jnp.array([1, 1])))
    keys = jax.random.split(jax.random.key(0), 500)
    steps = jax.jit(jax.vmap(environment.step, (0, None, None, None)))(keys, state, jnp.int32(1), task)
    assert np.any(np.all(steps.state.inner.pos == np.array([1, 2]), axis=1))
    assert np.all(steps.reward == task.reward)
    assert not np.any(steps.terminated)


def test_goals_of_the_four_rooms_are_many_and_open() -> None:
    environment, tasks = variant("gymnax/FourRooms-misc"), some_tasks("gymnax/FourRooms-misc")
    assert len(np.unique(tasks.goal, axis=0)) > 60
    with pytest.raises(ValueError, match=r"'goal' of gymnax/FourRooms-misc is \[6 1\], inside a wall"):
        environment.check_task(one_task("gymnax/FourRooms-misc")._replace(goal=np.array([6, 1])))


def test_controls_are_permuted_and_stick() -> None:
    environment, name = variant("gymnax/Catch-bsuite"), "gymnax/Catch-bsuite"
    task = one_task(name)._replace(controls=jnp.array([2, 0, 1]), stickiness=jnp.float32(0.0))
    _, state = environment.reset(jax.random.key(0), task)
    places = [
        int(environment.step(jax.random.key(0), state, jnp.int32(a), task).state.inner.paddle_x) for a in range(3)
    ]
    assert places == [3, 1, 2]  # right, left, stay
    first = environment.step(jax.random.key(0), state, jnp.int32(1), task).state
    step = jax.vmap(environment.step, (0, None, None, None))
    after = step(jax.random.split(jax.random.key(1), 4000), first, jnp.int32(0), task._replace(stickiness=0.25))
    stuck = np.asarray(after.state.inner.paddle_x) == 0
    assert abs(stuck.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    np.testing.assert_array_equal(after.state.last_action, np.where(stuck, 0, 2))


def test_actions_outside_their_space_are_refused_or_clipped() -> None:
    environment, task = variant("gymnax/CartPole-v1"), one_task("gymnax/CartPole-v1")
    _, state = environment.reset(jax.random.key(0), task)
    with pytest.raises(ValueError, match=r"action 2 of gymnax/CartPole-v1 is none of 0 \.\.\. 1"):
        environment.step(jax.random.key(0), state, jnp.int32(2), task)
    step = jax.jit(environment.step)
    assert same(step(jax.random.key(0), state, jnp.int32(2), task), step(jax.random.key(0), state, jnp.int32(1), task))


def test_the_time_limit_is_that_of_the_options() -> None:
    environment = make("gymnax/Pendulum-v1", steps=2)
    task = one_task("gymnax/Pendulum-v1")
    _, state = jax.jit(environment.reset)(jax.random.key(0), task)
    flags, advance = [], jax.jit(environment.step)
    for _ in range(2):
        step = advance(jax.random.key(0), state, jnp.zeros(1), task)
        state, flags = step.state, [*flags, (bool(step.terminated), bool(step.truncated))]
    assert flags == [(False, False), (False, True)]


def test_ranges_and_frozen_fields_can_be_chosen() -> None:
    environment = from_gymnax(
        "PointRobot-misc", {"goal_radius": (0.1, 0.2), "dense_reward": "choice 0 1"}, {"goal": (-1.0, 1.0)}, steps=7
    )
    assert environment.laws == ("goal_radius uniform 0.1 0.2", "dense_reward choice 0 1", "goal frozen -1.0 1.0")
    tasks = jax.jit(jax.vmap(lambda key: environment.sample_task(key, "train")))(
        jax.random.split(jax.random.key(0), 50)
    )
    assert tasks._fields == ("goal_radius", "dense_reward", "goal")
    assert set(np.asarray(tasks.dense_reward).tolist()) == {False, True}
    np.testing.assert_allclose(np.linalg.norm(tasks.goal, axis=1), 1.0, rtol=1e-5)
    assert environment.horizon == 7


def doubled(params: Any) -> Any:
    return params.replace(m=2 * params.l)


def test_a_hook_recomputes_what_follows() -> None:
    environment = from_gymnax("Pendulum-v1", {"l": (0.5, 1.5)}, derive=doubled)
    task = environment.draw_task(jax.random.key(0), "train")
    assert environment.params(task).m == 2 * task.l
    again = pickle.loads(pickle.dumps(environment))
    assert again == environment
    assert type(again) is type(environment)
    assert copy.deepcopy(environment) == environment


def test_an_environment_registered_by_the_user_is_adapted() -> None:
    import gymnax
    from gymnax.environments.misc import FrozenLake

    name = "TestLake-misc"
    if name not in gymnax.registered_envs:
        gymnax.register(name, functools.partial(FrozenLake, map_name="8x8", is_slippery=False))
    environment = from_gymnax(name, sticky=0.2, permuted=True)
    assert environment.horizon == 200
    assert environment.observation_space.shape == (64,)


LAWS: list[tuple[str, tuple[str, ...], str]] = [
    ("Pendulum-v1", ("l uniform 0.5",), "'l uniform 0.5' makes no sense; write 'l uniform LOW HIGH"),
    ("Pendulum-v1", ("l uniform 2 1",), "LEAST <= LOW < HIGH <= MOST"),
    ("Pendulum-v1", ("l uniform 0.5 1 beyond 0.7 2",), "LEAST <= LOW < HIGH <= MOST"),
    ("Pendulum-v1", ("l unifrom 0.5 1",), "unknown law of 'l' 'unifrom'.*did you mean 'uniform'"),
    ("Pendulum-v1", ("l uniform 0.5 long",), "holds a word that is not a number"),
    ("Pendulum-v1", ("l uniform 0.5 inf",), "not finite"),
    ("Pendulum-v1", ("l log_uniform -1 2",), "above 0 if log-uniform"),
    ("Pendulum-v1", ("l",), "too short"),
    ("Pendulum-v1", ("l uniform -1 1",), "law of 'l' reaches -2; it must stay above 0"),
    ("Pendulum-v1", ("dt uniform 0 0.1",), "law of 'dt' reaches 0; it must stay above 0"),
    ("Pendulum-v1", ("length uniform 1 2",), "has no number 'length' to draw; it has max_speed"),
    ("Pendulum-v1", ("max_steps_in_episode uniform 1 2",), "is the time limit, not a task number; set steps"),
    ("Pendulum-v1", ("l uniform 1 2", "l uniform 1 3"), "two laws .* draw the same number"),
    ("Pendulum-v1", ("l choice 1 2",), "has 2 tasks; a split needs at least 40"),
    ("Pendulum-v1", ("theta frozen -1 1", "l choice 1 2"), "has 2 tasks"),
    ("CartPole-v1", ("total_mass uniform 1 2",), "'total_mass' of gymnax/CartPole-v1 is derived from other numbers"),
    ("PointRobot-misc", ("dense_reward uniform 0 1",), "is a switch; write 'dense_reward choice 0 1'"),
    ("MemoryChain-bsuite", ("memory_length uniform 1.5 60",), "is an integer, but its law has"),
    ("MemoryChain-bsuite", ("memory_length log_uniform 1 60",), "is an integer; write uniform, not log_uniform"),
    ("MemoryChain-bsuite", ("memory_length uniform 0 60",), "reaches 0; it must stay above 0"),
    ("FourRooms-misc", ("fail_prob frozen 0 1",), "has no number 'fail_prob' to draw; it has pos, goal"),
]


@pytest.mark.parametrize(("name", "laws", "message"), LAWS)
def test_laws_that_make_no_sense_are_refused(name: str, laws: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_gymnax(name, laws=laws)


OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("Pendulum-v1", {"permuted": True}, "permuted has no meaning for gymnax/Pendulum-v1, whose actions are vectors"),
    ("Pendulum-v1", {"sticky": 0.1}, "sticky has no meaning"),
    ("CartPole-v1", {"sticky": 0.7}, r"sticky is 0.7; it must lie in \[0, 0.5\]"),
    ("CartPole-v1", {"hidden": (4,)}, r"hidden is \(4,\); it must be some of the entries 0 ... 3"),
    ("CartPole-v1", {"hidden": (0, 1, 2, 3)}, "leave at least one visible"),
    ("CartPole-v1", {"steps": 0}, "steps is 0"),
    ("Breakout-MinAtar", {"sticky": 0.0}, "gymnax/Breakout-MinAtar has 6 tasks; a split needs at least 40"),
    ("Breakout", {"sticky": 0.1}, "gymnax has no environment 'Breakout'.*did you mean 'Breakout-MinAtar'"),
    ("MNISTBandit-bsuite", {"sticky": 0.1}, "downloads its data"),
]


@pytest.mark.parametrize(("name", "options", "message"), OPTIONS)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_gymnax(name, **options)


def test_illegal_task_numbers_are_refused_by_name_and_range() -> None:
    environment, task = variant("gymnax/CartPole-v1"), one_task("gymnax/CartPole-v1")
    with pytest.raises(ValueError, match=r"'length' of gymnax/CartPole-v1 is 0; it must lie in \[0.1, 2\]"):
        environment.check_task(task._replace(length=0.0))
    environment, task = variant("gymnax/Catch-bsuite"), one_task("gymnax/Catch-bsuite")
    with pytest.raises(ValueError, match=r"'controls' .* must hold every action once"):
        environment.check_task(task._replace(controls=np.array([0, 1, 1])))


def test_a_law_draws_from_its_distribution() -> None:
    share, side = jax.random.uniform(jax.random.key(0), (2, 5000))
    whole = read("n uniform 3 6 beyond 1 7")
    assert set(np.asarray(whole.inside(share, jnp.int32)).tolist()) == {3, 4, 5, 6}
    assert set(np.asarray(whole.outside(share, side, jnp.int32)).tolist()) == {1, 2, 7}
    free = read("x log_uniform 1 4")
    assert free.beyond == (0.5, 8.0)
    inside, outside = free.inside(share, jnp.float32), free.outside(share, side, jnp.float32)
    assert abs(np.log2(inside).mean() - 1.0) < 0.04
    assert np.all((outside < 1) | (outside > 4))
    assert np.all((outside >= 0.5) & (outside <= 8))
    assert 0.45 < np.mean(outside < 1) < 0.55
    assert read("x uniform 1 3").beyond == (0.5, 4.0)
    assert read("x uniform 0 2").beyond == (0.0, 3.0)
    pick = read("x choice 1 2 beyond 3")
    assert set(np.asarray(pick.inside(share, jnp.float32)).tolist()) == {1.0, 2.0}
    assert set(np.asarray(pick.outside(share, side, jnp.float32)).tolist()) == {3.0}


def test_a_run_remembers_its_laws() -> None:
    laws = ["l uniform 0.5 1.5"]
    config = resolve("rl2", "gymnax/Pendulum-v1", preset="tiny", laws=laws, env={"steps": 9})
    again = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.digest() == config.digest()
    assert again.environment == from_gymnax("Pendulum-v1", {"l": (0.5, 1.5)}, steps=9)
    with pytest.raises(UsageError, match=r"unknown environment 'gymnax/Pendulm-v1'.*did you mean 'gymnax/Pendulum-v1'"):
        resolve("rl2", "gymnax/Pendulm-v1")
    with pytest.raises(UsageError, match="'l uniform 2' makes no sense"):
        resolve("rl2", "gymnax/Pendulum-v1", laws=["l uniform 2"])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ADAPTED))
def test_every_environment_trains_and_evaluates(name: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--meta-steps", "2", "--log-every", "1", "--env.steps", str(min(20, ADAPTED[name].steps)), "--quiet"]
    assert main(["train", "rl2", name, "--preset", "tiny", "--evaluation-tasks", "2", *short]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert main(["evaluate", str(run), "--split", "extrapolation", "--tasks", "2"]) == 0
