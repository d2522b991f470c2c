"""What every environment must do: a new one is held to all of this without being asked."""

import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import compiled
from hypothesis import strategies

from metarl_jax.core.drawing import Disc, Drawing, Episode, Line, Polygon
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import SPLITS, Array, Experience, Key, Split, Step, Tree
from metarl_jax.envs import ENVIRONMENTS, make

VARIANTS: dict[str, Environment] = {name: make(name) for name in ENVIRONMENTS} | {
    "cartpole-scrambled": make("cartpole", physics="wide", scrambled=True, steps=60, episodes=16),
    "maze-9x9": make("maze", size=9, openings=0.0, steps=40),
    "bandit-gaussian": make("bandit", rewards="gaussian", arms=3, pulls=20),
    "objects-dense": make("objects", density="dense", side=5, steps=30),
    "two_colours-swap": make("two_colours", swap=7, steps=40),
}
TASKS = 6
FAR = 1e3  # how far a range without an end is tried
OCCASIONAL = ("maze-9x9", "objects-dense")  # another size of what is tested beside them
every_environment = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in OCCASIONAL)) for name in VARIANTS]
)


def draw_action(environment: Environment, key: Key) -> Array:
    space = environment.action_space
    if isinstance(space, Discrete):
        return jax.random.randint(key, (), 0, space.n)
    return jax.random.uniform(key, space.shape, minval=2 * space.low, maxval=2 * space.high)  # past the bounds, too


def roll(environment: Environment, key: Key, task: Tree) -> Step:
    """A random walk of `horizon` + 1 steps over episode ends, its steps as they came."""

    def advance(carry: tuple[Tree], key: Key) -> tuple[tuple[Tree], Step]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        step = environment.step(step_key, carry[0], draw_action(environment, act_key), task)
        fresh = environment.reset(reset_key, task)[1]
        over = step.terminated | step.truncated
        return (jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, step.state),), step

    start_key, key = jax.random.split(key)
    start = environment.reset(start_key, task)[1]
    return jax.lax.scan(advance, (start,), jax.random.split(key, environment.horizon + 1))[1]


@functools.cache
def keys(seed: int, count: int = TASKS) -> Array:
    return jax.random.split(jax.random.key(seed), count)


@functools.cache
def sampler(name: str, split: Split) -> Callable[[Array], Tree]:
    return jax.jit(jax.vmap(lambda key: VARIANTS[name].sample_task(key, split)))


@functools.cache
def some_tasks(name: str, split: Split = "train") -> Tree:
    """Tasks that differ in number, not in shape, so that every test shares one compilation.

    What tests look at is kept in NumPy, which compiles nothing.
    """
    return jax.device_get(sampler(name, split)(keys(7, 300)))


def one_task(name: str, i: int = 0, split: Split = "train") -> Any:
    return jax.tree.map(lambda leaf: leaf[i], some_tasks(name, split))


@functools.cache
def roller(name: str) -> Any:
    return jax.jit(jax.vmap(functools.partial(roll, VARIANTS[name])))


def rolled(name: str, keys: Array, tasks: Tree) -> Step:
    return jax.device_get(roller(name)(keys, tasks))


@functools.cache
def trajectories(name: str) -> Step:
    return rolled(name, keys(1), few_tasks(name))


@functools.cache
def resets(name: str) -> Callable[[Array, Tree], tuple[Array, Tree]]:
    return jax.jit(jax.vmap(VARIANTS[name].reset))


def few_tasks(name: str, group: int = 0) -> Tree:
    return jax.tree.map(lambda leaf: leaf[group * TASKS : (group + 1) * TASKS], some_tasks(name))


def repeated(task: Tree, count: int = TASKS) -> Tree:
    return jax.tree.map(lambda leaf: np.stack([leaf] * count), task)


