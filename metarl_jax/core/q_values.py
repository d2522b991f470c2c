"""Q-values: the policy that acts by them, and the temporal-difference loss that learns them (Watkins & Dayan 1992)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import is_off
from metarl_jax.core.distributions import distribution_of
from metarl_jax.core.environment import Environment
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.networks import mlp
from metarl_jax.core.policy import Policy, memoryless
from metarl_jax.core.returns import boundaries, discounted_returns
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Credit, Experience, Key, Output, Timestep, Tree


def boltzmann_policy(environment: Environment, hidden: Sequence[int], temperature: Array | float) -> Policy:
    """The policy π(a|s) ∝ exp(Q(s, a) / τ) with parameters {q, log_temperature}; its prediction is Q(s, ·)."""
    distribution = distribution_of(environment.action_space)
    network = mlp(environment.observation_space.shape[0], hidden, distribution.size, head_scale=0.01)

    def init(key: Key) -> Tree:
        return {"q": network.init(key), "log_temperature": jnp.log(jnp.asarray(temperature, float))}

    def output(params: Tree, timestep: Timestep) -> Output:
        q = network.apply(params["q"], timestep.observation)
        return Output(q * jnp.exp(-params["log_temperature"]), jnp.zeros(q.shape[:-1]), q)

    return memoryless(init, output, distribution, predicts=True)


def q_learning(policy: Policy, *, gamma: Array | float = 0.99, lambda_: Array | float = 0.0, cut: bool = True) -> Loss:
    """The squared temporal-difference error of Q-values, ½ E[ (Q_θ(s_t, a_t) − G_t)² ], with traces.

        G_t = r_t + γ [ (1 − λ_t) max_a Q(s_{t+1}, a) + λ_t G_{t+1} ]

    G is r_t if the step terminates the episode. λ_t is λ within an episode and 0 at its end or at that of the record.
    Watkins's Q(λ) cuts the trace before an action that is not greedy; without `cut` it is Peng's (Peng & Williams 1996,
    doi:10.1007/BF00114731). One-step Q-learning is λ = 0. The targets are of the revalued record: constants of the
    inner gradient, which the meta-gradient reaches.
    """

    def credit(seen: Experience) -> Credit:
        edges, following = boundaries(seen), jnp.max(seen.next_prediction, axis=-1)
        if is_off(lambda_):
            target = seen.reward + gamma * edges.bootstrap * following
        else:
            goes_on = _greedy(seen) if cut else jnp.ones_like(seen.reward)
            goes_on = jnp.concatenate([goes_on[1:], jnp.zeros_like(goes_on[:1])])
            trace = gamma * lambda_ * edges.trace * goes_on
            target = discounted_returns(seen.reward + (gamma * edges.bootstrap - trace) * following, trace)
        return Credit(target, target)  # nothing reads an advantage

    def surrogate(params: Tree, seen: Experience, credit: Credit) -> Array:
        chosen = _of_action(replay(policy, params, seen).prediction, seen)
        return 0.5 * weighted_mean((chosen - credit.target) ** 2, seen.weight)

    return Loss(credit, surrogate)


def _greedy(seen: Experience) -> Array:
    """1 where the action has the largest Q-value, [T, E]."""
    return (_of_action(seen.prediction, seen) >= jnp.max(seen.prediction, axis=-1)).astype(seen.reward.dtype)


def _of_action(q: Array, seen: Experience) -> Array:
    """Q(s_t, a_t) [T, E]: a product, because gathers are slow to differentiate."""
    return jnp.sum(q * jax.nn.one_hot(seen.action, q.shape[-1], dtype=q.dtype), axis=-1)
