"""Improve φ by the natural gradient within a trust region of the adapted policies (Schulman et al. 2015, TRPO)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.backprop import relived_gradient
from metarl_jax.core.batching import Devices, map_tasks
from metarl_jax.core.diagnostics import diagnostics, unmoved
from metarl_jax.core.life import Life
from metarl_jax.core.objective import Objective, Schedule, divergence, divergence_of
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Experience, Record, Tree
from metarl_jax.core.update import Lives, Now, Update, recorded
from metarl_jax.core.window import Info, Window, bound, judged, live, turn_of

SHRINK = 0.8  # factor of the step after a rejection
TOLERANCE = 1e-10  # of the residual as a share of the gradient, at which conjugate gradients end


def trust_region(
    window: Window,
    objective: Schedule,
    *,
    size: Array | float = 0.01,
    products: int = 10,
    damping: Array | float = 1e-5,
    tries: int = 15,
) -> Update:
    """Step along x = (H + damping)⁻¹ ∇φ L within a trust region of the adapted policies (MAML's outer loop).

        φ ← φ − sᵢ √(2 size / xᵀ H x) x,    H = ∇²φ E_task[ KL(π_b ‖ π_{θ_K(φ)}) ] at the acting φ,   sᵢ = .8ⁱ

    with the first i < tries for which the loss falls and the divergence is at most `size`; φ is unchanged if there is
    none. Conjugate gradients compute x with `products` products with H. At the acting φ the gradient of the divergence
    in the policy's outputs y is zero, so its Hessian is exactly H = Jᵀ (∇²_y KL) J with J = ∂y/∂φ, through the
    adaptations.

    The lives must have been recorded. With `remat` J is recomputed for every product, a task at a time; otherwise it
    is stored, and memory grows with the number of tasks.
    """

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim, past = objective(now.step), recorded(lives)
        measure = _measure(window, aim, lives.start, past, now.devices)
        value, gradient, info = relived_gradient(window, aim, meta_params, past, lives.start, now.devices)
        hvp = curvature(window, meta_params, lives.start, past, now.devices)
        step, product = solved(hvp, damping, gradient, products)
        squared = jnp.maximum(optax.tree.vdot(step, product), 1e-20)
        step = optax.tree.scale(jnp.sqrt(2 * size / squared), step)
        meta_params, share, distance = _backtrack(measure, meta_params, step, value, size, tries)
        info |= {"loss": value} | diagnostics(gradient, memory.gradient, aim.reach)
        return (
            meta_params,
            memory._replace(gradient=gradient),
            info | {"divergence": distance, "step_share": share},
            lives,
        )

    return Update(functools.partial(unmoved, optax.identity()), improve, windows=0)


def curvature(
    window: Window,
    meta_params: Tree,
    lives: Life,
    past: Record,
    devices: Devices = Devices(),  # noqa: B008
) -> Callable[[Tree], Tree]:
    """The Hessian-vector product v -> H v of the mean divergence from the adapted policies that acted.

    The outputs of a task are linearised in φ: reverse mode gives the product with Jᵀ, and its transpose the product
    with J. A task is multiplied by both in turn, while its linearisation is in the cache.
    """
    policy = window.world.policy

    def act(meta_params: Tree, past: Record, life: Life) -> Tree:
        """The distribution parameters [T, E, ...] after the last adaptation, as a function of φ."""
        end = live(window, meta_params, bound(window, meta_params, life), past.seen).end
        return replay(policy, end.agent.params, turn_of(past.seen, -1)).distribution

    def linearised(past: Record, life: Life) -> tuple[Tree, Callable[[Tree], tuple[Tree]]]:
        """The outputs, and the product with Jᵀ."""
        return jax.vjp(lambda φ: act(φ, past, life), meta_params)

    remat = window.estimator.remat
    tasks = (past, lives) if remat else map_tasks(linearised, window.chunk, past, lives)
    last = jax.tree.map(lambda x: x[:, -1], past.seen)  # [N, T, E, ...]

    def product(direction: Tree) -> Tree:
        def of_task(seen: Experience, *task: Any) -> Tree:
            outputs, transposed = linearised(*task) if remat else task
            (tangent,) = jax.linear_transpose(lambda u: transposed(u)[0], outputs)(direction)
            gradient = jax.grad(lambda now: divergence_of(policy, now, seen))
            _, cotangent = jax.jvp(gradient, (outputs,), (tangent,))
            return transposed(cotangent)[0]

        products = map_tasks(of_task, window.chunk, last, *tasks)
        return devices.mean(jax.tree.map(lambda x: jnp.mean(x, axis=0), products))

    return product


def solved(hvp: Callable[[Tree], Tree], damping: Array | float, target: Tree, products: int) -> tuple[Tree, Tree]:
    """x = (H + damping)⁻¹ b and H x, by conjugate gradients from 0 with at most so many products with H."""
    enough = TOLERANCE**2 * optax.tree.norm(target, squared=True)

    def left(carry: tuple[Array, Any, Array]) -> Array:
        return (carry[0] < products) & (carry[2] > enough)

    def improved(carry: tuple[Array, Any, Array]) -> tuple[Array, Any, Array]:
        count, (x, product, residual, direction), squared = carry
        along = hvp(direction)
        damped = optax.tree.add_scale(along, damping, direction)
        share = squared / optax.tree.vdot(direction, damped)
        x, product = optax.tree.add_scale((x, product), share, (direction, along))
        residual = optax.tree.add_scale(residual, -share, damped)
        after = optax.tree.norm(residual, squared=True)
        direction = optax.tree.add_scale(residual, after / squared, direction)
        return count + 1, (x, product, residual, direction), after

    zeros = optax.tree.zeros_like(target)
    start = (jnp.int32(0), (zeros, zeros, target, target), optax.tree.norm(target, squared=True))
    return jax.lax.while_loop(left, improved, start)[1][:2]


def _measure(
    window: Window, objective: Objective, lives: Life, past: Record, devices: Devices
) -> Callable[[Tree], tuple[Array, Array]]:
    """φ -> the loss of the record, and the divergence of the adapted policies from those that acted."""

    def one(meta_params: Tree, past: Record, life: Life) -> tuple[Array, Array]:
        value, lived = judged(window, objective, meta_params, bound(window, meta_params, life), past)
        return value, divergence(window.world.policy, lived.end.agent, turn_of(past.seen, -1))

    def measure(meta_params: Tree) -> tuple[Array, Array]:
        both = map_tasks(lambda past, life: one(meta_params, past, life), window.chunk, past, lives)
        return devices.mean(jax.tree.map(jnp.mean, both))

    return measure


def _backtrack(
    measure: Callable[[Tree], tuple[Array, Array]],
    meta_params: Tree,
    step: Tree,
    value: Array,
    size: Array | float,
    tries: int,
) -> tuple[Tree, Array, Array]:
    """Shorten the step until it is accepted: φ, the share of the step that was taken, and the divergence there."""

    def tried(share: Array) -> tuple[Tree, Array, Array]:
        there = optax.tree.add_scale(meta_params, -share, step)
        loss, distance = measure(there)
        return there, distance, (loss < value) & (distance <= size)

    def refused(carry: tuple[Array, Tree, Array, Array, Array]) -> Array:
        count, *_, accepted = carry
        return ~accepted & (count < tries)

    def shorten(carry: tuple[Array, Tree, Array, Array, Array]) -> tuple[Array, Tree, Array, Array, Array]:
        share = SHRINK ** carry[0].astype(value.dtype)
        there, distance, accepted = tried(share)
        return carry[0] + 1, there, share, distance, accepted

    start = (jnp.int32(0), meta_params, jnp.zeros_like(value), jnp.zeros_like(value), jnp.bool_(False))
    _, there, share, distance, accepted = jax.lax.while_loop(refused, shorten, start)
    taken = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, meta_params)
    return taken, jnp.where(accepted, share, 0.0), jnp.where(accepted, distance, 0.0)
