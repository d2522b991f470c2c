"""A task that pays the same whatever an agent does: the inner gradient is zero, and everything stays finite."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.test_laws import SMALL, SUPERVISED
from probes import Twin

from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.core.learner import InnerOptimiser, inner_gradient, inner_optimiser

pytestmark = pytest.mark.fault(8)

OPTIMISERS = typing.get_args(InnerOptimiser)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_inner_step_along_a_zero_gradient_has_finite_derivatives_of_both_orders(name: str) -> None:
    """The loss is flat at θ = 0 alone; three steps there, whose state is 0 as well."""
    gradient = inner_gradient(lambda params, scale, data: scale * jnp.sum(params**2))
    optimiser = inner_optimiser(name, 0.1)  # type: ignore[arg-type]

    def after(start: jax.Array, scale: jax.Array) -> jax.Array:
        params, state = start, optimiser.init(start)
        for _ in range(3):
            updates, state = optimiser.update(gradient(params, scale, ()), state, params)
            params = optax.apply_updates(params, updates)
        return jnp.sum(params)

    slopes = jax.jit(jax.grad(after, argnums=(0, 1)))(jnp.zeros(3), jnp.float32(0.7))
    curves = jax.jit(jax.jacfwd(jax.grad(after)))(jnp.zeros(3), jnp.float32(0.7))
    assert all(np.all(np.isfinite(x)) for x in (*slopes, curves))
    assert np.any(slopes[0] != 0)


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Every algorithm that adapts, with every inner optimiser that it offers."""
    found = []
    for name in SMALL:
        hints = typing.get_type_hints(ALGORITHMS[name])
        choices = OPTIMISERS if "inner_optimiser" in hints else (None,)
        if name not in SUPERVISED:
            found += [(name, {} if choice is None else {"inner_optimiser": choice}) for choice in choices]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), cases())
def test_no_meta_step_is_skipped_where_nothing_can_be_learned(name: str, options: dict[str, Any], tally: Any) -> None:
    learner = make(name, **{"tasks": 4, "envs": 2, **SMALL[name], **options}).build(Twin(ends="truncated"))

    @jax.jit
    def trained(key: jax.Array) -> Any:
        return jax.lax.scan(learner.step, learner.init(key), jax.random.split(key, 6))

    state, info = jax.device_get(trained(jax.random.key(0)))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.meta_params))
    tally(rounds=6, lost=int(info["skipped"].sum()))
