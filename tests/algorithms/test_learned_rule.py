"""The learned rule: what it can represent, where it forgets, how it is regularised, and what it refuses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import close

from metarl_jax.algorithms import make
from metarl_jax.algorithms.learned_rule import learned_rule
from metarl_jax.core.learner import gradient_learner, inner_optimiser
from metarl_jax.core.life import World, begin
from metarl_jax.core.losses import reinforce
from metarl_jax.core.networks import Network
from metarl_jax.core.returns import boundaries, discounted_returns
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Record
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=3)
OPTIONS: dict[str, Any] = {"hidden": (4,), "width": 4, "predictions": 3, "steps": 8, "envs": 2, "value_weight": 0.0}
GAMMA, RATE = 0.9, 0.5


def small(**more: Any) -> learned_rule.LearnedRule:
    algorithm = make("learned_rule", **OPTIONS, gamma=GAMMA, inner_lr=RATE, **more)
    assert isinstance(algorithm, learned_rule.LearnedRule)
    return algorithm


@functools.cache
def lived() -> tuple[World, Any, Agent, Experience]:
    """A newborn agent and its first rollout, over the ends of episodes."""
    world = small().recipe(ENVIRONMENT).window.world

    @jax.jit
    def start(key: Array) -> Any:
        meta_params = world.learner.meta_init(key)
        life = begin(world, meta_params, ENVIRONMENT.sample_task(jax.random.key(1), "train"), jax.random.key(2))
        return meta_params, life.agent, life.seen

    return world, *start(jax.random.key(0))


def test_a_rule_that_teaches_returns_is_reinforce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where π̂ is the discounted return and ŷ is what the agent predicts anyway, its step is that of REINFORCE."""

    def returns(params: Any, seen: Experience) -> Any:
        return discounted_returns(seen.reward, GAMMA * boundaries(seen).trace), seen.prediction

    _, _, agent, seen = lived()
    by_hand = Network(lambda key: {}, returns)
    monkeypatch.setattr(learned_rule, "rule_network", lambda *sizes: by_hand)
    taught = small().recipe(ENVIRONMENT).window.world
    loss = reinforce(taught.policy, gamma=GAMMA, baseline=False, normalise=False)
    plain = gradient_learner(
        taught.policy,
        lambda key: {},
        lambda meta_params, key: taught.policy.init(key),
        lambda read: loss,
        inner_optimiser("sgd", RATE),
    )
    adapt = lambda learner: jax.jit(learner.adapt)({}, agent, seen, jax.random.key(3)).params  # noqa: E731
    ours, theirs = adapt(taught.learner), adapt(plain)
    close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert np.any(ours["actor"]["head"]["bias"] != agent.params["actor"]["head"]["bias"])


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_nothing_after_the_end_of_an_episode_changes_what_is_taught_before_it(end: str) -> None:
    world, meta_params, agent, seen = lived()
    never = jnp.zeros_like(seen.terminated)
    seen = seen._replace(terminated=never, truncated=never)._replace(**{end: never.at[4].set(True)})
    teach = jax.jit(learned_rule.rule_network(world.policy, 4, 3, GAMMA).apply)
    seen = revalue(world.policy, agent.params, seen)
    taught, others = (teach(meta_params, s) for s in (seen, seen._replace(reward=seen.reward.at[5:].add(9.0))))
    for before, after in zip(taught, others, strict=True):
        np.testing.assert_array_equal(after[:5], before[:5])
        assert np.all(after[5:7] != before[5:7])
    moved = teach(meta_params, seen._replace(reward=seen.reward.at[4].add(9.0)))[0]
    assert np.all(moved[:5] != taught[0][:5])  # within an episode it does


def test_the_outputs_of_the_rule_and_the_entropies_of_the_agents_are_regularised() -> None:
    world, meta_params, agent, seen = lived()
    now = revalue(world.policy, agent.params, seen)
    step, target = learned_rule.rule_network(world.policy, 4, 3, GAMMA).apply(meta_params, now)
    expected = {
        "entropy": -world.policy.distribution.entropy(now.distribution),
        "prediction_entropy": jnp.sum(jax.nn.softmax(now.prediction) * jax.nn.log_softmax(now.prediction), axis=-1),
        "policy_penalty": step**2,
        "target_penalty": jnp.mean(target**2, axis=-1),
    }
    nothing = dict.fromkeys(expected, 0.0)

    def judged(**weights: float) -> Any:
        loss = small(**nothing | weights).recipe(ENVIRONMENT).objective(jnp.int32(0))
        return jax.jit(lambda: loss.last(meta_params, agent, Record(seen, loss.loss.credited(seen))))()

    plain = judged()
    for name, values in expected.items():
        np.testing.assert_allclose(judged(**{name: 2.0}) - plain, 2.0 * jnp.mean(values), rtol=1e-4, atol=1e-6)


def test_vectors_and_impossible_lifespans_are_refused() -> None:
    with pytest.raises(ValueError, match="learned_rule cannot learn navigation: it needs finitely many actions"):
        make("learned_rule").build(make_environment("navigation"))
    for lifespan in ((3, 2), (1, 5), (4,)):
        with pytest.raises(ValueError, match="lifespan of learned_rule is"):
            make("learned_rule", lifespan=lifespan)


@pytest.mark.parametrize("option", ["value_weight", "lambda_"])
def test_options_of_a_critic_that_evolution_does_not_train_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match="trains no critic"):
        make("learned_rule", estimator="pes", **{option: 0.25})
    make("learned_rule", **{option: 0.25})
