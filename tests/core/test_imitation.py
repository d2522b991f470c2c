"""Imitation: what the student reads, what it answers, and how far its parameters move."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import close

from metarl_jax.algorithms import make
from metarl_jax.algorithms.base import Recipe
from metarl_jax.core.backprop import Passes
from metarl_jax.core.batching import Devices
from metarl_jax.core.imitation import behaviour, cross_entropy, end_to_end, histories, imitate, independent
from metarl_jax.core.life import begin, turn, unborn
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Agent, Experience
from metarl_jax.core.update import Lives, Now
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("gridnavi", side=3, steps=4, episodes=3)
TASKS, ENVS = 4, 2
NOW = Now(jnp.int32(0), jax.random.key(2), Devices())


@functools.cache
def recipe() -> Recipe:
    options: dict[str, Any] = {"width": 8, "layers": 1, "hidden": (4,), "stride": 2, "minibatches": 2}
    return make("algorithm_distillation", tasks=TASKS, envs=ENVS, **options).recipe(ENVIRONMENT)


@functools.cache
def lesson() -> tuple[Any, Lives, Any]:
    """A student away from its initial zeros, the lives of a source, and their record."""
    window = recipe().window
    params = window.world.learner.meta_init(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    keys = jax.random.split(jax.random.key(1), TASKS)
    lives = Lives(jax.vmap(lambda key: unborn(ENVIRONMENT.sample_task(key, "train"), key))(keys))
    past = jax.jit(lambda: histories(window, behaviour, 2).improve(params, (), lives, NOW)[-1].past)()
    return params, lives, past


def history() -> tuple[Experience, Any]:
    """One history of the source with the credit of its actions."""
    seen, credit = jax.tree.map(lambda x: x[0, 0], (lesson()[2].seen, lesson()[2].credit))
    return seen, credit


@jax.jit
def predicted(params: Any, seen: Experience) -> Any:
    return recipe().world.policy.unroll(params, None, seen.timestep).distribution


def test_the_cross_entropy_is_that_of_every_step_that_counts() -> None:
    params, seen, credit = lesson()[0], *history()
    seen = seen._replace(weight=seen.weight.at[:3, 1].set(0.0))
    logits, total, count = np.asarray(predicted(params, seen), np.float64), 0.0, 0
    for step, env in np.ndindex(*seen.weight.shape):
        if seen.weight[step, env]:
            chance = np.exp(logits[step, env]) / np.exp(logits[step, env]).sum()
            total -= np.asarray(credit.target, np.float64)[step, env] @ np.log(chance)
            count += 1
    assert count == 3 * 4 * ENVS - 3
    np.testing.assert_allclose(
        cross_entropy(recipe().world.policy).surrogate(params, seen, credit), total / count, 1e-5
    )


def test_the_gradient_is_that_of_the_recorded_actions_in_expectation() -> None:
    """Of a policy that acts by p: the mean over its actions of −log π is the cross-entropy to p."""
    params, seen, credit = lesson()[0], *history()
    logits = predicted(params, seen)
    of_actions = -jax.nn.log_softmax(logits)
    np.testing.assert_allclose(credit.target.sum(axis=-1), 1.0, rtol=1e-5)
    expected = jnp.mean(jnp.sum(credit.target * of_actions, axis=-1))
    np.testing.assert_allclose(cross_entropy(recipe().world.policy).surrogate(params, seen, credit), expected, 1e-5)


@pytest.mark.parametrize("time", [1, 4, 7])
def test_a_prediction_depends_on_what_came_before_and_on_nothing_later(time: int) -> None:
    params, (seen, _) = lesson()[0], history()
    later = jax.tree.map(lambda x: x.at[time:].set(x[time:][::-1] + 1), seen.timestep._replace(first=()))
    later = later._replace(first=seen.timestep.first)
    before, after = predicted(params, seen), predicted(params, seen._replace(timestep=later))
    np.testing.assert_array_equal(before[:time], after[:time])
    assert np.all(np.any(before[time:] != after[time:], axis=(1, 2)))
    earlier = seen.timestep._replace(previous_reward=seen.timestep.previous_reward.at[time - 1].add(1.0))
    assert np.all(np.any(predicted(params, seen._replace(timestep=earlier))[time:] != before[time:], axis=(1, 2)))


def test_histories_look_like_the_trials_in_which_the_student_acts() -> None:
    """Episodes that follow one another in a rollout, and the same ones recorded apart and laid end to end."""
    world, params = recipe().world, lesson()[0]
    task = ENVIRONMENT.sample_task(jax.random.key(5), "train")
    scene = opening(ENVIRONMENT, world.policy, task, jax.random.key(6), ENVS)
    _, seen = jax.jit(lambda φ: rollout(ENVIRONMENT, world.policy, φ, task, scene, jax.random.key(7), 12))(params)
    seen = seen._replace(memory=(), earned=(), onward=())
    apart = jax.tree.map(lambda x: x.reshape(3, 4, *x.shape[1:]), seen)
    opened = apart.timestep._replace(
        previous_action=apart.timestep.previous_action.at[:, 0].set(0),
        previous_reward=apart.timestep.previous_reward.at[:, 0].set(0.0),
    )
    close(end_to_end(apart._replace(timestep=opened)).timestep, seen.timestep)
    np.testing.assert_allclose(predicted(params, seen), seen.distribution, atol=1e-5)


def test_a_history_is_every_other_rollout_of_its_life() -> None:
    """Of the source's own life, whose turns are lived here one by one."""
    params, lives, past = lesson()
    world = recipe().window.world
    life = jax.tree.map(lambda x: x[1], lives.start)
    life = begin(world, params, life.task, life.key)
    step = jax.jit(lambda life: turn(world, params, life))
    for number in range(5):
        if number % 2 == 0:
            at = slice(4 * (number // 2), 4 * (number // 2) + 4)
            np.testing.assert_array_equal(life.seen.action, past.seen.action[1, 0, at])
            np.testing.assert_allclose(
                jax.nn.softmax(life.seen.distribution), past.credit.target[1, 0, at], rtol=1e-5, atol=1e-6
            )
        life = step(life)


def test_a_step_descends_the_mean_cross_entropy_of_all_histories() -> None:
    params, lives, past = lesson()
    window, student = recipe().window, recipe().world
    update = imitate(window, student, behaviour, optax.sgd(0.1), Passes(), 2)
    moved, _, info, _ = jax.jit(lambda φ: update.improve(φ, update.init(φ), lives, NOW))(params)
    loss = cross_entropy(student.policy).surrogate

    def total(params: Any) -> Any:
        return jnp.mean(jax.vmap(lambda one: loss(params, *jax.tree.map(lambda x: x[0], (one.seen, one.credit))))(past))

    value, gradient = jax.jit(jax.value_and_grad(total))(params)
    np.testing.assert_allclose(info["loss"], value, rtol=1e-5)
    close(moved, jax.tree.map(lambda x, g: x - 0.1 * g, params, gradient), rtol=1e-4, atol=1e-6)


def test_every_parameter_of_the_student_learns() -> None:
    params, (seen, credit) = lesson()[0], history()
    gradient = jax.jit(jax.grad(cross_entropy(recipe().world.policy).surrogate))(params, seen, credit)
    assert all(np.any(leaf) and np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_a_source_owes_nothing_to_the_student() -> None:
    """It is born with a first φ of its own, in every life another, and adapts as it does by itself."""
    algorithm = make("q_learning", hidden=(), envs=ENVS)
    world = algorithm.recipe(ENVIRONMENT).window.world
    alone, other = world.learner, independent(world.learner, lambda key: {})
    newborn, sibling = (other.birth({}, jax.random.key(i)) for i in (0, 1))
    own, state = newborn.state
    close(newborn.params, own["params"])
    assert jax.tree.leaves(state) == []
    leaves = zip(jax.tree.leaves(newborn.params["q"]), jax.tree.leaves(sibling.params["q"]), strict=True)
    assert any(np.any(x != y) for x, y in leaves)
    task = ENVIRONMENT.sample_task(jax.random.key(3), "train")
    life = begin(world._replace(learner=other), {}, task, jax.random.key(4))
    own, state = life.agent.state
    expected = alone.adapt(own, Agent(life.agent.params, state), life.seen, jax.random.key(5))
    adapted = other.adapt({}, life.agent, life.seen, jax.random.key(5))
    close(adapted.params, expected.params)
    close(adapted.state[0], own)


def test_a_stride_that_does_not_fit_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="turns of the window are 4 and stride 3"):
        histories(recipe().window, behaviour, 3)
