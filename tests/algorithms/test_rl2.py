"""The options of RL²: what each changes, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import rolled

from metarl_jax.algorithms import make
from metarl_jax.core.objective import curriculum, final
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Experience, Timestep
from metarl_jax.envs import make as make_environment

BANDIT = make_environment("bandit", arms=3, pulls=10)


def lived(environment: Any, **options: Any) -> tuple[Any, Any, Any, Experience]:
    algorithm = make("rl2", width=4, **options)
    world = algorithm.recipe(environment).window.world
    params = world.learner.meta_init(jax.random.key(0))
    task = environment.sample_task(jax.random.key(1), "train")
    return algorithm, world, params, rolled(world.environment, world.policy, params, task, 3, world.steps, world.quota)


def test_the_loss_uses_expected_rewards_and_the_policy_sees_drawn_rewards() -> None:
    algorithm, _, _, seen = lived(BANDIT, expected_reward=True, gamma=1.0, lambda_=1.0)
    assert set(np.unique(seen.timestep.previous_reward)) <= {0.0, 1.0}
    target = algorithm.recipe(BANDIT).objective(jnp.int32(0)).loss.credit(seen).target
    to_go = np.cumsum(np.asarray(seen.expected_reward)[::-1], axis=0)[::-1] / 10  # per step
    np.testing.assert_allclose(target, to_go, rtol=1e-5)


def test_trials_grow_from_a_tenth_to_their_whole_length() -> None:
    algorithm, _, params, seen = lived(BANDIT, gamma=1.0, lambda_=1.0)
    loss = algorithm.recipe(BANDIT).objective(jnp.int32(0)).loss
    for progress, counted in ((0.0, 1), (0.35, 4), (1.0, 10), (3.0, 10)):
        short = curriculum(final(loss), 10, jnp.float32(progress)).counts(seen)
        np.testing.assert_array_equal(short.weight.sum(axis=0), counted)
        to_go = np.cumsum(np.asarray(seen.reward)[:counted][::-1], axis=0)[::-1] / 10  # nothing from beyond
        np.testing.assert_allclose(loss.credit(short).target[:counted], to_go, rtol=1e-5, atol=1e-7)
    whole = curriculum(final(loss), 10, jnp.float32(1.0)).counts(seen)
    np.testing.assert_allclose(loss(params, whole), loss(params, seen), rtol=1e-6)


def test_a_curriculum_is_a_share_of_the_annealing() -> None:
    recipe = make("rl2", width=4, curriculum=0.5, anneal=100).recipe(BANDIT)
    seen = lived(BANDIT)[3]
    counted = [recipe.objective(jnp.int32(step)).counts(seen).weight.sum(axis=0)[0] for step in (0, 25, 50, 100)]
    np.testing.assert_array_equal(counted, [1, 5, 10, 10])


def test_a_separate_critic_leaves_the_memory_of_the_actor_alone() -> None:
    def slopes(**options: Any) -> Any:
        _, world, params, seen = lived(BANDIT, **options)
        params = jax.tree.map(lambda x: x + 0.1, params)
        slope = jax.jit(jax.grad(lambda φ: jnp.sum(replay(world.policy, φ, seen).value ** 2)))(params)["memory"]
        return [any(np.any(leaf) for leaf in jax.tree.leaves(part)) for part in slope] if options else slope

    assert slopes(separate=True) == [False, True]  # of the actor, of the critic


@pytest.mark.parametrize("memory", ["gru", "belief", "none"])
@pytest.mark.parametrize("separate", [False, True])
def test_task_information_for_the_critic_changes_values_only(memory: str, separate: bool) -> None:
    _, world, params, seen = lived(BANDIT, memory=memory, separate=separate, critic_knows_task=True)
    replayed = jax.jit(lambda φ, seen: replay(world.policy, φ, seen))
    np.testing.assert_allclose(replayed(params, seen).value, seen.value, rtol=1e-4, atol=1e-6)
    params = jax.tree.map(lambda x: x + 0.1, params)
    shown = seen.timestep.observation
    assert np.all(shown[..., -3:] == shown[0, 0, -3:])  # the chances of three arms
    assert np.ptp(shown[0, 0, -3:]) > 0
    other = seen._replace(timestep=seen.timestep._replace(observation=shown.at[..., -3:].multiply(0.5)))
    one, two = replayed(params, seen), replayed(params, other)
    np.testing.assert_array_equal(one.distribution, two.distribution)
    assert np.all(one.value != two.value)


def test_a_critic_gets_no_second_copy_of_the_task_that_the_policy_sees() -> None:
    both, one = (make("rl2", width=4, knows_task=True, critic_knows_task=told) for told in (True, False))
    init = [algorithm.recipe(BANDIT).window.world.learner.meta_init(jax.random.key(0)) for algorithm in (both, one)]
    assert jax.tree.map(jnp.shape, init[0]) == jax.tree.map(jnp.shape, init[1])


@pytest.mark.parametrize("memory", ["gru", "lstm", "linear", "attention", "none"])
def test_an_untrained_critic_predicts_values_near_zero(memory: str) -> None:
    """Otherwise the first advantages reflect the critic's initial guesses rather than rewards."""
    policy = make("rl2", width=8, memory=memory).policy(BANDIT)
    seen = jax.random.normal(jax.random.key(1), (64, *BANDIT.observation_space.shape))
    timestep = Timestep(seen, jnp.zeros(64, jnp.int32), jnp.ones(64), jnp.zeros(64, bool))
    params = policy.init(jax.random.key(0))
    value = jax.jit(policy.apply)(params, policy.initial_memory((64,)), timestep)[1].value
    assert 0 < np.max(np.abs(value)) < 0.1


def test_a_policy_without_memory_depends_on_the_current_observation_only() -> None:
    _, world, params, seen = lived(BANDIT, memory="none")
    told = seen.timestep._replace(previous_reward=seen.timestep.previous_reward + 1.0)
    one, two = (world.policy.unroll(params, (), now).distribution for now in (seen.timestep, told))
    np.testing.assert_array_equal(one, two)
    assert not world.policy.has_memory


@pytest.mark.parametrize("memory", ["belief", "none"])
def test_hidden_layers_are_added_where_the_memory_has_no_parameters(memory: str) -> None:
    def layers(**options: Any) -> set[str]:
        policy = make("rl2", width=4, memory=memory, **options).policy(BANDIT)
        params = policy.init(jax.random.key(0))
        assert set(params["actor"]) == set(params["critic"])
        return set(params["actor"])

    assert layers() == {"hidden_0", "hidden_1", "head"}
    assert layers(hidden=(8,)) == {"hidden_0", "head"}


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ({"memory": "belief"}, "navigation", "choose another memory"),
        ({"expected_reward": True}, "navigation", "leave expected_reward off"),
        ({"memory": "attention", "width": 6}, "bandit", "choose 8"),
        ({"curriculum": 0.5}, "bandit", "choose anneal=-1"),
        ({"curriculum": 0.5, "anneal": 9, "lifespan": 2}, "bandit", "lifespan=1"),
        ({"adaptations": 1}, "bandit", "rl2 has no option 'adaptations'"),
        ({"memory": "gruu"}, "bandit", "did you mean 'gru'"),
    ],
)
def test_contradictory_options_are_refused_with_the_remedy(
    options: dict[str, Any], environment: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make("rl2", **options).build(make_environment(environment))
