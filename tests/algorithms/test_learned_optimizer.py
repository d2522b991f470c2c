"""The learned optimiser: what it does at birth, and that every parameter has the same network and its own memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import close

from algorithms.test_learning import learned, returns
from metarl_jax.algorithms import make
from metarl_jax.algorithms.learned_optimizer.update_network import places, update_network
from metarl_jax.core.policy import mlp_policy
from metarl_jax.envs import make as make_environment

SWEEPS, RATE = 2, 0.01
NETWORK = update_network(width=3, momenta=(0.9, 0.5), rate=RATE, sweeps=SWEEPS, updates=6)
PARAMS = mlp_policy(make_environment("tabular", states=3, actions=2), (4,), critic=True).init(jax.random.key(0))


def gradients(count: int) -> list[Any]:
    """Gradients of very different sizes."""
    flat, unravel = jax.flatten_util.ravel_pytree(PARAMS)
    noise = jax.random.normal(jax.random.key(1), (2, count, flat.size))
    return [unravel(row) for row in noise[0] * jnp.exp(3 * noise[1])]


def updates(optimiser: Any, given: list[Any], **read: Any) -> tuple[list[Any], Any]:
    state, made = optimiser.init(PARAMS), []
    for gradient in given:
        update, state = optimiser.update(gradient, state, PARAMS, **read)
        made.append(update)
    return made, state


def spread(meta_params: Any) -> Any:
    flat, unravel = jax.flatten_util.ravel_pytree(meta_params)
    return {"optimiser": unravel(flat + 0.3 * jax.random.normal(jax.random.key(2), flat.shape))}


def test_the_newborn_optimiser_is_nearly_adam_and_adam_where_its_head_is_0() -> None:
    expected, _ = updates(optax.adam(RATE, b1=0.9, b2=0.999, eps=0.0, eps_root=1e-8), gradients(3))
    newborn = NETWORK.init(jax.random.key(3))
    silent = {**newborn, "head": jax.tree.map(jnp.zeros_like, newborn["head"])}
    exactly, _ = updates(NETWORK.optimiser, gradients(3), meta_params={"optimiser": silent})
    nearly, _ = updates(NETWORK.optimiser, gradients(3), meta_params={"optimiser": newborn})
    close(exactly, expected, rtol=1e-3, atol=1e-6)  # float32 rounds 1 − 0.999
    close(nearly, expected, rtol=0.15, atol=0.05 * RATE)


def test_permuted_parameters_of_a_layer_have_permuted_updates() -> None:
    def permuted(tree: Any) -> Any:
        kernel = tree["actor"]["hidden_0"]["kernel"]
        mixed = jax.random.permutation(jax.random.key(4), kernel.ravel()).reshape(kernel.shape)
        return {**tree, "actor": {**tree["actor"], "hidden_0": {**tree["actor"]["hidden_0"], "kernel": mixed}}}

    φ = spread(NETWORK.init(jax.random.key(3)))
    made, _ = updates(NETWORK.optimiser, gradients(3), meta_params=φ)
    state = NETWORK.optimiser.init(PARAMS)
    for gradient, before in zip(gradients(3), made, strict=True):
        update, state = NETWORK.optimiser.update(permuted(gradient), state, permuted(PARAMS), meta_params=φ)
        close(update, permuted(before), rtol=1e-4, atol=1e-7)


def test_every_parameter_remembers_its_own_gradients() -> None:
    """Another gradient of one parameter, three updates ago, moves the state and the next update of that one alone."""
    φ, (first, *rest) = spread(NETWORK.init(jax.random.key(3))), gradients(4)
    other = jax.tree.map(jnp.array, first)
    other["critic"]["head"]["bias"] += 1.0
    (*_, last), state = updates(NETWORK.optimiser, [first, *rest], meta_params=φ)
    (*_, moved), after = updates(NETWORK.optimiser, [other, *rest], meta_params=φ)
    apart = jax.flatten_util.ravel_pytree(jax.tree.map(lambda a, b: a != b, last, moved))[0]
    where = jax.flatten_util.ravel_pytree(jax.tree.map(lambda a, b: a != b, first, other))[0]
    np.testing.assert_array_equal(apart, where)
    np.testing.assert_array_equal(jnp.any(state.hidden[0] != after.hidden[0], axis=1), where)


def test_the_network_reads_how_much_of_life_and_sweeps_has_passed() -> None:
    """All else being zero: a life of 6 updates, 2 on each rollout, and what follows it."""
    φ, silent = spread(NETWORK.init(jax.random.key(3))), jax.tree.map(jnp.zeros_like, PARAMS)

    def update(taken: int) -> Any:
        state = NETWORK.optimiser.init(silent)._replace(taken=jnp.int32(taken))
        return jax.flatten_util.ravel_pytree(NETWORK.optimiser.update(silent, state, silent, meta_params=φ)[0])[0]

    np.testing.assert_array_equal(update(6), update(8))
    for other in (4, 7):
        assert not np.any(np.isclose(update(6), update(other), rtol=1e-5))


def test_updates_are_twice_differentiable_at_a_zero_gradient() -> None:
    silent = jax.tree.map(jnp.zeros_like, PARAMS)

    def total(φ: Any, gradient: Any) -> Any:
        made, _ = updates(NETWORK.optimiser, [gradient] * 2, meta_params=φ)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(made))

    slopes = jax.jit(jax.grad(total, argnums=(0, 1)))(spread(NETWORK.init(jax.random.key(3))), silent)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))


def test_a_parameter_knows_its_place() -> None:
    zeros = {"bias": jnp.zeros(1)}
    layers = [f"hidden_{i}" for i in range(11)]  # the tenth after the ninth
    params = {"actor": dict.fromkeys([*layers, "head"], zeros), "critic": {"head": zeros}, "log_std": jnp.zeros(1)}
    by_depth = dict(zip(sorted([*layers, "head"]), places(params)[:12], strict=True))
    np.testing.assert_allclose([by_depth[name][0] for name in [*layers, "head"]], np.arange(12) / 11, rtol=1e-6)
    np.testing.assert_array_equal(places(params)[12:], [[1.0, 1.0], [1.0, 0.0]])


def test_an_optimiser_without_momenta_is_refused() -> None:
    with pytest.raises(ValueError, match="momenta of learned_optimizer is empty"):
        make("learned_optimizer", momenta=())
    with pytest.raises(ValueError, match="momenta"):
        make("learned_optimizer", momenta=(1.0,))


@pytest.mark.learning
def test_an_evolved_optimiser_outlearns_its_newborn_self() -> None:
    """In tasks that are held out, after the same eight rollouts."""
    environment = make_environment("tabular", states=5, actions=3, steps=10, episodes=1)
    common = {"envs": 8, "steps": 10, "adaptations": 8, "hidden": (16,), "pairs": 8}
    evolved = learned("learned_optimizer", environment, 20, meta_lr=0.03, **common)
    frozen = learned("learned_optimizer", environment, 1, meta_lr=0.0, **common)
    with_evolution, without = (returns(*one[:2], 1, 8)[:, 0] for one in (evolved, frozen))
    np.testing.assert_allclose(with_evolution[0], without[0], atol=1e-4)  # born alike
    assert without[1] > without[0] + 0.5  # from an optimiser that learns
    assert with_evolution[1] > without[1] + 3.0
