"""That each algorithm learns what it exists for, against the control in which only that is switched off."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from metarl_jax.algorithms import make
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import evaluate, random_curve, trial
from metarl_jax.core.life import World, begin
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Array, Timestep, Tree
from metarl_jax.envs import make as make_environment
from metarl_jax.oracles import reference

pytestmark = pytest.mark.learning

TASKS = 500  # held out


def learned(name: str, environment: Environment, meta_steps: int, **options: Any) -> tuple[World, Tree, Tree]:
    """The meta-trained world with its φ, and what was logged at each meta-step."""
    meta = make(name, **options).build(environment)

    @jax.jit
    def run(key: Array) -> tuple[Any, Any]:
        init_key, key = jax.random.split(key)
        return jax.lax.scan(meta.step, meta.init(init_key), jax.random.split(key, meta_steps))

    state, info = run(jax.random.key(0))
    return meta.window.world, state.meta_params, info


@functools.cache
def held_out(environment: Environment) -> Tree:
    keys = jax.random.split(jax.random.key(99), TASKS)
    return jax.jit(jax.vmap(lambda key: environment.sample_task(key, "test")))(keys)


def returns(world: World, meta_params: Tree, adaptations: int, stride: int = 1) -> np.ndarray:
    """Mean return over held-out tasks by report and episode, [reports, episodes]."""
    tasks = held_out(world.environment)
    curve = jax.jit(lambda φ: evaluate(world, φ, tasks, jax.random.key(7), adaptations, stride=stride))(meta_params)
    return np.asarray(curve.returns.mean(axis=0))


def by_chance(environment: Environment) -> float:
    return float(random_curve(environment, held_out(environment), jax.random.key(8)).returns.mean())


def best(environment: Environment) -> float:
    known = reference(environment)
    assert known is not None
    return float(known(jax.random.key(9), held_out(environment)).mean())


def test_policy_gradient_learns_a_task_from_scratch() -> None:
    environment = make_environment("tabular", states=5, actions=3, steps=10, episodes=1)
    algorithm = make("policy_gradient", envs=16)
    after = returns(algorithm.recipe(environment).window.world, {}, adaptations=1, stride=60)[:, 0]
    chance, ceiling = by_chance(environment), best(environment)
    assert abs(after[0] - chance) < 1.0
    assert after[1] > chance + 0.75 * (ceiling - chance)


def test_maml_adapts_in_one_step_and_not_without_it() -> None:
    environment = make_environment("navigation", steps=30)
    common = {"hidden": (32, 32), "envs": 20, "tasks": 20, "meta_lr": 3e-3}
    before, after = returns(*learned("maml", environment, 200, inner_lr=0.1, **common)[:2], adaptations=1)
    unmoved = returns(*learned("maml", environment, 200, inner_lr=0.0, **common)[:2], adaptations=1)
    assert after > 0.6 * before  # returns are negative: 40 % of the distance is saved
    assert after > unmoved[1] * 0.7
    np.testing.assert_allclose(unmoved[1], unmoved[0], rtol=0.05)


def test_meta_trained_q_learning_improves_more_in_two_steps_than_an_untrained_start() -> None:
    environment = make_environment("tabular", states=5, actions=3, steps=10, episodes=1)
    world, meta_params, _ = learned("q_learning", environment, 200, envs=4, tasks=40, adaptations=2, meta_lr=3e-3)
    newborn = world.learner.meta_init(jax.random.key(3))
    tuned, untuned = (returns(world, φ, adaptations=2)[:, 0] for φ in (meta_params, newborn))
    assert tuned[2] > tuned[0] + 2.0
    assert tuned[2] > untuned[2] + 2.0


def test_a_learned_rule_teaches_and_did_not_before_its_training() -> None:
    """Fresh agents in chains that pay at the end: by the trained rule they find the better of two first actions."""
    environment = make_environment("delayed_chain", shortest=2, longest=4, episodes=1)
    sizes = {"tasks": 16, "envs": 8, "steps": 12, "adaptations": 4, "width": 16, "predictions": 5, "hidden": (8,)}
    how = {"lifespan": (2, 12), "inner_lr": 1.0, "meta_lr": 1e-2}
    world, meta_params, _ = learned("learned_rule", environment, 60, **sizes, **how)
    newborn = world.learner.meta_init(jax.random.key(3))
    taught, untaught = (returns(world, φ, adaptations=1, stride=20)[:, 0] for φ in (meta_params, newborn))
    assert abs(taught[0]) < 0.2  # chance
    assert taught[1] > 0.8 * best(environment)
    assert untaught[1] < 0.5 * best(environment)


LEARNING_MEMORIES = ("gru", "lstm", "linear", "attention")


@functools.cache
def bandit_memory(memory: str) -> tuple[World, Tree]:
    options = {
        "memory": memory,
        "width": 32,
        "tasks": 1000,
        "gamma": 1.0,
        "lambda_": 0.9,
        "meta_lr": 3e-3,
        "entropy": 0.02,
        "anneal": 150,
    }
    return learned("rl2", make_environment("bandit"), 150, **options)[:2]


@pytest.mark.parametrize("memory", LEARNING_MEMORIES)
def test_a_memory_plays_the_bandit_nearly_as_well_as_bayes(memory: str) -> None:
    world, meta_params = bandit_memory(memory)
    score = returns(world, meta_params, adaptations=0).mean()
    assert 6.35 < score < 6.66 + 0.25  # Bayes: 6.660; 500 tasks of 10 pulls have a standard error of 0.08


@pytest.mark.parametrize("memory", LEARNING_MEMORIES)
def test_a_memory_that_sees_the_rewards_of_others_does_not_adapt(memory: str) -> None:
    """Each task is shown the rewards of the next one: nothing that it pulls explains what it sees."""
    world, meta_params = bandit_memory(memory)
    honest, neighbours = world.policy, [(i, (i + 1) % TASKS) for i in range(TASKS)]

    def apply(params: Tree, memory: Tree, timestep: Timestep) -> Any:
        reward = jax.lax.ppermute(timestep.previous_reward, "tasks", neighbours)
        return honest.apply(params, memory, timestep._replace(previous_reward=reward))

    def score(policy: Policy) -> float:
        playing = world._replace(policy=policy)

        def one(task: Tree, key: Array) -> Array:
            life = begin(playing, meta_params, task, key)
            return trial(playing, life, episodes=1, envs=8, greedy=False)[1].returns[0]

        play = jax.jit(jax.vmap(one, axis_name="tasks"))
        return float(play(held_out(world.environment), jax.random.split(jax.random.key(7), TASKS)).mean())

    honestly, deceived = score(honest), score(honest._replace(apply=apply))
    assert honestly > 6.3
    assert abs(deceived - 5.0) < 0.2  # chance


@pytest.mark.parametrize("memory", LEARNING_MEMORIES)
def test_a_memory_finds_the_goal_again_and_an_erased_one_does_not(memory: str) -> None:
    """With its memory erased after each episode every episode is a first one, to which no memory at all comes near."""
    environment = make_environment("gridnavi", side=4, steps=10, episodes=2)
    common = {"tasks": 512, "width": 32, "gamma": 0.95, "meta_lr": 3e-3, "anneal": 150}
    world, meta_params, _ = learned("rl2", environment, 150, memory=memory, **common)
    algorithm = make("rl2", memory=memory, **common)
    erased = world._replace(policy=algorithm.policy(environment, forgets=True))
    kept, lost = (returns(one, meta_params, adaptations=0)[0] for one in (world, erased))
    blind = returns(*learned("rl2", environment, 150, memory="none", **common)[:2], adaptations=0)[0]
    assert kept[1] > kept[0] + 1.5
    np.testing.assert_allclose(lost, kept[0], atol=0.5)
    np.testing.assert_allclose(blind, blind[0], atol=0.3)
    assert blind[0] < kept[0] + 0.3


def test_a_discount_that_tunes_itself_outlearns_a_fixed_one() -> None:
    """At γ = ½ every step of a balanced pole is worth the same two rewards: there is next to nothing to learn from."""
    environment = make_environment("cartpole", steps=100, episodes=1, flip=False)
    common = {"gamma": 0.5, "tunes": ("gamma",), "envs": 8, "lifespan": 50, "hidden": (32,)}
    common |= {"inner_optimiser": "adam", "inner_lr": 0.01}
    tuned, φ, _ = learned("meta_gradient", environment, 100, meta_lr=0.05, **common)
    fixed, ψ, _ = learned("meta_gradient", environment, 100, meta_lr=0.0, **common)
    assert jax.nn.sigmoid(φ["gamma"]) > 0.8
    np.testing.assert_allclose(jax.nn.sigmoid(ψ["gamma"]), 0.5, rtol=1e-5)
    with_tuning, without = (returns(*one, 1, 100)[1, 0] for one in ((tuned, φ), (fixed, ψ)))
    assert with_tuning > 2 * without


def test_a_learned_reward_teaches_faster_than_the_tasks_own() -> None:
    """In mazes that pay at the exit alone, twelve small steps of a newborn agent."""
    environment = make_environment("maze", size=3, steps=30, episodes=1)
    common = {"envs": 8, "tasks": 16, "lifespan": 3, "hidden": (32,), "steps": 16}
    taught = learned("intrinsic_reward", environment, 100, **common)
    control = learned("intrinsic_reward", environment, 1, reward_scale=0.0, **common)
    with_teacher, alone = (returns(*one[:2], 1, 12)[:, 0] for one in (taught, control))
    np.testing.assert_allclose(with_teacher[0], alone[0], atol=0.02)  # born alike
    assert with_teacher[1] > alone[1] + 0.1
