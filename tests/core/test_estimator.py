"""Estimators that differentiate a part of the adaptation, against their definitions."""

from typing import Any

import jax
import numpy as np
from lives import MamlLives
from trees import close

from metarl_jax.algorithms.maml import inner_loss
from metarl_jax.core.life import reborn, run
from metarl_jax.core.types import Record
from metarl_jax.core.window import Window, bound, judged, turn_of


def test_truncation_differentiates_the_last_adaptations_only() -> None:
    """It is the gradient at the parameters that the earlier adaptations reached, with these held constant."""
    some, whole = MamlLives(adaptations=3, estimator="truncated", depth=2), MamlLives(adaptations=3)
    past, life = some.first()

    def gradient(one: MamlLives, window: Window, meta_params: Any, past: Record) -> Any:
        def value(φ: Any) -> Any:
            return judged(window, one.objective, φ, bound(window, φ, life), past)[0]

        return jax.jit(jax.grad(value))(meta_params)["params"]

    φ, world = some.meta_params, some.window.world
    first, second = (turn_of(past.seen, k) for k in (0, 1))
    newborn = reborn(world, φ, life)._replace(seen=first)
    past_turn = jax.tree.map(lambda x: x[None], second)
    agent = jax.jit(lambda newborn: run(world, φ, newborn, 1, past=past_turn)[0].agent)(newborn)
    rest = jax.tree.map(lambda x: x[1:], past)
    expected = gradient(whole, whole.window._replace(turns=2), {"params": agent.params}, rest)
    close(gradient(some, some.window, φ, past), expected, rtol=1e-4, atol=1e-6)
    through_all = gradient(whole, whole.window, φ, past)
    assert not np.allclose(through_all["actor"]["head"]["bias"], expected["actor"]["head"]["bias"])


def test_first_order_treats_inner_gradients_as_constants_and_still_learns_step_sizes() -> None:
    """∂θ'/∂θ = 1 and ∂θ'/∂rate = −lr ∇L: depth 0 of the one rule, against the definition."""
    some = MamlLives(estimator="first_order", learned_rates=True)
    past, life = some.first()
    loss = inner_loss(some.algorithm, some.window.world.policy)
    first, last = (turn_of(past.seen, k) for k in (0, 1))

    def value(φ: Any) -> Any:
        return judged(some.window, some.objective, φ, bound(some.window, φ, life), past)[0]

    found = jax.jit(jax.grad(value))(some.meta_params)
    inner = jax.jit(jax.grad(loss))(some.meta_params["params"], first)
    rates = some.meta_params["rates"]
    adapted = jax.tree.map(lambda p, r, g: p - 0.5 * r * g, some.meta_params["params"], rates, inner)
    outer = jax.jit(jax.grad(some.objective.loss.surrogate))(adapted, last, turn_of(past.credit, 1))
    close(found["params"], outer, rtol=1e-4, atol=1e-6)
    close(found["rates"], jax.tree.map(lambda g, o: -0.5 * g * o, inner, outer), rtol=1e-4, atol=1e-6)
