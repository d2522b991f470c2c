"""The parts of the formula, one by one, against something simpler."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax
from metarl_jax.core import batching
from metarl_jax.core.distributions import categorical, diagonal_gaussian
from metarl_jax.core.evaluation import by_episode, evaluate
from metarl_jax.core.evolution import centred_ranks
from metarl_jax.core.learner import gradient_learner, inner_gradient, inner_optimiser, merge, partition
from metarl_jax.core.life import World, reborn, run, unborn
from metarl_jax.core.losses import ppo, reinforce
from metarl_jax.core.memories import gru
from metarl_jax.core.networks import orthogonal
from metarl_jax.core.policy import memory_policy, mlp_policy
from metarl_jax.core.returns import Boundaries, boundaries, discounted_returns, episode_time, gae, linear_baseline
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Credit, Experience, Timestep
from metarl_jax.envs import make


def record(reward: Any, terminated: Any, truncated: Any, **more: Any) -> Experience:
    """An experience [T, 1] with the fields that returns read."""
    reward, terminated, truncated = (jnp.asarray(x)[:, None] for x in (reward, terminated, truncated))
    blank = jnp.zeros_like(reward, dtype=jnp.float32)
    done = terminated | truncated
    first = jnp.concatenate([jnp.ones((1, 1), bool), done[:-1]])
    timestep = Timestep(blank[..., None], blank.astype(int), blank, first)
    values = {"value": blank, "next_value": blank, "final": done & False, "weight": blank + 1, **more}
    return Experience(
        timestep=timestep, action=blank.astype(int), log_prob=blank, reward=reward.astype(jnp.float32),
        terminated=terminated, truncated=truncated, next_observation=blank[..., None], memory=(), **values,
    )  # fmt: skip


def test_returns_stop_at_every_episode_end() -> None:
    seen = record([1.0, 2.0, 4.0, 8.0], [False, True, False, False], [False] * 4)
    returns = discounted_returns(seen.reward, 0.5 * boundaries(seen).trace)
    np.testing.assert_allclose(returns[:, 0], [2.0, 2.0, 8.0, 8.0])


def test_only_truncated_episodes_bootstrap() -> None:
    seen = record([0.0, 0.0, 0.0], [True, False, False], [False, True, False], next_value=jnp.full((3, 1), 10.0))
    advantage = gae(seen.reward, seen.value, seen.next_value, boundaries(seen), 0.9, 0.5)
    np.testing.assert_allclose(advantage[:, 0], [0.0, 9.0, 9.0])


def test_a_trial_runs_on_until_its_quota_is_used_up() -> None:
    final = jnp.array([[False], [True], [False]])
    seen = record([1.0, 1.0, 1.0], [True, True, True], [False] * 3, final=final)
    np.testing.assert_array_equal(boundaries(seen, trial=True).trace[:, 0], [1.0, 0.0, 1.0])


def test_gae_with_lambda_one_is_the_return_less_the_value() -> None:
    generator = np.random.default_rng(0)
    reward, value = generator.normal(size=(2, 6, 3))
    after = np.concatenate([value[1:], np.zeros((1, 3))])
    ones = np.ones_like(reward)
    ones[-1] = 0
    advantage = gae(reward, value, after, Boundaries(ones, ones), 0.9, 1.0)
    np.testing.assert_allclose(advantage, discounted_returns(reward, 0.9 * ones) - value, rtol=1e-4, atol=1e-5)


def test_episode_time_restarts_with_each_episode() -> None:
    first = jnp.array([True, False, False, True, False])[:, None]
    np.testing.assert_array_equal(episode_time(first)[:, 0], [0, 1, 2, 0, 1])


@pytest.mark.parametrize("shape", [(16, 16), (3, 16), (16, 3)])
def test_first_weights_are_those_of_the_library_without_lapack(shape: tuple[int, int]) -> None:
    """Whose batches never end on one core."""
    key = jax.random.key(0)
    expected = jax.nn.initializers.orthogonal(2.0)(key, shape)
    np.testing.assert_allclose(orthogonal(2.0)(key, shape), expected, atol=1e-5)
    births = jax.jit(jax.vmap(lambda key: orthogonal()(key, shape)))
    assert "lapack" not in births.lower(jax.random.split(key, 2)).as_text()


def test_the_linear_baseline_is_the_weighted_least_squares_fit() -> None:
    generator = np.random.default_rng(1)
    observation, target = generator.normal(size=(40, 1, 2)), generator.normal(size=(40, 1))
    weight = (generator.random((40, 1)) < 0.8).astype(np.float32)
    seen = record(np.zeros(40), np.zeros(40, bool), np.zeros(40, bool), weight=jnp.asarray(weight))
    seen = seen._replace(timestep=seen.timestep._replace(observation=jnp.asarray(observation, jnp.float32)))
    t = np.arange(40)[:, None] / 100
    x, flat = (
        np.concatenate([observation[:, 0], observation[:, 0] ** 2, t, t**2, t**3, np.ones((40, 1))], 1),
        weight[:, 0],
    )
    solution = np.linalg.lstsq(x * flat[:, None] ** 0.5, target[:, 0] * flat**0.5, rcond=None)[0]
    np.testing.assert_allclose(linear_baseline(seen, jnp.asarray(target), ridge=0.0)[:, 0], x @ solution, atol=5e-2)
    lowered = jax.jit(lambda target: linear_baseline(seen, target)).lower(jnp.asarray(target))
    assert "lapack" not in lowered.as_text()  # whose batches never end on one core


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_distributions_agree_with_their_samples(family: str) -> None:
    if family == "categorical":
        distribution, params = categorical(3), jnp.array([0.3, -0.2, 1.0])
        other: Any = jnp.array([0.0, 0.5, 0.5])
    else:
        distribution, params = diagonal_gaussian(2), (jnp.array([0.3, -1.0]), jnp.array([-0.5, 0.2]))  # type: ignore[assignment]
        other = (jnp.array([0.0, -0.5]), jnp.array([0.0, 0.0]))
    keys = jax.random.split(jax.random.key(0), 20_000)
    samples = jax.vmap(lambda key: distribution.sample(key, params))(keys)
    log_p = jax.vmap(lambda x: distribution.log_prob(params, x))(samples)
    log_q = jax.vmap(lambda x: distribution.log_prob(other, x))(samples)
    np.testing.assert_allclose(-log_p.mean(), distribution.entropy(params), atol=0.03)
    np.testing.assert_allclose((log_p - log_q).mean(), distribution.divergence(params, other), atol=0.03)
    np.testing.assert_allclose(jnp.exp(log_q - log_p).mean(), 1.0, atol=0.05)  # both integrate to one


def test_the_inner_gradient_differentiates_like_reverse_over_reverse() -> None:
    def loss(params: Any, meta_params: Any, data: Any) -> Any:
        return jnp.sum(jnp.tanh(data @ params["w"]) ** 2 * meta_params) + jnp.sum(params["b"] ** 3)

    key = jax.random.key(0)
    params = {"w": jax.random.normal(key, (3, 2)), "b": jnp.array([0.5, -1.0])}
    meta_params, data = jnp.array([0.3, 2.0]), jax.random.normal(key, (5, 3))

    def outer(gradient: Any) -> Any:
        def value(params: Any, meta_params: Any) -> Any:
            moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient(params, meta_params, data))
            return loss(moved, meta_params, data)

        return jax.grad(value, argnums=(0, 1))(params, meta_params)

    ours, plain = outer(inner_gradient(loss)), outer(jax.grad(loss))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, plain)


def test_inner_adam_is_differentiable_at_a_zero_gradient() -> None:
    def moved(x: Any) -> Any:
        optimiser = inner_optimiser("adam", 0.1)
        update, _ = optimiser.update(x * 0.0, optimiser.init(x), x)
        return optax.apply_updates(x, update)

    assert np.isfinite(jax.grad(moved)(1.0))


def test_partition_and_merge_are_inverse() -> None:
    tree = {"head": jnp.ones(2), "body": {"kernel": jnp.zeros(3)}}
    chosen, rest = partition(tree, lambda path: "head" in path)
    assert jax.tree.structure(merge(chosen, rest)) == jax.tree.structure(tree)
    assert len(jax.tree.leaves(chosen)) == len(jax.tree.leaves(rest)) == 1


def test_ppo_stops_at_its_clip() -> None:
    environment = make("tabular", states=3, actions=2, steps=3)
    policy = mlp_policy(environment, (4,), critic=True)
    params = policy.init(jax.random.key(0))
    task = environment.sample_task(jax.random.key(1), "train")
    scene = opening(environment, policy, task, jax.random.key(2), 4)
    _, seen = rollout(environment, policy, params, task, scene, jax.random.key(3), 3)
    distant = seen._replace(log_prob=seen.log_prob - 1.0)  # ratio e > 1.2
    credit = Credit(jnp.ones((3, 4)), seen.value)
    loss = ppo(policy, entropy=0.0, value_weight=0.0).surrogate
    np.testing.assert_allclose(loss(params, distant, credit), -1.2, rtol=1e-6)
    assert not any(np.any(g) for g in jax.tree.leaves(jax.grad(loss)(params, distant, credit)))


def test_episodes_beyond_the_quota_do_not_count() -> None:
    environment = make("tabular", states=3, actions=2, steps=2)
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
    environment = make("tabular", states=3, actions=2, steps=2)
    policy = mlp_policy(environment, (4,))
    params = policy.init(jax.random.key(2))
    task = environment.sample_task(jax.random.key(0), "train")
    scene = opening(environment, policy, task, jax.random.key(1), 3)
    scene, first = rollout(environment, policy, params, task, scene, jax.random.key(3), 3, quota=2)
    scene, second = rollout(environment, policy, params, task, scene, jax.random.key(4), 3, quota=2)
    np.testing.assert_array_equal(np.concatenate([first.weight, second.weight])[:, 0], [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(np.concatenate([first.final, second.final])[:, 0], [0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(scene.episodes, 3)


def test_a_trial_in_windows_ends_with_its_quota_or_its_span() -> None:
    environment = make("tabular", states=3, actions=2, steps=2, episodes=2)  # a trial of 4 steps
    options = {"tasks": 1, "width": 4, "epochs": 1, "minibatches": 1, "steps": 3}

    def ages(**more: Any) -> list[int]:
        learner = metarl_jax.make_algorithm("rl2", **options, **more).build(environment)
        step, state, lived = jax.jit(learner.step), learner.init(jax.random.key(0)), []
        for key in jax.random.split(jax.random.key(1), 5):
            state, _ = step(state, key)
            lived.append(int(state.lives.age[0]))
        return lived

    assert ages(lifespan=9) == [1, 2, 1, 2, 1]
    assert ages(lifespan=3, across_episodes=False) == [1, 2, 3, 1, 2]


def test_the_next_value_is_that_of_the_true_successor() -> None:
    """A memory's value of what really followed, recomputed step by step, in a record with all kinds of ends."""
    environment = make("cartpole", steps=12, episodes=3)
    policy = memory_policy(environment, lambda inputs: gru(inputs, 4))
    params = jax.tree.map(lambda x: x + 0.3, policy.init(jax.random.key(0)))
    task = environment.sample_task(jax.random.key(1), "train")
    scene = opening(environment, policy, task, jax.random.key(2), 4)
    _, seen = rollout(environment, policy, params, task, scene, jax.random.key(3), 40)
    assert seen.terminated.any()
    assert seen.truncated.any()

    def ask(memory: Any, now: Experience) -> tuple[Any, Any]:
        memory, _ = policy.apply(params, memory, now.timestep)
        successor = Timestep(now.next_observation, now.action, now.reward, jnp.zeros(4, bool))
        return memory, policy.apply(params, memory, successor)[1].value

    values = jax.lax.scan(ask, scene.memory, seen._replace(memory=(), earned=(), onward=()))[1]
    counts = ~np.asarray(seen.terminated)  # nothing follows the others
    np.testing.assert_allclose(seen.next_value[counts], values[counts], atol=1e-5)


