"""Policy losses. Each is a pair: `credit` turns a record into advantages (data), and `surrogate` is differentiated.

All surrogates are functions of the ratio to the behaviour policy. At the behaviour parameters every form has the
gradient of log π. The `curvature` determines the second derivatives, on which a meta-gradient through an adaptation
depends. With g_t = ∇ log π(a_t|s_t) and ℓ_t = log π_θ(a_t|s_t) − log π_b(a_t|s_t), the weight of the advantage A_t and
its Hessian are

    None      ℓ_t                                        ∇²log π
    0         exp(ℓ_t)                                   ∇²log π + g_t g_tᵀ
    c         exp(w_t) − exp(w_t − ℓ_t)                  ∇²log π + g_t g_tᵀ + Σ_{u<t} c^{t−u} (g_t g_uᵀ + g_u g_tᵀ)
              w_t = Σ_{u≤t} c^{t−u} ℓ_u

with sums within an episode. Only c = 1 has the Hessian of the expected return; every smaller c has less variance. None
is the log-likelihood; 0 is LVC (Rothfuss et al. 2019, arXiv:1810.06784); c is Loaded DiCE (Farquhar et al. 2019,
arXiv:1909.10549). With c = 1 and returns as advantages it is DiCE (Foerster et al. 2018, arXiv:1802.05098); with a
baseline subtracted from them, DiCE with control variates of both orders (Mao et al. 2019; Liu et al. 2019).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import chex
import jax.numpy as jnp

from metarl_jax.core.drifts import Drift, clipping, discovered
from metarl_jax.core.policy import Policy
from metarl_jax.core.returns import boundaries, discounted_returns, gae, leave_one_out_baseline, linear_baseline
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Credit, Experience, Output, Tree

Scalar = Array | float
Baseline = Literal["fitted", "leave_one_out"]
BASELINES = {"fitted": linear_baseline, "leave_one_out": leave_one_out_baseline}
RESOLUTION = 1e-3  # share of the returns below which advantages are rounding errors


class Loss(NamedTuple):
    """A loss of an agent's parameters on its experience; minimised."""

    credit: Callable[[Experience], Credit]
    surrogate: Callable[[Tree, Experience, Credit], Array]
    normalise: bool = False  # standardise advantages over everything that is credited together

    def __call__(self, params: Tree, experience: Experience) -> Array:
        return self.surrogate(params, experience, self.credited(experience))

    def credited(self, experience: Experience) -> Credit:
        """The credit of one task's experience, standardised over that experience."""
        credit = self.credit(experience)
        return standardised(credit, experience.weight) if self.normalise else credit


def weighted_mean(x: Array, weight: Array, mean: Callable[[Array], Array] = lambda x: x) -> Array:
    """The mean of x over the steps that count; where devices share them, `mean` averages over devices.

    Each device then returns its part, and the average of the parts is the mean over all steps.
    """
    return jnp.sum(x * weight) / jnp.maximum(mean(jnp.sum(weight)), 1.0)


def standardised(credit: Credit, weight: Array, mean: Callable[[Array], Array] = lambda x: x) -> Credit:
    """The credit with advantages of mean 0 and deviation 1 over the steps that count; `mean` averages over devices."""
    middle, deviation = moments(credit, weight, mean)
    return credit._replace(advantage=(credit.advantage - middle) / deviation)


def moments(credit: Credit, weight: Array, mean: Callable[[Array], Array] = lambda x: x) -> tuple[Array, Array]:
    """The mean of the advantages over the steps that count, and the deviation that they are divided by.

    The deviation is at least `RESOLUTION` of the size of the returns. If all returns are as predicted, advantages are
    rounding errors, which standardising would otherwise amplify.
    """
    chex.assert_equal_shape([credit.advantage, credit.target, weight])
    share = jnp.maximum(mean(jnp.mean(weight)), 1e-8)
    middle = mean(jnp.mean(credit.advantage * weight)) / share
    variance = mean(jnp.mean((credit.advantage - middle) ** 2 * weight)) / share
    least = RESOLUTION**2 * mean(jnp.mean(credit.target**2 * weight)) / share
    return middle, jnp.sqrt(variance + least + 1e-12)  # inside the root: differentiable where all are equal