def same(one: Tree, other: Tree) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def signature(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@every_environment
def test_an_environment_names_its_parts(name: str) -> None:
    environment = VARIANTS[name]
    assert ENVIRONMENTS[environment.name] is type(environment)
    assert environment.summary
    assert "\n" not in environment.summary
    assert set(environment.limits) == set(environment.Task._fields)  # type: ignore[attr-defined]
    assert environment.trial_episodes >= 1
    assert environment.horizon >= 1
    assert isinstance(hash(environment), int)  # a static argument of jit


@every_environment
def test_shapes_and_types_are_stable(name: str) -> None:
    environment, key, space = VARIANTS[name], jax.random.key(0), VARIANTS[name].action_space
    action = jax.ShapeDtypeStruct(space.shape, space.dtype)
    observation, state = jax.eval_shape(environment.reset, key, one_task(name))
    step = jax.eval_shape(environment.step, key, state, action, one_task(name))
    seen = (environment.observation_space.shape, jnp.float32)
    assert signature(observation) == signature(step.observation) == seen
    assert signature(state) == signature(step.state)
    assert signature(step.reward) == ((), jnp.float32)
    drawn = jax.eval_shape(sampler(name, "train"), keys(7, 300))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((observation, state, step, drawn)))
    assert signature(step.terminated) == signature(step.truncated) == ((), jnp.bool_)


@every_environment
def test_every_split_has_the_same_shapes_and_is_legal(name: str) -> None:
    for split in SPLITS:
        assert signature(some_tasks(name, split)) == signature(some_tasks(name))
        task = one_task(name, 0, split)
        assert same(VARIANTS[name].check_task(task), task)


@every_environment
def test_observations_are_finite_and_inside_the_space(name: str) -> None:
    steps, space = trajectories(name), VARIANTS[name].observation_space
    assert np.all(np.isfinite(steps.observation))
    assert np.all(np.isfinite(steps.reward))
    assert np.all(steps.observation >= space.low)
    assert np.all(steps.observation <= space.high)


SHARES = strategies.sampled_from([None, 0.0, 1.0]) | strategies.floats(0.0, 1.0)  # of a legal range; None: as drawn


@every_environment
@hypothesis.settings(max_examples=8, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=strategies.data())
def test_observations_are_finite_over_the_whole_legal_range_and_at_its_edges(
    name: str, data: strategies.DataObject
) -> None:
    environment, fields = VARIANTS[name], task_numbers(name)
    shares = data.draw(strategies.lists(SHARES, min_size=len(fields) * TASKS, max_size=len(fields) * TASKS))
    tasks = [legal_task(name, i, dict(zip(fields, shares[i::TASKS], strict=True))) for i in range(TASKS)]
    steps = rolled(name, keys(6), jax.tree.map(lambda *x: np.stack(x), *tasks))
    space = environment.observation_space
    assert np.all(np.isfinite(steps.observation))
    assert np.all(np.isfinite(steps.reward))
    assert np.all((steps.observation >= space.low) & (steps.observation <= space.high))


def legal_task(name: str, i: int, shares: dict[str, float | None]) -> Tree:
    """A drawn task with its numbers moved to these shares of their legal ranges, as far as they may be moved alone."""
    environment, task = VARIANTS[name], one_task(name, i)
    for field, share in shares.items():
        if share is None:
            continue
        (low, high), like = environment.limits[field], getattr(task, field)
        value = low + share * (min(high, FAR) - low)
        whole = not jnp.issubdtype(like.dtype, jnp.floating)
        try:
            task = environment.check_task(
                task._replace(**{field: np.full(like.shape, round(value) if whole else value)})
            )
        except ValueError:  # constrained by other numbers: rows that sum to 1, a way to the exit
            continue
    return task


@every_environment
def test_episodes_end_within_the_horizon_and_for_one_reason(name: str) -> None:
    steps = trajectories(name)
    over = np.asarray(steps.terminated | steps.truncated)
    assert not np.any(steps.terminated & steps.truncated)
    ends = [np.flatnonzero(row) for row in over]
    assert all(len(row) and row[0] < VARIANTS[name].horizon for row in ends)
    assert max(int(np.max(np.diff(row), initial=0)) for row in ends) <= VARIANTS[name].horizon


@every_environment
def test_the_key_decides_everything(name: str) -> None:
    steps = rolled(name, keys(3)[np.array([0, 0, 1, 2, 3, 4])], repeated(one_task(name)))
    first, second, third = (jax.tree.map(lambda leaf, i=i: leaf[i], steps) for i in range(3))
    assert same(first, second)
    assert not same(first, third)


