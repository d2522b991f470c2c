"""Improve φ by the natural gradient within a trust region of the adapted policies (Schulman et al. 2015, TRPO)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg
from jax.sharding import Mesh

from metarl_jax.core.backprop import Plan, credited_lives, live, relived_slope
from metarl_jax.core.batching import Devices, map_tasks
from metarl_jax.core.lifetime import Lifetime, run_lifetime
from metarl_jax.core.meta import Info, Life, MetaLearner, Outer, Update, beginning, meta_learner, turn_of
from metarl_jax.core.objective import Schedule, divergence, divergence_of
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Experience, Key, Split, Tree

SHRINK = 0.8  # what a step that was refused is multiplied by


def trust_region(
    lifetime: Lifetime,
    objective: Schedule,
    tasks: int,
    *,
    size: Array | float = 0.01,
    products: int = 10,
    damping: float = 1e-5,
    tries: int = 15,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Step along x = (H + damping)⁻¹ ∇φ L as far as the adapted policies may move (MAML's own outer loop).

        φ ← φ − sᵢ √(2 size / xᵀ H x) x,    H = ∇²φ E_task[ KL(π_b ‖ π_{θ_K(φ)}) ] at the acting φ,   sᵢ = .8ⁱ

    with the first i < tries at which the loss has fallen and the divergence is at most `size`; φ stays where there is
    none. x takes `products` products with H by conjugate gradients. At the acting φ the divergence has no slope in the
    policy's outputs y, so its Hessian is exactly H = Jᵀ (∇²_y KL) J with J = ∂y/∂φ, through the adaptations.

    With `lifetime.remat` J is made anew for every product; otherwise it is kept, memory grows with the tasks.
    """

    def improve(outer: Outer, lives: Life, key: Key, devices: Devices) -> tuple[Outer, Any, Info]:
        plan = Plan(lifetime, objective(outer.step), chunk=chunk, devices=devices)
        after, past, info = credited_lives(plan, outer.meta_params, lives)
        measure = _measure(plan, lives, past)
        value, slope = relived_slope(plan, outer.meta_params, past, *lives)
        product = curvature(plan, outer.meta_params, lives, past)
        step, _ = cg(lambda v: optax.tree.add_scale(product(v), damping, v), slope, maxiter=products, tol=1e-10)
        bend = jnp.maximum(optax.tree.vdot(step, product(step)), 1e-20)
        step = optax.tree.scale(jnp.sqrt(2 * size / bend), step)
        meta_params, share, far = _backtrack(measure, outer.meta_params, step, value, size, tries)
        info = {**jax.tree.map(jnp.mean, info), "loss": value, "gradient_norm": optax.tree.norm(slope)}
        return Outer(meta_params, (), outer.step), after, {**info, "divergence": far, "step_share": share}

    return meta_learner(lifetime, Update(lambda meta_params: (), improve), tasks, split=split, mesh=mesh)


def curvature(plan: Plan, meta_params: Tree, lives: Life, past: Experience) -> Callable[[Tree], Tree]:
    """The product v -> H v with the Hessian of the mean divergence from the adapted policies that acted.

    The slope of the lives' outputs is linearised once: its transpose is what reverse mode gives, and the transpose of
    that takes directions in φ to directions of the outputs.
    """

    def act(meta_params: Tree, past: Experience, *life: Any) -> Tree:
        """The distribution parameters [T, E, ...] after the last adaptation, as a function of φ."""
        state = beginning(plan.lifetime, meta_params, life)
        state, _, _ = run_lifetime(plan.lifetime, None, meta_params, state, life[-1], past)
        return replay(plan.lifetime.policy, state.agent.params, turn_of(past, -1)).distribution

    act = jax.checkpoint(act) if plan.lifetime.remat else act
    outputs, back = jax.vjp(lambda φ: map_tasks(lambda *life: act(φ, *life), plan.chunk, past, *lives), meta_params)
    along = jax.linear_transpose(lambda u: back(u)[0], outputs)
    last = jax.tree.map(lambda x: x[:, -1], past)  # [N, T, E, ...]

    def spread(outputs: Tree) -> Array:
        return jnp.mean(jax.vmap(lambda now, seen: divergence_of(plan.lifetime.policy, now, seen))(outputs, last))

    def product(direction: Tree) -> Tree:
        (turned,) = along(direction)
        _, pressed = jax.jvp(jax.grad(spread), (outputs,), (turned,))
        return plan.devices.mean(back(pressed)[0])

    return product


def _measure(plan: Plan, lives: Life, past: Experience) -> Callable[[Tree], tuple[Array, Array]]:
    """φ -> the loss of the record, and how far the adapted policies are from those that acted."""

    def one(meta_params: Tree, past: Experience, *life: Any) -> tuple[Array, Array]:
        value, state, _ = live(plan, meta_params, life, past)
        return value, divergence(plan.lifetime.policy, state.agent, turn_of(past, -1))

    def measure(meta_params: Tree) -> tuple[Array, Array]:
        both = map_tasks(lambda *life: one(meta_params, *life), plan.chunk, past, *lives)
        return plan.devices.mean(jax.tree.map(jnp.mean, both))

    return measure


def _backtrack(
    measure: Callable[[Tree], tuple[Array, Array]],
    meta_params: Tree,
    step: Tree,
    value: Array,
    size: Array | float,
    tries: int,
) -> tuple[Tree, Array, Array]:
    """Shorten the step until it is accepted: φ, the share of the step that was taken, and how far it led."""

    def tried(share: Array) -> tuple[Tree, Array, Array]:
        there = optax.tree.add_scale(meta_params, -share, step)
        loss, far = measure(there)
        return there, far, (loss < value) & (far <= size)

    def refused(carry: tuple[Array, Tree, Array, Array, Array]) -> Array:
        count, *_, accepted = carry
        return ~accepted & (count < tries)

    def shorten(carry: tuple[Array, Tree, Array, Array, Array]) -> tuple[Array, Tree, Array, Array, Array]:
        share = SHRINK ** carry[0].astype(value.dtype)
        there, far, accepted = tried(share)
        return carry[0] + 1, there, share, far, accepted

    start = (jnp.int32(0), meta_params, jnp.zeros_like(value), jnp.zeros_like(value), jnp.bool_(False))
    _, there, share, far, accepted = jax.lax.while_loop(refused, shorten, start)
    taken = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, meta_params)
    return taken, jnp.where(accepted, share, 0.0), jnp.where(accepted, far, 0.0)