def reinforce(
    policy: Policy,
    *,
    gamma: Scalar = 0.99,
    baseline: Baseline | Literal[False] = "fitted",
    normalise: bool = True,
    entropy: Scalar = 0.0,
    curvature: Scalar | None = 0.0,
    drift: Drift | None = None,
) -> Loss:
    """REINFORCE with a linear baseline refitted to each task's data (Williams 1992).

    L(θ) = −E[ π_θ(a|s) / π_b(a|s) · (G_t − b(s_t, t)) ] − c E[ H(π_θ) ]

    The baseline of an environment is fitted to the returns of all environments, or to those of the others
    (leave_one_out), which leaves the expected gradient unchanged; with False there is no baseline. `curvature` chooses
    the form of the first factor, see the head of this file; `drift` is subtracted from the gain, as in `ppo`.
    """

    def credit(experience: Experience) -> Credit:
        returns = discounted_returns(experience.reward, gamma * boundaries(experience).trace)
        return Credit(returns - BASELINES[baseline](experience, returns) if baseline else returns, returns)

    def surrogate(params: Tree, experience: Experience, credit: Credit) -> Array:
        output = replay(policy, params, experience)
        term = policy_term(policy, output, experience, credit, curvature, drift)
        return term - entropy * _entropy(policy, output, experience)

    return Loss(credit, surrogate, normalise)


def actor_critic(
    policy: Policy,
    *,
    gamma: Scalar = 0.99,
    lambda_: Scalar = 0.95,
    value_weight: Scalar = 0.5,
    entropy: Scalar = 0.01,
    normalise: bool = False,
    trial: bool = False,
    reward: Callable[[Experience], Array] | None = None,
    curvature: Scalar | None = 0.0,
    drift: Drift | None = None,
) -> Loss:
    """Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783, with generalised advantages).

        L(θ) = −E[ π_θ / π_b · A_t ] + c_v ½ E[ (V_θ(s_t) − A_t − V(s_t))² ] − c_H E[ H(π_θ) ]

    `reward` replaces the recorded reward, for example by a learned one; `curvature` chooses the form of the first
    factor, see the head of this file, and `drift` is subtracted from the gain, as in `ppo`. Discount, trace decay and
    weights are numbers or have a value for each step, [T, E].
    """

    def surrogate(params: Tree, experience: Experience, credit: Credit) -> Array:
        output = replay(policy, params, experience)
        error = 0.5 * value_weight * (output.value - credit.target) ** 2
        bonus = entropy * policy.distribution.entropy(output.distribution)
        regularisers = weighted_mean(error - bonus, experience.weight)
        return policy_term(policy, output, experience, credit, curvature, drift) + regularisers

    return Loss(_advantage_credit(gamma, lambda_, trial, reward), surrogate, normalise)


def ppo(policy: Policy, *, clip: Scalar = 0.2, normalise: bool = True, **options: Any) -> Loss:
    """Proximal policy optimisation, clipped (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

    L(θ) = −E[ min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) ] + value and entropy terms as in `actor_critic`

    The minimum is ρ A minus the drift of `clipping`. `options` are those of `actor_critic`.
    """
    return actor_critic(policy, drift=clipping(clip), normalise=normalise, **options)


def dpo(policy: Policy, *, normalise: bool = True, **options: Any) -> Loss:
    """Discovered policy optimisation (Lu et al. 2022, arXiv:2210.05639): `ppo` with the drift `discovered`.

    L(θ) = −E[ ρ A − drift(ρ, A) ] + value and entropy terms as in `actor_critic`, whose options `options` are
    """
    return actor_critic(policy, drift=discovered(), normalise=normalise, **options)