@every_environment
def test_a_batch_of_steps_equals_a_loop(name: str) -> None:
    environment, tasks = VARIANTS[name], few_tasks(name)
    actions = jax.jit(jax.vmap(functools.partial(draw_action, environment)))(keys(5))
    assert actions.dtype == environment.action_space.dtype
    states, actions = jax.device_get((resets(name)(keys(5), tasks)[1], actions))
    batch = jax.device_get(jax.jit(jax.vmap(environment.step))(keys(5), states, actions, tasks))
    single = jax.jit(environment.step)
    for i in range(TASKS):
        state, action, task = jax.tree.map(lambda leaf, i=i: leaf[i], (states, actions, tasks))
        one = single(keys(5)[i], state, action, task)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a, b[i], rtol=1e-5, atol=1e-6), one, batch)


@every_environment
def test_reset_never_changes_the_task(name: str) -> None:
    """The state holds nothing of the task: whatever the task, a reset with one key gives one state."""
    states = resets(name)(keys(2)[np.zeros(TASKS, int)], few_tasks(name))[1]
    for leaf in jax.tree.leaves(jax.device_get(states)):
        assert np.all(leaf == leaf[:1])


@functools.cache
def relay(name: str) -> Experience:
    """Episodes that follow one another in one task, as `rollout` joins them."""
    environment = VARIANTS[name]
    policy = mlp_policy(environment, (2,), critic=False)
    steps = min(2 * environment.horizon + 2, 400)

    @jax.jit
    def act(task: Tree, key: Key) -> Experience:
        scene = opening(environment, policy, task, key, envs=4)
        return rollout(environment, policy, policy.init(key), task, scene, key, steps)[1]

    return jax.device_get(act(one_task(name), jax.random.key(9)))


@every_environment
def test_later_episodes_start_as_the_first(name: str) -> None:
    seen = relay(name)
    starts = resets(name)(keys(10, 300), repeated(one_task(name), 300))[0]
    low, high = np.min(starts, axis=0), np.max(starts, axis=0)
    margin = 0.1 * (high - low) + 1e-6
    followers = seen.timestep.observation[1:][seen.timestep.first[1:]]
    ended = seen.terminated | seen.truncated
    assert np.array_equal(ended[:-1], seen.timestep.first[1:])
    assert len(followers) > 0
    assert np.all((followers >= low - margin) & (followers <= high + margin))


@every_environment
def test_other_tasks_and_keys_do_not_compile_again(name: str) -> None:
    rolled(name, keys(1), few_tasks(name))  # not `trajectories`, whose program may have been cleared since
    others = keys(11), few_tasks(name, 49)
    assert compiled(lambda: rolled(name, *others)) == 0


def task_numbers(name: str) -> list[str]:
    return [field for field, value in one_task(name)._asdict().items() if value is not None]


def moved(low: float, high: float, leaf: np.ndarray) -> np.ndarray:
    """Another legal value: the entries in another order, or mirrored in their range; or a number a little smaller."""
    if leaf.ndim:
        return np.where(np.all(np.flip(leaf) == leaf), low + high - leaf, np.flip(leaf)).astype(leaf.dtype)
    return (leaf * 0.9 if np.issubdtype(leaf.dtype, np.floating) else leaf - 1).astype(leaf.dtype)


@every_environment
def test_every_task_number_moves_the_trajectory(name: str) -> None:
    for field in task_numbers(name):
        assert any(feels(name, field, group) for group in range(50)), field


def feels(name: str, field: str, group: int) -> bool:
    """Whether one of a few random walks notices another value; where rewards are sparse few do."""
    tasks = few_tasks(name, group)
    other = functools.partial(moved, *VARIANTS[name].limits[field])
    others = tasks._replace(**{field: np.stack([other(value) for value in getattr(tasks, field)])})
    one, two = (rolled(name, keys(group), which) for which in (tasks, others))
    return not same((one.observation, one.reward), (two.observation, two.reward))


