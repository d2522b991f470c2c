"""Rewards that read the history of an agent, and the critic of its lifetime."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.test_laws import ENVIRONMENT, life, spread
from lives import begun, ran
from records import record
from trees import close, double

from metarl_jax.algorithms import make
from metarl_jax.algorithms.intrinsic_reward.history import Reader, clock, count_bonus, history_reward
from metarl_jax.algorithms.intrinsic_reward.intrinsic_reward import taught_learner
from metarl_jax.algorithms.intrinsic_reward.lifetime import Chronicle, lifetime_credit, lifetime_loss
from metarl_jax.core.learner import Learned, gradient_learner, inner_optimiser
from metarl_jax.core.life import Life, World, begin, run
from metarl_jax.core.losses import actor_critic, per_step
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Agent, Experience, Record
from metarl_jax.envs import make as make_environment

TASK = ENVIRONMENT.sample_task(jax.random.key(2), "train")


def targets(reward: np.ndarray, value: np.ndarray, ends: bool, gamma: float, lambda_: float) -> np.ndarray:
    """λ-returns of one environment [T], written out: Σ over n of (1 − λ) λ^(n−1) times the n-step return."""
    steps, found = len(reward), []
    for t in range(steps):
        total, weight = 0.0, 1.0
        for n in range(1, steps - t + 1):
            last = t + n == steps
            after = 0.0 if last and ends else value[t + n]
            partial = sum(gamma**u * reward[t + u] for u in range(n)) + gamma**n * after
            share = weight if last else weight * (1 - lambda_)
            total, weight = total + share * partial, weight * lambda_
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("lambda_", [1.0, 0.6])
def test_lifetime_targets_cross_episodes_and_end_with_the_life(ends: bool, lambda_: float) -> None:
    generator = np.random.default_rng(0)
    reward, value = generator.normal(size=(6, 2)), generator.normal(size=(7, 2))
    credit = lifetime_credit(jnp.asarray(reward), jnp.asarray(value), jnp.array(ends), 0.9, lambda_)
    expected = np.stack([targets(reward[:, e], value[:, e], ends, 0.9, lambda_) for e in range(2)], axis=1)
    np.testing.assert_allclose(credit.target, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(credit.advantage, expected - value[:-1], rtol=1e-5, atol=1e-5)


def test_the_error_of_the_lifetime_critic_moves_it_towards_its_targets() -> None:
    """A critic that is a table: its gradient is V − target at every step, none at the bootstrap."""
    seen = record([1.0, 0.0, 2.0], [False, True, False], [False] * 3)
    table = Reader(lambda key: (), lambda: (), lambda params, memory, seen, clock: (params, memory))
    policy = mlp_policy(make_environment("bandit", arms=2), ())
    silent = actor_critic(policy)._replace(surrogate=lambda params, seen, credit: jnp.zeros(()))
    loss = lifetime_loss(table, silent, lambda seen: seen.reward, records=4, gamma=0.9, lambda_=1.0, weight=2.0)
    value = jnp.array([0.5, -1.0, 0.3, 7.0])[:, None]
    for age, ends in ((2, False), (3, True)):
        agent = Agent((), Learned((), Chronicle(jnp.int32(age), (), ())))
        slope = jax.grad(lambda v, agent=agent: loss({"critic": v}, agent, Record(seen, ())))(value)[:, 0]  # type: ignore[arg-type]
        wanted = targets(np.array([1.0, 0.0, 2.0]), np.asarray(value[:, 0]), ends, 0.9, 1.0)
        np.testing.assert_allclose(slope[:-1], 2.0 * (np.asarray(value[:-1, 0]) - wanted) / 3, rtol=1e-5)
        assert slope[-1] == 0.0


def test_the_meta_gradient_of_the_lifetime_equals_central_differences() -> None:
    """In the reward network alone, for which advantages and targets are data; in float64 on a recorded life."""
    one = life("intrinsic_reward-lifetime")
    with jax.enable_x64(True):
        φ, past = double(one.meta_params), double(one.past)
        slope = one.exact(φ, past)[1]["reward"]
        for seed in range(2):
            direction = double(spread(jax.tree.map(lambda x, s=seed: jnp.zeros_like(x) + 0.1 * s, φ["reward"])))
            moved = [
                {**φ, "reward": jax.tree.map(lambda x, d, e=e: x + e * d, φ["reward"], direction)}
                for e in (1e-5, -1e-5)
            ]
            ahead, behind = (one.exact(x, past)[0][0] for x in moved)
            along = sum(jnp.vdot(d, g) for d, g in zip(*map(jax.tree.leaves, (direction, slope)), strict=True))
            assert abs(along) > 1e-9
            np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-10)


@functools.cache
def lived(turns: int, taught: bool) -> Any:
    """A life under reward_scale=0, or under the actor-critic that it should be; agents and what they saw."""
    options = {"hidden": (4,), "reads": "history", "width": 3, "reward_scale": 0.0, "steps": 4, "envs": 2}
    algorithm = make("intrinsic_reward", **options)
    world = algorithm.recipe(ENVIRONMENT).window.world
    if not taught:
        loss = actor_critic(
            world.policy, lambda_=0.95, value_weight=0.5, entropy=0.01, reward=per_step(0.99, world.steps)
        )
        plain = gradient_learner(
            world.policy,
            meta_init=lambda key: {},
            birth=lambda φ, key: world.policy.init(key),
            loss=lambda read: loss,
            optimiser=inner_optimiser("sgd", 0.3),
        )
        world = world._replace(learner=plain)
    φ = world.learner.meta_init(jax.random.key(0))
    start = begun(world, φ, TASK, jax.random.key(4))
    return world, φ, start, ran(world, φ, start, turns, lambda φ, life: life.seen)


def test_without_its_reward_the_agent_is_a_plain_actor_critic() -> None:
    taught, plain = (lived(3, which)[3][0].agent.params for which in (True, False))
    close(taught, plain)


def test_the_history_goes_on_over_turns_and_the_ends_of_episodes() -> None:
    """Episodes of three steps in records of four: the memory after two is that of both in one."""
    world, φ, start, (_end, seen) = lived(3, True)
    whole = jax.tree.map(
        lambda first, later: jnp.concatenate([first, later[0]]),
        *(x._replace(memory=(), earned=(), onward=()) for x in (start.seen, seen)),
    )
    assert np.any(whole.terminated | whole.truncated)
    reader = history_reward(ENVIRONMENT, 2, 3, (4,), gain=0.0)
    records = 5 * 4 + 1
    ticks = jnp.concatenate([clock(jnp.int32(0), 4, records)[:-1], clock(jnp.int32(1), 4, records)])
    both, memory = reader.read(φ["reward"], reader.blank(), whole, ticks)
    middle = reader.read(φ["reward"], reader.blank(), start.seen, clock(jnp.int32(0), 4, records))
    first = jax.tree.map(lambda x: x[0], seen)
    parts = reader.read(φ["reward"], middle[1], first, clock(jnp.int32(1), 4, records))
    np.testing.assert_allclose(both, jnp.concatenate([middle[0], parts[0]]), rtol=1e-4, atol=1e-8)
    close(memory, parts[1], rtol=1e-5)
    agent = ran(world, φ, start, 2)[0].agent
    close(agent.state.memory.reward, memory, rtol=1e-5)
    assert agent.state.memory.age == 2


def test_a_reward_of_the_history_is_a_gain_of_the_tasks_reward_and_what_its_network_adds() -> None:
    _world, φ, start, _end = lived(3, True)
    ticks = clock(jnp.int32(0), 4, 9)
    plain, raised = (history_reward(ENVIRONMENT, 2, 3, (4,), gain) for gain in (0.0, 2.0))
    assert raised.init(jax.random.key(0))["gain"] == 2.0
    assert np.any(start.seen.reward != 0.0)
    bonus = plain.read(φ["reward"] | {"gain": 0.0}, plain.blank(), start.seen, ticks)[0]
    whole = raised.read(φ["reward"] | {"gain": 2.0}, raised.blank(), start.seen, ticks)[0]
    np.testing.assert_allclose(whole, 2.0 * start.seen.reward + bonus, rtol=1e-6)
    assert np.all(np.abs(bonus) <= 1.0)


def test_the_reward_and_the_lifetime_critic_each_move_at_their_own_rate() -> None:
    options = {"reads": "history", "judged_by": "lifetime", "width": 2, "hidden": (2,), "steps": 2, "envs": 1}

    def moved(meta_lr: Any, critic_lr: Any) -> Any:
        algorithm = make("intrinsic_reward", tasks=2, adaptations=1, meta_lr=meta_lr, critic_lr=critic_lr, **options)
        learner = algorithm.build(ENVIRONMENT)
        before = learner.init(jax.random.key(0))
        after = learner.step(before, jax.random.key(1))[0]
        change = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), after.meta_params, before.meta_params)
        return {branch: jnp.max(jnp.stack(jax.tree.leaves(part))) for branch, part in change.items()}

    found = jax.jit(jax.vmap(moved))(jnp.array([0.1, 0.0]), jnp.array([0.0, 0.1]))
    assert found["reward"][0] > 0.01
    assert found["reward"][1] == 0.0
    assert found["critic"][0] == 0.0
    assert found["critic"][1] > 0.01


def test_a_gain_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gain of intrinsic_reward is 2.0 .* choose reads=history, or gain=0"):
        make("intrinsic_reward", gain=2.0)


@pytest.mark.parametrize("options", [{"estimator": "evolution"}, {"adaptations": 0}])
def test_a_lifetime_without_a_critic_or_a_history_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="judged_by of intrinsic_reward is lifetime"):
        make("intrinsic_reward", judged_by="lifetime", **options)


def place_of(seen: Experience) -> Any:
    """The number of the cell that a step leads to, whose row and column are each one-hot."""
    side = seen.next_observation.shape[-1] // 2
    row, column = (jnp.argmax(half, axis=-1) for half in jnp.split(seen.next_observation, 2, axis=-1))
    return row * side + column


def test_counts_are_those_of_a_direct_loop() -> None:
    _world, _, start, (_, seen) = lived(3, True)
    index = lambda seen: jnp.argmax(seen.next_observation, axis=-1)  # noqa: E731
    reader = count_bonus(3, index, 0.5)
    params, visits = reader.init(jax.random.key(0)), reader.blank()
    counts = np.zeros(3)
    for now in (start.seen, jax.tree.map(lambda x: x[0], seen)):
        bonus, visits = reader.read(params, visits, now, jnp.zeros(5))
        for t, e in np.ndindex(4, 2):
            counts[int(index(now)[t, e])] += 1
            np.testing.assert_allclose(bonus[t, e], 0.5 / np.sqrt(counts[int(index(now)[t, e])]), rtol=1e-5)
        np.testing.assert_array_equal(visits, counts)


def test_a_bonus_of_the_history_leads_to_unvisited_places() -> None:
    """In empty rooms whose goal pays nothing to the agent: with the bonus it sees more cells, with none it wanders."""
    environment = make_environment("empty_rooms", room=3, steps=30)
    policy = mlp_policy(environment, (), critic=True)
    how = {"task_reward": 0.0, "entropy": 0.0, "envs": 2, "steps": 30, "inner_optimiser": "adam", "inner_lr": 0.1}

    @functools.partial(jax.jit, static_argnums=1)
    def visited(key: Any, scale: float) -> Any:
        algorithm = make("intrinsic_reward", reward_scale=scale, **how)
        learner = taught_learner(algorithm, policy, count_bonus(49, place_of), None, 30)
        world = World(environment, policy, learner, 2, 30, fresh=False)
        task = environment.sample_task(key, "train")
        φ = learner.meta_init(key)

        def observe(φ: Any, life: Life) -> Any:
            return jnp.max(jax.nn.one_hot(place_of(life.seen), 49), axis=(0, 1))

        return jnp.sum(jnp.max(run(world, φ, begin(world, φ, task, key), 30, observe)[1], axis=0))

    curious, bored = (
        np.mean(jax.vmap(lambda key, s=scale: visited(key, s))(jax.random.split(jax.random.key(0), 8)))
        for scale in (30.0, 0.0)
    )
    assert curious > 1.2 * bored