def value_error(
    policy: Policy,
    *,
    gamma: Scalar = 0.99,
    lambda_: Scalar = 0.95,
    reward: Callable[[Experience], Array] | None = None,
) -> Loss:
    """The error of the critic alone, ½ E[ (V_θ(s_t) − A_t − V(s_t))² ], with generalised advantages A."""

    def surrogate(params: Tree, experience: Experience, credit: Credit) -> Array:
        value = replay(policy, params, experience).value
        return 0.5 * weighted_mean((value - credit.target) ** 2, experience.weight)

    return Loss(_advantage_credit(gamma, lambda_, trial=False, reward=reward), surrogate)


def per_step(
    gamma: Scalar, steps: int, reward: Callable[[Experience], Array] = lambda seen: seen.reward
) -> Callable[[Experience], Array]:
    """The reward divided by the effective horizon, so that a discounted return is an average.

    The horizon is 1 / (1 − γ) steps, or T where that is shorter. A critic then learns values on the scale of a reward.
    """
    horizon = 1.0 / jnp.maximum(1.0 - gamma, 1.0 / steps)
    return lambda seen: reward(seen) / horizon


def _advantage_credit(
    gamma: Scalar,
    lambda_: Scalar,
    trial: bool,
    reward: Callable[[Experience], Array] | None = None,
) -> Callable[[Experience], Credit]:
    def credit(experience: Experience) -> Credit:
        rewards = experience.reward if reward is None else reward(experience)
        edges = boundaries(experience, trial)
        following = experience.next_value
        if trial:  # the next episode follows the end of an episode
            following = jnp.concatenate([experience.value[1:], experience.onward[None]])
        advantage = gae(rewards, experience.value, following, edges, gamma, lambda_)
        return Credit(advantage, experience.value + advantage)

    return credit


def log_ratio(policy: Policy, output: Output, experience: Experience) -> Array:
    """log π_θ(a|s) − log π_b(a|s), [T, E]; 0 at steps that do not count, where the ratio could overflow."""
    log_prob = policy.distribution.log_prob(output.distribution, experience.action)
    return jnp.where(experience.weight > 0, log_prob - experience.log_prob, 0.0)


def policy_term(
    policy: Policy,
    output: Output,
    experience: Experience,
    credit: Credit,
    curvature: Scalar | None = 0.0,
    drift: Drift | None = None,
) -> Array:
    """−E[ score · A − drift(ρ, A) ], the policy's part of a surrogate; there is no drift unless one is given."""
    moved = log_ratio(policy, output, experience)
    chex.assert_equal_shape([moved, credit.advantage, experience.weight])
    gain = _score(moved, experience.timestep.first, curvature) * credit.advantage
    if drift is not None:
        gain = gain - drift(moved, credit.advantage)
    return -weighted_mean(gain, experience.weight)


def _score(log_ratio: Array, first: Array, curvature: Scalar | None) -> Array:
    """The weight of the advantages, [T, E]; its gradient at the behaviour parameters is that of log π."""
    if curvature is None:
        return log_ratio
    if isinstance(curvature, int | float) and curvature == 0:
        return jnp.exp(log_ratio)
    so_far = _so_far(log_ratio, first, curvature)
    return jnp.exp(so_far) - jnp.exp(so_far - log_ratio)


def _so_far(x: Array, first: Array, decay: Scalar) -> Array:
    """Decayed sums over the episode up to each step, Σ_{u≤t} c^{t−u} x_u, [T, E]: returns of the reversed record."""
    backwards = discounted_returns(x[::-1], (decay * (1.0 - first.astype(x.dtype)))[::-1])
    return backwards[::-1]


def _entropy(policy: Policy, output: Output, experience: Experience) -> Array:
    return weighted_mean(policy.distribution.entropy(output.distribution), experience.weight)