@every_environment
def test_train_and_test_are_disjoint_by_construction(name: str) -> None:
    if not VARIANTS[name].withholds:
        return
    held_out = jax.jit(jax.vmap(VARIANTS[name].holds_out))
    assert not np.any(held_out(some_tasks(name, "train")))
    assert np.all(held_out(some_tasks(name, "test")))
    draw = jax.jit(jax.vmap(lambda key: VARIANTS[name].draw_task(key, "train")))
    assert 10 < np.sum(held_out(draw(keys(8, 300)))) < 70  # one in eight, 37.5 +- 5.7


@every_environment
def test_extrapolation_shares_no_task_with_training(name: str) -> None:
    def fingerprints(split: Split) -> set[bytes]:
        leaves = [np.asarray(leaf).reshape(300, -1) for leaf in jax.tree.leaves(some_tasks(name, split))]
        return {b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(300)}

    assert len(fingerprints("extrapolation")) > 20
    assert not fingerprints("extrapolation") & (fingerprints("train") | fingerprints("test"))
    outside = jax.jit(jax.vmap(VARIANTS[name].extrapolates))
    assert np.all(outside(some_tasks(name, "extrapolation")))
    assert not np.any(outside(some_tasks(name, "train")))
    assert not np.any(outside(some_tasks(name, "test")))


@every_environment
def test_illegal_task_numbers_are_refused_by_name_and_range(name: str) -> None:
    environment, task = VARIANTS[name], one_task(name)
    for field in task_numbers(name):
        value, (low, high) = np.asarray(getattr(task, field)), environment.limits[field]
        for illegal in (
            np.full(value.shape, low - 1.0),
            np.full(value.shape, high + 1.0),
            np.full(value.shape, np.nan),
        ):
            with pytest.raises(ValueError, match=rf"'{field}' of {environment.name} is .*must lie in \[{low:g}, "):
                environment.check_task(task._replace(**{field: illegal}))
        with pytest.raises(ValueError, match=f"'{field}' of {environment.name} has shape"):
            environment.check_task(task._replace(**{field: np.zeros((*value.shape, 2))}))
        with pytest.raises(ValueError, match=f"lacks '{field}'"):
            environment.check_task({k: v for k, v in task._asdict().items() if k != field})
    with pytest.raises(ValueError, match="no task number 'colour'"):
        environment.check_task({**task._asdict(), "colour": 1.0})


ILLEGAL_TASKS: list[tuple[str, dict[str, Any], str]] = [
    ("cartpole", {"direction": 0.5}, "must be 1 or -1"),
    ("cartpole", {"mixing": np.zeros((4, 2))}, "'mixing' has no meaning"),
    ("cartpole-scrambled", {"mixing": np.ones((4, 2)) / 2}, "orthonormal"),
    ("bandit", {"mean": np.full(5, 1.01)}, r"'mean' of bandit .*\[0, 1\]"),
    ("tabular", {"transition": np.full((10, 5, 10), 0.2)}, "row that sums to 2"),
    ("maze", {"size": 6.5}, "must be a whole number"),
    ("maze", {"right": np.zeros((9, 9), bool), "down": np.zeros((9, 9), bool)}, "no path from the start"),
    ("maze", {"right": np.ones((9, 9), bool)}, "leaves its 7 x 7"),
]


