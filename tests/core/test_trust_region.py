"""The trust region."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from lives import ENVIRONMENT, MamlLives
from trees import close, double

from metarl_jax.core import backprop as backprop_module
from metarl_jax.core.backprop import record as recording
from metarl_jax.core.life import Life
from metarl_jax.core.meta import meta_learner
from metarl_jax.core.objective import divergence
from metarl_jax.core.trust_region import curvature, solved, trust_region
from metarl_jax.core.types import Experience
from metarl_jax.core.update import chain
from metarl_jax.core.window import bound, live, turn_of


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_curvature_product_equals_the_hessian_vector_product(remat: bool) -> None:
    """Of the mean divergence from the policies that acted, through two adaptations with learned rates, in float64."""
    some = MamlLives(adaptations=2, learned_rates=True, outer="trust_region", remat=remat)
    with jax.enable_x64(True):
        meta_params, past, window = double(some.meta_params), double(some.past), some.precise()
        policy = window.world.policy

        def adapted(meta_params: Any, seen: Experience, life: Life) -> Any:
            return live(window, meta_params, bound(window, meta_params, life), seen).end.agent

        def acted(seen: Experience, life: Life) -> Any:
            return policy.unroll(adapted(meta_params, seen, life).params, (), turn_of(seen, -1).timestep).distribution

        seen = past.seen._replace(
            distribution=past.seen.distribution.at[:, -1].set(jax.jit(jax.vmap(acted))(past.seen, some.lives))
        )
        past = past._replace(seen=seen)

        def distance(meta_params: Any) -> Any:
            def one(seen: Experience, life: Life) -> Any:
                return divergence(policy, adapted(meta_params, seen, life), turn_of(seen, -1))

            return jnp.mean(jax.vmap(one)(past.seen, some.lives))

        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), meta_params)
        product = jax.jit(lambda φ, v: curvature(window, φ, some.lives, past)(v))(meta_params, direction)
        # the inner gradient differentiates in reverse only, so the Hessian is reverse over differences
        slope = jax.jit(jax.grad(distance))
        ahead, behind = (
            slope(jax.tree.map(lambda x, d, e=e: x + e * d, meta_params, direction)) for e in (1e-5, -1e-5)
        )
        close(product, jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_conjugate_gradients_solve_the_damped_system(damping: float) -> None:
    """Exactly after as many products as there are numbers; and of a zero gradient nothing is made."""
    with jax.enable_x64(True):
        root = jnp.cos(jnp.arange(16.0) ** 2).reshape(4, 4)
        matrix, target = root @ root.T + 0.1 * jnp.eye(4), {"a": jnp.arange(3.0), "b": jnp.ones(1)}
        flat, unravel = ravel_pytree(target)

        def hvp(direction: Any) -> Any:
            return unravel(matrix @ ravel_pytree(direction)[0])

        exact = np.linalg.solve(np.asarray(matrix) + damping * np.eye(4), flat)
        x, product = solved(hvp, damping, target, 4)
        np.testing.assert_allclose(ravel_pytree(x)[0], exact, rtol=1e-8)
        np.testing.assert_allclose(ravel_pytree(product)[0], matrix @ exact, rtol=1e-8, atol=1e-12)
        zeros = jax.tree.map(jnp.zeros_like, target)
        close(solved(hvp, damping, zeros, 4), (zeros, zeros))


def test_a_trust_region_step_stays_within_it_and_lowers_the_loss() -> None:
    some = MamlLives(outer="trust_region", divergence=1e-3)
    learner = some.algorithm.build(ENVIRONMENT)
    state = learner.init(jax.random.key(0))._replace(meta_params=some.meta_params)
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert 0 < info["divergence"] <= 1e-3
    assert info["step_share"] > 0
    assert not np.allclose(after.meta_params["params"]["actor"]["head"]["kernel"],
                           some.meta_params["params"]["actor"]["head"]["kernel"], atol=1e-6)  # fmt: skip
    objective = some.recipe.objective
    standing = trust_region(some.window, objective, size=1e-3, tries=0)
    still = meta_learner(some.window, chain(recording(some.window, objective), standing), 3)
    close(jax.jit(still.step)(state, jax.random.key(1))[0].meta_params, some.meta_params)


def test_a_trust_region_without_curvature_steps_along_the_gradient() -> None:
    """With damping far above every curvature, H + damping is a multiple of the identity."""
    some = MamlLives(outer="trust_region", divergence=1e-3, damping=1e6)
    plain = meta_learner(some.window, backprop_module.backprop(some.window, some.recipe.objective, optax.sgd(1.0)), 3)
    region = some.algorithm.build(ENVIRONMENT)

    def moved(learner: Any) -> np.ndarray:
        state = learner.init(jax.random.key(0))._replace(meta_params=some.meta_params)
        after, _ = jax.jit(learner.step)(state, jax.random.key(1))
        return ravel_pytree(after.meta_params)[0] - ravel_pytree(some.meta_params)[0]

    regional, descent = moved(region), moved(plain)
    cosine = regional @ descent / np.linalg.norm(regional) / np.linalg.norm(descent)
    assert cosine == pytest.approx(1.0, abs=1e-5)