def test_the_result_in_a_task_does_not_depend_on_the_others() -> None:
    environment = make("bandit", arms=3, pulls=4)
    world = metarl_jax.make_algorithm("maml", hidden=(4,), envs=2).recipe(environment).window.world
    meta_params = world.learner.meta_init(jax.random.key(0))
    tasks = jax.vmap(lambda key: environment.sample_task(key, "test"))(jax.random.split(jax.random.key(1), 3))
    run = jax.jit(lambda tasks: evaluate(world, meta_params, tasks, jax.random.key(2), 1).returns)
    other = jax.tree.map(lambda x: x.at[1:].set(x[1:][::-1]), tasks)
    np.testing.assert_array_equal(run(tasks)[0], run(other)[0])


def test_maml_has_the_exact_meta_gradient_of_an_enumerated_bandit() -> None:
    """One step, two arms: every history is enumerated with its probability, so expectations are exact.

    J(φ) = E[r | θ'] with θ' = φ + α ∇E[r | φ]; the library's meta-gradient over the enumerated record equals central
    differences of J, computed in NumPy without automatic differentiation.
    """
    means, alpha = np.array([0.2, 0.9, 0.4]), 1.3

    def probabilities(logits: np.ndarray) -> np.ndarray:
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    def adapted(logits: np.ndarray) -> np.ndarray:
        p = probabilities(logits)
        return logits + alpha * p * (means - p @ means)

    def exact(logits: np.ndarray) -> float:
        return float(probabilities(adapted(logits)) @ means)

    with jax.enable_x64(True):
        environment = make("bandit", arms=3, pulls=1)
        policy = mlp_policy(environment, ())
        loss = reinforce(policy, gamma=1.0, baseline=False, normalise=False)
        learner = gradient_learner(
            policy,
            policy.init,
            lambda meta_params, key: meta_params,
            lambda read: loss,
            optax.sgd(alpha),
            adapts=lambda path: "bias" in path,
        )
        world = World(environment, policy, learner, envs=3, steps=1, quota=1)
        logits = np.array([0.3, -0.5, 0.1])
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float64), policy.init(jax.random.key(0)))
        zeros["actor"]["head"]["bias"] = jnp.asarray(logits)

        def enumerated(logits: np.ndarray) -> Experience:
            p = jnp.asarray(probabilities(logits))[None]  # [T = 1, E = arms]
            seen = record([0.0], [True], [False])
            wide = jax.tree.map(lambda x: jnp.broadcast_to(x, (1, 3, *x.shape[2:])).astype(x.dtype), seen)
            wide = wide._replace(timestep=wide.timestep._replace(observation=jnp.ones((1, 3, 1))))
            return wide._replace(
                action=jnp.arange(3)[None], log_prob=jnp.log(p), reward=jnp.asarray(means)[None], weight=p
            )

        past = jax.tree.map(lambda *x: jnp.stack(x), enumerated(logits), enumerated(adapted(logits)))

        def total(meta_params: Any) -> Any:
            task = environment.sample_task(jax.random.key(0), "train")
            life = reborn(world, meta_params, unborn(task, jax.random.key(1)))
            first, rest = (jax.tree.map(lambda x, i=i: x[i], past) for i in (0, slice(1, None)))
            life, losses = run(world, meta_params, life._replace(seen=first), 1, observe, past=rest)
            return losses[-1]

        def observe(meta_params: Any, life: Any) -> Any:
            return loss(life.agent.params, life.seen)

        slope = jax.grad(total)(zeros)["actor"]["head"]["bias"]
        steps = np.eye(3) * 1e-5
        differences = [(exact(logits + d) - exact(logits - d)) / 2e-5 for d in steps]
        np.testing.assert_allclose(-np.asarray(slope), differences, rtol=1e-6, atol=1e-9)
        naive = probabilities(adapted(logits)) * (means - probabilities(adapted(logits)) @ means)
        assert not np.allclose(-np.asarray(slope), naive, rtol=1e-2)  # the derivative of the adaptation matters


