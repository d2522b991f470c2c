"""Exact meta-gradients of a known finite process, and the limit of each estimator.

The setting of Tang et al. 2021 (arXiv:2106.13125, §5) and Liu et al. 2022 (arXiv:2112.15400): one process, a softmax
policy π_θ(a|s) ∝ exp θ(s, a), a fixed first state and K steps of gradient ascent on the discounted return,

    J(θ) = V(θ_K),   θ_{k+1} = θ_k + α ∇V(θ_k);     ∇J(θ) = Π_{k<K} (I + α H(θ_k)) ∇V(θ_K),

with V = e_startᵀ (I − γ P_π)⁻¹ r_π and H = ∇²V. All results are exact to the precision of the arguments: use float64.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.learner import Estimator
from metarl_jax.core.types import Array, Key
from metarl_jax.envs.tabular import TabularTask


class Process(NamedTuple):
    """A finite process with a fixed first state and the discount γ."""

    task: TabularTask
    gamma: Array | float
    start: int = 0


def draw_process(key: Key, states: int = 20, actions: int = 5, concentration: float = 1e-3) -> TabularTask:
    """A process of Tang et al. 2021: P(. | s, a) ~ Dirichlet(.001), almost deterministic, mean rewards ~ U[0, 1]."""
    transition_key, reward_key = jax.random.split(key)
    prior = jnp.full(states, concentration)
    return TabularTask(
        transition=jax.random.dirichlet(transition_key, prior, (states, actions)),
        reward_mean=jax.random.uniform(reward_key, (states, actions)),
    )


def value(process: Process, theta: Array) -> Array:
    """The expected discounted return of the policy θ [S, A] from the first state."""
    return state_values(process, theta)[process.start]


def state_values(process: Process, theta: Array) -> Array:
    """V = (I − γ P_π)⁻¹ r_π, [S]. O(S³)."""
    policy = jax.nn.softmax(theta)
    reward = jnp.sum(policy * process.task.reward_mean, axis=1)
    return jnp.linalg.solve(_occupancy_matrix(process, policy), reward)


def action_values(process: Process, theta: Array) -> Array:
    """Q(s, a) = r(s, a) + γ Σ_s' P(s'|s, a) V(s'), [S, A]."""
    return process.task.reward_mean + process.gamma * process.task.transition @ state_values(process, theta)


def visits(process: Process, theta: Array) -> Array:
    """The discounted state occupancy d = Σ_t γ^t Pr(s_t = s) = (I − γ P_πᵀ)⁻¹ e_start, [S]."""
    first = jnp.zeros_like(theta[:, 0]).at[process.start].set(1.0)
    return jnp.linalg.solve(_occupancy_matrix(process, jax.nn.softmax(theta)).T, first)


def policy_gradient(process: Process, theta: Array) -> Array:
    """∇V(θ) = E Σ_t γ^t Q_t g_t, g_t = ∇ log π(a_t|s_t); of a table d(s) π(a|s) (Q(s, a) − V(s)), [S, A]."""
    return visits(process, theta)[:, None] * jax.nn.softmax(theta) * _credit(process, theta, baseline=True)


class HessianParts(NamedTuple):
    """H = like + own + cross, each [S A, S A] and an expectation over trajectories of Σ_t γ^t C_t times a matrix.

    Proof: with the probability p of a trajectory, ∇²V = E Σ_k γ^k r_k (∇² log p + ∇ log p ∇ log pᵀ); actions after the
    k-th reward do not move it, so ∇ log p is a sum of g_t over t ≤ k, and each product g_t g_uᵀ has as its weight all
    rewards from max(t, u) on, γ^t C_t for the later of the two.

    C_t may be Q_t or the advantage Q_t − V(s_t). `cross` is the same for both, since E[g_t | s_t] = 0; `like` and `own`
    differ, and by the opposite amounts, since Σ_a π (∇² log π + g gᵀ) = Σ_a ∇²π = 0.
    """

    like: Array  # ∇² log π_t
    own: Array  # g_t g_tᵀ
    cross: Array  # Σ_{u<t} c^{t−u} (g_t g_uᵀ + g_u g_tᵀ), the whole for c = 1


def hessian_parts(process: Process, theta: Array, decay: Array | float = 1.0, baseline: bool = True) -> HessianParts:
    """The parts of ∇²V, the cross terms with a decay c; without a `baseline` weighted by Q. O((S A)³).

    Σ_a C ∇² log π is diagonal by states, since ∇² log π(a|s) = π πᵀ − diag π does not depend on the action. With the
    advantages of a table it is 0. The cross terms need the trace F(s) = E Σ_t γ^t [s_t = s] Σ_{u<t} c^{t−u} g_u, [S, S
    A]. One step on it is

        F(s') = γ c Σ_{s,a} π(a|s) P(s'|s, a) (F(s) + d(s) g(s, a)),

    a linear system, and Σ_{s,a} π(a|s) C(s, a) g(s, a) F(s)ᵀ and its transpose are the cross terms.
    """
    policy, credit, often = jax.nn.softmax(theta), _credit(process, theta, baseline), visits(process, theta)
    score = _scores(policy)  # [S, A, S A]
    paid = policy * credit
    spread = jax.vmap(lambda row: jnp.outer(row, row) - jnp.diag(row))(policy)  # [S, A, A]
    like = jnp.einsum("s,sab,st->satb", often * jnp.sum(paid, axis=1), spread, jnp.eye(len(theta)))
    own = jnp.einsum("sa,sax,say->xy", often[:, None] * paid, score, score)
    step = process.gamma * decay
    entering = step * jnp.einsum("sa,sat,sax->tx", often[:, None] * policy, process.task.transition, score)
    trace = jnp.linalg.solve(_occupancy_matrix(process._replace(gamma=step), policy).T, entering)
    cross = jnp.einsum("sa,sax,sy->xy", paid, score, trace)
    return HessianParts(like.reshape(own.shape), own, cross + cross.T)


def curvature_limit(process: Process, theta: Array, curvature: Array | float | None, baseline: bool = True) -> Array:
    """Minus the expected Hessian of an inner loss in the form of `core.losses`, [S A, S A].

    Each form weighs C_t with a function of log-ratios whose Hessian is ∇² log π (None), + g gᵀ (0), + the decayed cross
    terms (c); the trajectories are drawn from the policy at which it is differentiated.
    """
    parts = hessian_parts(process, theta, 0.0 if curvature is None else curvature, baseline)
    return parts.like if curvature is None else parts.like + parts.own + parts.cross


def adapted(process: Process, theta: Array, rate: Array | float, steps: int = 1) -> Array:
    """θ after steps of exact gradient ascent."""
    for _ in range(steps):
        theta = theta + rate * policy_gradient(process, theta)
    return theta


def meta_gradient(process: Process, theta: Array, rate: Array | float, steps: int = 1) -> Array:
    """∇θ V(θ_K), [S, A], by differentiating the steps."""
    return jax.grad(lambda theta: value(process, adapted(process, theta, rate, steps)))(theta)


def limit(process: Process, theta: Array, rate: Array | float, estimator: Estimator, steps: int = 1) -> Array:
    """The limit of an estimator with many trajectories, [S, A].

    Π_k (I + α Ĥ(θ_k)) ∇V(θ_K) over the last `depth` steps: by the law of large numbers θ_k and every factor converge. Ĥ
    is `curvature_limit`, and all of H with hindsight, whatever the inner loss. Proof: with g(τ), mean ∇V, the inner
    gradient of one trajectory, θ' = θ + α/N Σ g(τ_n) and V(θ') is linear in it where N is large, so the credit is

        E Σ_n ∇ log p(τ_n) V(θ') = α E[∇ log p(τ) g(τ)ᵀ] ∇V = α (∇E[g] − E[∇g]) ∇V = α (H − E[∇g]) ∇V,

    and the inner loss contributes α E[∇g] ∇V.
    """
    path = [adapted(process, theta, rate, k) for k in range(steps + 1)]
    gradient = policy_gradient(process, path[-1]).ravel()
    curvature = 1.0 if estimator.hindsight else estimator.curvature
    depth = steps if estimator.depth is None else min(estimator.depth, steps)
    for before in path[steps - depth : steps][::-1]:
        gradient = gradient + rate * curvature_limit(process, before, curvature, estimator.baseline) @ gradient
    return gradient.reshape(theta.shape)


def _occupancy_matrix(process: Process, policy: Array) -> Array:
    """I − γ P_π, [S, S]."""
    moves = jnp.einsum("sa,sat->st", policy, process.task.transition)
    return jnp.eye(len(moves), dtype=moves.dtype) - process.gamma * moves


def _credit(process: Process, theta: Array, baseline: bool) -> Array:
    """Q(s, a), or with a baseline Q(s, a) − V(s), [S, A]."""
    worth = action_values(process, theta)
    return worth - jnp.sum(jax.nn.softmax(theta) * worth, axis=1, keepdims=True) if baseline else worth


def _scores(policy: Array) -> Array:
    """g(s, a) = ∇θ log π(a|s), [S, A, S A]."""
    states, actions = policy.shape
    here, chosen = jnp.eye(states, dtype=policy.dtype), jnp.eye(actions, dtype=policy.dtype)
    score = here[:, None, :, None] * (chosen[None, :, None, :] - policy[:, None, None, :])
    return score.reshape(states, actions, states * actions)
