"""Learners that take gradient steps, and the one gradient that they take."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lives import MamlLives
from records import record
from trees import close

from metarl_jax.algorithms.maml import inner_loss
from metarl_jax.core.learner import gradient_learner, inner_gradient, inner_optimiser, merge, partition
from metarl_jax.core.life import World, reborn, run, unborn
from metarl_jax.core.losses import reinforce
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Experience
from metarl_jax.envs import make as make_environment


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

        return jax.jit(jax.grad(value, argnums=(0, 1)))(params, meta_params)

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
        environment = make_environment("bandit", arms=3, pulls=1)
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

        slope = jax.jit(jax.grad(total))(zeros)["actor"]["head"]["bias"]
        steps = np.eye(3) * 1e-5
        differences = [(exact(logits + d) - exact(logits - d)) / 2e-5 for d in steps]
        np.testing.assert_allclose(-np.asarray(slope), differences, rtol=1e-6, atol=1e-9)
        naive = probabilities(adapted(logits)) * (means - probabilities(adapted(logits)) @ means)
        assert not np.allclose(-np.asarray(slope), naive, rtol=1e-2)  # the derivative of the adaptation matters


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_inner_decay_shortens_every_further_step(decay: float) -> None:
    decaying, constant = MamlLives(inner_decay=decay), MamlLives()
    some, plain = (jax.jit(one.window.world.learner.adapt) for one in (decaying, constant))
    seen, φ, key = jax.tree.map(lambda x: x[0, 0], constant.past.seen), constant.meta_params, jax.random.key(0)
    newborn = decaying.window.world.learner.birth(φ, key)
    once = some(φ, newborn, seen, key)
    twice = some(φ, once, seen, key).params
    newborn = constant.window.world.learner.birth(φ, key)
    whole = plain(φ, newborn._replace(params=once.params), seen, key).params
    step = jax.tree.map(jnp.subtract, whole, once.params)
    close(jax.tree.map(jnp.subtract, twice, once.params), jax.tree.map(lambda x: decay * x, step), 1e-4, 1e-6)


def test_the_second_sweep_continues_on_the_same_credit() -> None:
    """PPO inside a lifetime: the second sweep starts where the first ended, on the same credit."""
    once, twice = MamlLives(inner_loss="ppo"), MamlLives(inner_loss="ppo", sweeps=2)
    seen = jax.tree.map(lambda x: x[0, 0], once.past.seen)
    φ, key = once.meta_params, jax.random.key(0)
    learners = [some.window.world.learner for some in (once, twice)]
    agents = [jax.jit(learner.adapt)(φ, learner.birth(φ, key), seen, key) for learner in learners]
    loss = inner_loss(once.algorithm, once.window.world.policy)
    gradient = jax.jit(lambda params: jax.grad(loss.surrogate)(params, seen, loss.credited(seen)))(agents[0].params)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, agents[0].params, gradient)
    close(agents[1].params, expected, rtol=1e-4, atol=1e-5)
