"""Rollouts: quotas of episodes, true successors and recorded probabilities."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import Line, Nothing

from metarl_jax.core.evaluation import by_episode
from metarl_jax.core.memories import gru
from metarl_jax.core.policy import memory_policy, mlp_policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Experience, Timestep
from metarl_jax.envs import make as make_environment


def test_episodes_beyond_the_quota_do_not_count() -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=2)
    policy = mlp_policy(environment, (4,))
    task = environment.sample_task(jax.random.key(0), "train")
    scene = opening(environment, policy, task, jax.random.key(1), 3)
    _, seen = rollout(environment, policy, policy.init(jax.random.key(2)), task, scene, jax.random.key(3), 7, quota=2)
    np.testing.assert_array_equal(seen.weight[:, 0], [1, 1, 1, 1, 0, 0, 0])
    curve = by_episode(seen, 2)
    np.testing.assert_allclose(curve.lengths, [2.0, 2.0])
    np.testing.assert_allclose(
        curve.returns, [seen.reward[:2].sum(0).mean(), seen.reward[2:4].sum(0).mean()], rtol=1e-5
    )


def test_a_quota_is_counted_over_the_windows_of_a_life() -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=2)
    policy = mlp_policy(environment, (4,))
    params = policy.init(jax.random.key(2))
    task = environment.sample_task(jax.random.key(0), "train")
    scene = opening(environment, policy, task, jax.random.key(1), 3)
    live = jax.jit(lambda scene, key: rollout(environment, policy, params, task, scene, key, 3, quota=2))
    scene, first = live(scene, jax.random.key(3))
    scene, second = live(scene, jax.random.key(4))
    np.testing.assert_array_equal(np.concatenate([first.weight, second.weight])[:, 0], [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(np.concatenate([first.final, second.final])[:, 0], [0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(scene.episodes, 3)


def test_the_next_value_is_that_of_the_true_successor() -> None:
    """A memory's value of what really followed, recomputed step by step, in a record with all kinds of ends."""
    environment = make_environment("cartpole", steps=12, episodes=3)
    policy = memory_policy(environment, lambda inputs: gru(inputs, 4))
    params = jax.tree.map(lambda x: x + 0.3, policy.init(jax.random.key(0)))
    task = environment.sample_task(jax.random.key(1), "train")
    scene = opening(environment, policy, task, jax.random.key(2), 4)
    _, seen = jax.jit(lambda scene: rollout(environment, policy, params, task, scene, jax.random.key(3), 40))(scene)
    assert seen.terminated.any()
    assert seen.truncated.any()

    def ask(memory: Any, now: Experience) -> tuple[Any, Any]:
        memory, _ = policy.apply(params, memory, now.timestep)
        successor = Timestep(now.next_observation, now.action, now.reward, jnp.zeros(4, bool))
        return memory, policy.apply(params, memory, successor)[1].value

    values = jax.lax.scan(ask, scene.memory, seen._replace(memory=(), earned=(), onward=()))[1]
    counts = ~np.asarray(seen.terminated)  # nothing follows the others
    np.testing.assert_allclose(seen.next_value[counts], values[counts], atol=1e-5)


def test_probabilities_of_all_action_sequences_sum_to_one() -> None:
    """The recorded log-probabilities are those of the policy: over all action pairs they sum to one."""
    environment = make_environment("bandit", arms=2, pulls=2)
    policy = mlp_policy(environment, (3,))
    params = policy.init(jax.random.key(0))
    logits = policy.apply(params, (), Timestep(jnp.ones(1), jnp.int32(0), jnp.float32(0), jnp.bool_(True)))[
        1
    ].distribution
    log_p = [policy.distribution.log_prob(logits, jnp.int32(a)) for a in range(2)]
    total = sum(np.exp(log_p[a] + log_p[b]) for a, b in itertools.product(range(2), repeat=2))
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_a_held_scene_stops_at_the_end_of_its_quota() -> None:
    """After two episodes of 4 steps neither the memory nor the environment changes any more."""
    line = Line("arrival", goal=4)
    policy = memory_policy(line, lambda inputs: gru(inputs, 3))
    params = policy.init(jax.random.key(0))
    params["actor"]["head"]["bias"] = jnp.array([0.0, 50.0])  # always go

    @functools.partial(jax.jit, static_argnums=1)
    def live(scene: Any, steps: int) -> Any:
        return rollout(line, policy, params, Nothing(jnp.float32(1.0)), scene, jax.random.key(2), steps, 2, hold=True)

    for envs in (1, 2):
        scene = opening(line, policy, Nothing(jnp.float32(1.0)), jax.random.key(1), envs)
        held, exact = (live(scene, steps)[0] for steps in (13, 8))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), held, exact)
        np.testing.assert_array_equal(held.episodes, 2)