@pytest.mark.parametrize(("name", "numbers", "message"), ILLEGAL_TASKS)
def test_tasks_that_make_no_sense_are_refused(name: str, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS[name].check_task(one_task(name)._replace(**numbers))


@every_environment
def test_constants_are_checked_inside_compiled_programs(name: str) -> None:
    environment, task = VARIANTS[name], jax.tree.map(jnp.asarray, one_task(name))
    space = environment.action_space
    key, action = jax.random.key(0), jnp.zeros(space.shape, space.dtype)

    def step() -> Any:
        checked = environment.check_task(task)
        return environment.step(key, environment.reset(key, checked)[1], action, checked).reward

    jax.make_jaxpr(step)()
    with pytest.raises(ValueError, match="lacks"):
        jax.make_jaxpr(lambda: environment.check_task({}))()


ILLEGAL_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("cartpole", {"physics": "mlid"}, "unknown physics 'mlid'.*did you mean 'mild'"),
    ("cartpole", {"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
    ("cartpole", {"episodes": 0}, "episodes is 0"),
    ("maze", {"size": 1}, "size is 1; it must be a whole number of at least 2: choose size=2"),
    ("maze", {"openings": 1.5}, r"openings is 1.5; .*\[0, 1\]"),
    ("maze", {"openings": float("nan")}, "openings is nan"),
    ("maze", {"steps": -1}, "steps is -1"),
    ("maze", {"episodes": 2.5}, "episodes is 2.5"),
    ("bandit", {"arms": 1}, "arms is 1"),
    ("bandit", {"pulls": 0}, "pulls is 0"),
    ("bandit", {"rewards": "normal"}, "unknown rewards 'normal'"),
    ("navigation", {"steps": 0}, "steps is 0"),
    ("tabular", {"states": 2}, "states is 2"),
    ("tabular", {"actions": 1}, "actions is 1"),
    ("tabular", {"step": 10}, "no option 'step'.*did you mean 'steps'"),
    ("cartpol", {}, "unknown environment 'cartpol'.*did you mean 'cartpole'"),
]


@pytest.mark.parametrize(("name", "options", "message"), ILLEGAL_OPTIONS)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@every_environment
def test_an_unknown_split_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown split 'tests'.*did you mean 'test'"):
        VARIANTS[name].sample_task(jax.random.key(0), "tests")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["navigation", "maze", "cartpole"])
def test_the_clock_truncates_and_does_not_terminate(name: str) -> None:
    environment = make(name, steps=3)
    task = environment.draw_task(jax.random.key(1), "train")
    _, state = environment.reset(jax.random.key(0), task)
    flags = []
    for _ in range(3):
        action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
        step = environment.step(jax.random.key(0), state, action, task)
        state, flags = step.state, [*flags, (bool(step.terminated), bool(step.truncated))]
    assert flags == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize("name", ["bandit", "bandit-gaussian", "tabular"])
def test_rewards_have_the_mean_they_announce(name: str) -> None:
    environment, task, n = VARIANTS[name], jax.tree.map(jnp.asarray, one_task(name)), 20_000
    _, state = environment.reset(jax.random.key(0), task)
    steps = jax.jit(jax.vmap(lambda key: environment.step(key, state, jnp.int32(1), task)))(keys(0, n))
    rewards = np.asarray(steps.reward)
    mean = float(steps.info["expected_reward"][0])
    variance = mean * (1 - mean) if name == "bandit" else 1.0
    assert abs(rewards.mean() - mean) < 4 * np.sqrt(variance / n)
    assert abs(rewards.var() - variance) < 0.06


def first_episode(name: str) -> Episode:
    """The first trajectory from its first step to its first end, with the actions that a walker might have taken."""
    steps = jax.tree.map(lambda leaf: leaf[0], trajectories(name))
    end = int(np.argmax(steps.terminated | steps.truncated)) + 1
    space, random = VARIANTS[name].action_space, np.random.default_rng(0)
    shape = (end - 1, *space.shape)
    action = random.integers(space.n, size=shape) if isinstance(space, Discrete) else random.normal(size=shape)
    state = jax.tree.map(lambda leaf: leaf[:end], steps.state)
    return Episode(state, steps.observation[:end], action, steps.reward[1:end])


def corners(drawing: Drawing) -> np.ndarray:
    """The points of all shapes of a drawing, and the middles of those without."""
    shapes = [shape for frame in [drawing.background, *drawing.frames] for shape in frame]
    several = [np.reshape(shape.points, (-1, 2)) for shape in shapes if isinstance(shape, Line | Polygon)]
    return np.concatenate([*several, *([shape.centre] for shape in shapes if isinstance(shape, Disc))])


@every_environment
def test_an_episode_is_drawn_inside_the_bounds_and_moves(name: str) -> None:
    episode = first_episode(name)
    drawing = VARIANTS[name].draw(one_task(name), episode)
    left, low, right, high = drawing.bounds
    points = corners(drawing)
    assert len(drawing.frames) == len(episode.observation)
    assert np.all((points >= (left, low)) & (points <= (right, high)))
    assert len({repr(frame) for frame in drawing.frames}) > 1
    assert any(shape.colour == "agent" for frame in drawing.frames for shape in frame)