def test_ranks_are_centred_and_ties_weigh_nothing() -> None:
    np.testing.assert_allclose(centred_ranks(jnp.array([3.0, 1.0, 2.0])), [0.5, -0.5, 0.0])
    np.testing.assert_allclose(centred_ranks(jnp.array([2.0, 2.0, 2.0])), 0.0)


def test_the_public_names_are_there() -> None:
    for name in metarl_jax.__all__:
        assert getattr(metarl_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        metarl_jax.learn  # noqa: B018


def test_algorithms_refuse_illegal_options() -> None:
    for options, words in (
        ({"gamma": 1.5}, "gamma of maml is 1.5; it must be between 0 and 1"),
        ({"inner_lr": -0.1}, "inner_lr of maml is -0.1; it must be at least 0"),
        ({"tasks": 0}, "tasks of maml is 0"),
        ({"adapts": "heads"}, "did you mean 'head'"),
        ({"inner_lrr": 1.0}, "did you mean 'inner_lr'"),
    ):
        with pytest.raises(ValueError, match=words):
            metarl_jax.make_algorithm("maml", **options)
    with pytest.raises(ValueError, match="multiple of"):
        metarl_jax.make_algorithm("rl2", tasks=6, minibatches=4)
    with pytest.raises(ValueError, match="did you mean 'maml'"):
        metarl_jax.make_algorithm("mamml")
    with pytest.raises(ValueError, match="finitely many actions"):
        metarl_jax.make_algorithm("q_learning").build(make("navigation"))


def test_every_history_of_a_tiny_task_has_the_probability_that_the_rollout_gives_it() -> None:
    """The recorded log-probabilities are those of the policy: over all action pairs they sum to one."""
    environment = make("bandit", arms=2, pulls=2)
    policy = mlp_policy(environment, (3,))
    params = policy.init(jax.random.key(0))
    logits = policy.apply(params, (), Timestep(jnp.ones(1), jnp.int32(0), jnp.float32(0), jnp.bool_(True)))[
        1
    ].distribution
    log_p = [policy.distribution.log_prob(logits, jnp.int32(a)) for a in range(2)]
    total = sum(np.exp(log_p[a] + log_p[b]) for a, b in itertools.product(range(2), repeat=2))
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_trials_relived_in_groups_weigh_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some trials count fewer steps than others: the mean is over steps, not over groups."""
    environment = make("cartpole", steps=60, episodes=1)
    algorithm = metarl_jax.make_algorithm("rl2", tasks=8, width=4, epochs=1, minibatches=1)
    state = algorithm.build(environment).init(jax.random.key(0))
    # away from a newborn, whose loss is next to nothing
    state = state._replace(meta_params=jax.tree.map(lambda x: x + 1.0, state.meta_params))

    def moved(lanes: int) -> Any:
        monkeypatch.setattr(batching, "LANES", lanes)
        step = jax.jit(algorithm.build(environment).step)
        return step(state, jax.random.key(1))

    (whole, info), (grouped, other) = moved(8), moved(2)
    np.testing.assert_allclose(info["loss"], other["loss"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(whole.meta_params), jax.tree.leaves(grouped.meta_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
