"""The classical rules, all through one table."""

import typing

import jax
import numpy as np
import pytest

from metarl_jax.algorithms import make
from metarl_jax.algorithms.policy_gradient import PolicyGradient
from metarl_jax.algorithms.rules import RULES
from metarl_jax.core.evaluation import evaluate, random_curve
from metarl_jax.envs import make as make_environment


def test_the_option_names_every_rule() -> None:
    assert set(typing.get_args(typing.get_type_hints(PolicyGradient)["loss"])) == set(RULES)


def test_q_learning_needs_finitely_many_actions() -> None:
    for rule in ("q_learning", "q_lambda"):
        with pytest.raises(ValueError, match="finitely many actions"):
            make("policy_gradient", loss=rule).build(make_environment("navigation"))


@pytest.mark.parametrize("rule", ["dpo", "q_lambda"])  # those that no other algorithm takes
def test_a_step_by_a_rule_keeps_the_shapes_of_the_state(rule: str) -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=3)
    learner = make("policy_gradient", loss=rule, tasks=2, envs=2, hidden=()).build(environment)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    after = jax.eval_shape(learner.step, state, jax.random.key(1))[0]
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@pytest.mark.learning
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_a_chain_whose_end_pays(rule: str) -> None:
    """After 60 rollouts agents choose the better of two actions, several steps before they are paid for it."""
    environment = make_environment("delayed_chain", shortest=3, longest=4, episodes=1)
    options = {"envs": 16, "hidden": (16,), "inner_lr": 0.01}
    world = make("policy_gradient", loss=rule, **options).recipe(environment).window.world._replace(steps=8)
    tasks = jax.vmap(lambda key: environment.sample_task(key, "test"))(jax.random.split(jax.random.key(0), 8))
    curve = jax.jit(lambda tasks: evaluate(world, {}, tasks, jax.random.key(1), 1, stride=60, envs=16))(tasks)
    before, after = np.asarray(curve.returns.mean(axis=(0, 2)))
    best = float(np.max(tasks.pay, axis=1).mean())
    chance = float(random_curve(environment, tasks, jax.random.key(2)).returns.mean())
    assert abs(before - chance) < 0.5
    assert after > 0.6 * best
