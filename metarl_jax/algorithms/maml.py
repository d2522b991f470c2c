"""MAML: the meta-parameters are where a policy-gradient learner starts (Finn et al. 2017, arXiv:1703.03400, §4.2).

What changes within a lifetime, how its adaptation is differentiated and how φ moves are three arguments; the methods of
the literature are their combinations, at the end of this file.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, get_type_hints

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from metarl_jax.algorithms.base import Algorithm, is_off
from metarl_jax.core.backprop import Epochs
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner, inner_gradient, merge, partition
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Baseline, Loss, actor_critic, reinforce
from metarl_jax.core.meta import MetaLearner
from metarl_jax.core.objective import Objective, pull, with_hindsight
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.trust_region import trust_region
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree

ADAPTED: dict[str, Callable[[str], bool]] = {
    "all": lambda path: True,
    "head": lambda path: "head" in path,
    "context": lambda path: "context" in path,
}


ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class Estimator(NamedTuple):
    """How the meta-gradient treats an adaptation; docs/estimators.md says which to choose."""

    curvature: float | None = 0.0  # of the inner surrogate, see core/losses.py
    baseline: bool = True  # taken off the returns that the inner surrogate weighs
    hindsight: bool = False  # the actions before an adaptation are credited with what it made of them


ESTIMATORS = {
    "lvc": Estimator(),
    "naive": Estimator(curvature=None),
    "e_maml": Estimator(curvature=None, hindsight=True),
    "dice": Estimator(curvature=1.0, baseline=False),
    "control_variates": Estimator(curvature=1.0),
    "loaded_dice": Estimator(),  # curvature = credit_decay
    "first_order": Estimator(),
    "truncated": Estimator(),
    "reptile": Estimator(),
    "evolution": Estimator(),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAML(Algorithm):
    """Learn initial parameters from which a few policy-gradient steps go far.

    φ = {params, rates}; an agent is born with θ = φ.params and adapts by θ ← θ − inner_lr · rates ⊙ ∇θ L(θ), where the
    rates are 1 or, with `learned_rates`, start there.

    Args:
        estimator: how an adaptation is differentiated: by the curvature of its surrogate (lvc, naive, dice,
            control_variates, loaded_dice), with credit to the actions before it (e_maml), without second derivatives
            (first_order), through the last `depth` adaptations only (truncated), or not at all: by moving φ to where
            agents went (reptile) or by evolution strategies.
        outer: how φ moves: by Adam, by Adam on the clipped surrogate in `epochs` with a penalty on leaving the policies
            that acted before adaptation (ppo), or by natural gradients within a trust region.
        inner_lr: step size of an adaptation, or the first guess of it and the unit of what is learned.
        inner_decay: what each adaptation multiplies the next one's step size by. Less than 1 keeps agents stable that
            adapt more often than in training.
        inner_loss: REINFORCE with a linear baseline, or actor-critic or PPO with a learned one.
        baseline: what REINFORCE subtracts from the returns of an environment: a linear regression on all environments
            (fitted), or on the others alone (leave_one_out), which leaves the expected gradient unchanged.
        normalise: standardise the advantages of a rollout before adapting to it.
        outer_normalise: standardise those after the last adaptation too. It gives all tasks a like say, where the
            expected return listens most to those in which most is to be won.
        sweeps: gradient steps of an adaptation, all on one rollout.
        learned_rates: meta-learn one step size per parameter (Meta-SGD).
        adapts: which parameters change within a lifetime: all, the last layer (ANIL), or a context vector (CAVIA).
        context: length of the context vector, where that is what adapts.
        credit_decay: what loaded_dice multiplies the credit of past actions by at every step.
        depth: adaptations, from the last, that truncated differentiates through.
        remat: recompute each adaptation in the backward pass: less memory, more time.
        hidden: widths of the policy's layers.
        activation: what follows each of them.
        spread: standard deviation of a newborn policy's actions, where they are vectors, in halves of their range.
        lambda_: trace decay of the advantages, where there is a critic.
        entropy: weight of the entropy bonus of the outer loss.
        epochs: how often ppo relives a batch of lifetimes.
        minibatches: in how many parts.
        clip: how far ppo lets the ratio to the acting policy move the surrogate.
        divergence: mean divergence that ppo's penalty aims at, and size of the trust region.
        damping: what a trust region adds to every curvature. Where float32 hardly resolves it beside the largest
            curvature, directions that the adapted policies do not feel are stepped along by rounding.
    """

    name: ClassVar[str] = "maml"
    summary: ClassVar[str] = "initial parameters from which a few gradient steps go far"

    estimator: Literal[
        "lvc",
        "naive",
        "e_maml",
        "dice",
        "control_variates",
        "loaded_dice",
        "first_order",
        "truncated",
        "reptile",
        "evolution",
    ] = "lvc"  # type: ignore[assignment]  # more ways than other algorithms have
    outer: Literal["gradient", "ppo", "trust_region"] = "gradient"
    inner_lr: float = 0.1
    inner_decay: float = 1.0
    inner_loss: Literal["reinforce", "actor_critic", "ppo"] = "reinforce"
    baseline: Baseline = "fitted"
    normalise: bool = True
    outer_normalise: bool = True
    sweeps: int = 1
    learned_rates: bool = False
    adapts: Literal["all", "head", "context"] = "all"
    context: int = 8
    credit_decay: float = 0.9
    depth: int = 1
    remat: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    spread: float = 1.0
    lambda_: float = 0.95
    entropy: float = 0.0
    epochs: int = 5
    minibatches: int = 1
    clip: float = 0.3
    divergence: float = 0.01
    damping: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        reason = self._contradiction()
        if reason:
            raise ValueError(f"estimator of {self.name} is {self.estimator}; {reason}")

    def _contradiction(self) -> str | None:
        """What of the estimator does not go with the rest, and the remedy."""
        estimator, outer = self.estimator, self.outer
        if estimator in ("evolution", "reptile") and outer != "gradient":
            return f"it gives outer={outer} no loss to improve: choose outer=gradient, or another estimator"
        if estimator == "reptile" and (self.learned_rates or self.adapts != "all"):
            return (
                "it moves φ to where agents went, and can only learn what adapts: leave adapts=all, learned_rates off"
            )
        if estimator in ("reptile", "e_maml") and self.objective != "final":
            return "it looks at the end of a lifetime: choose objective=final"
        if estimator in ("reptile", "e_maml") and self.adaptations == 0:
            return "without adaptations it has nothing to go by: choose adaptations=1 or more"
        if estimator == "truncated" and self.depth >= self.adaptations:
            return f"depth={self.depth} of {self.adaptations} adaptations cuts nothing: choose more adaptations, or lvc"
        if self.inner_loss == "ppo" and (self._curvature is None or not is_off(self._curvature)):
            return "ppo has a surrogate of its own, with the curvature of lvc: choose lvc or another inner_loss"
        return None

    def refuses(self, environment: Environment) -> str | None:
        centred = self.normalise or self.outer_normalise or self.inner_loss == "reinforce"
        if centred and self.envs * self.rollout_steps(environment)[0] == 1:
            remedy = "choose more envs, or normalise and outer_normalise off and inner_loss=actor_critic"
            return f"a rollout is one step, whose advantage over its own mean is 0; {remedy}"
        return super().refuses(environment)

    @property
    def _curvature(self) -> float | None:
        return self.credit_decay if self.estimator == "loaded_dice" else ESTIMATORS[self.estimator].curvature

    def lifetime(self, environment: Environment) -> Lifetime:
        policy = mlp_policy(
            environment,
            self.hidden,
            critic=self.inner_loss != "reinforce",
            context=self.context if self.adapts == "context" else 0,
            activation=ACTIVATIONS[self.activation],
            spread=self.spread,
        )
        steps, quota = self.rollout_steps(environment)
        learner = gradient_learner(
            policy,
            self._inner_loss(policy),
            self.inner_lr,
            ADAPTED[self.adapts],
            self.learned_rates,
            first_order=self.estimator == "first_order",
            decay=self.inner_decay,
            sweeps=self.sweeps,
        )
        depth = self.depth if self.estimator == "truncated" else None
        return Lifetime(
            environment, policy, learner, self.adaptations, self.envs, steps, quota, remat=self.remat, depth=depth
        )

    def _inner_loss(self, policy: Policy) -> Loss:
        baseline, clip = ESTIMATORS[self.estimator].baseline, self.clip if self.inner_loss == "ppo" else None
        how: dict[str, Any] = {
            "baseline": baseline,
            "curvature": self._curvature,
            "clip": clip,
            "normalise": self.normalise,
        }
        return self._policy_loss(policy, **how)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        clip = self.clip if self.outer == "ppo" else None
        how: dict[str, Any] = {"entropy": self.entropy * entropy_share, "clip": clip, "normalise": self.outer_normalise}
        return self._policy_loss(lifetime.policy, **how)

    def _policy_loss(self, policy: Policy, *, baseline: bool = True, entropy: Array | float = 0.0, **how: Any) -> Loss:
        if self.inner_loss == "reinforce":
            which = self.baseline if baseline else False
            return reinforce(policy, gamma=self.gamma, baseline=which, entropy=entropy, **how)
        return actor_critic(policy, gamma=self.gamma, lambda_=self.lambda_, entropy=entropy, **how)

    def judged(self, lifetime: Lifetime, remaining: Array) -> Objective:
        if self.estimator == "reptile":
            return pull(self.loss(lifetime, remaining))
        objective = super().judged(lifetime, remaining)
        return with_hindsight(objective, lifetime.policy) if ESTIMATORS[self.estimator].hindsight else objective

    @property
    def passes(self) -> Epochs:
        return Epochs(self.epochs, self.minibatches) if self.outer == "ppo" else Epochs()

    @property
    def target(self) -> float | None:
        return self.divergence if self.outer == "ppo" else None

    def outer_loop(self, lifetime: Lifetime, chunk: int | None, mesh: Mesh | None) -> MetaLearner:
        if self.outer != "trust_region":
            return super().outer_loop(lifetime, chunk, mesh)
        return trust_region(
            lifetime,
            lambda step: self.judged(lifetime, self.remaining(step)),
            self.tasks,
            size=self.divergence,
            damping=self.damping,
            chunk=chunk,
            mesh=mesh,
        )


def gradient_learner(
    policy: Policy,
    loss: Loss,
    inner_lr: Array | float,
    adapts: Callable[[str], bool] = ADAPTED["all"],
    learned_rates: bool = False,
    *,
    first_order: bool = False,
    decay: Array | float = 1.0,
    sweeps: int = 1,
) -> Learner:
    """Birth at φ.params, adaptation by gradient descent on the parameters that `adapts` chooses.

    The agent's state is what it multiplies its step sizes by, `decay` to the number of adaptations so far.
    """

    def meta_init(key: Key) -> Tree:
        params = policy.init(key)
        rates = jax.tree.map(jnp.ones_like, partition(params, adapts)[0])
        return {"params": params, "rates": rates} if learned_rates else {"params": params}

    def inner_loss(fast: Tree, others: tuple[Tree, Tree], seen: Experience) -> Array:
        slow, target_params = others  # the targets' parameters apart: a semi-gradient within, a full one without
        return loss.surrogate(merge(fast, slow), loss.credited(revalue(policy, target_params, seen)))

    gradient = inner_gradient(inner_loss, first_order)

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        fast, slow = partition(agent.params, adapts)
        rates = meta_params["rates"] if learned_rates else jax.tree.map(lambda _: 1.0, fast)
        pace = inner_lr * agent.state

        def sweep(fast: Tree, _: None) -> tuple[Tree, None]:
            slope = gradient(fast, (slow, agent.params), seen)
            return jax.tree.map(lambda p, rate, g: p - pace * rate * g, fast, rates, slope), None

        fast = sweep(fast, None)[0] if sweeps == 1 else jax.lax.scan(sweep, fast, None, length=sweeps)[0]
        return Agent(merge(fast, slow), decay * agent.state)

    return Learner(meta_init, lambda meta_params, key: Agent(meta_params["params"], jnp.ones(())), adapt)


def variant(name: str, **stands_for: Any) -> type[MAML]:
    """MAML under a name of its own, which stands for some of its options and is refused with others."""
    hints = get_type_hints(MAML)
    members = [(option, hints[option], dataclasses.field(default=value)) for option, value in stands_for.items()]
    called = {"name": name, "variant_of": MAML.name, "stands_for": stands_for, "__doc__": MAML.__doc__}
    return dataclasses.make_dataclass(name, members, bases=(MAML,), namespace=called, frozen=True, kw_only=True)


VARIANTS: dict[str, type[MAML]] = {
    kind.name: kind
    for kind in (
        variant("fomaml", estimator="first_order"),  # arXiv:1703.03400, §5.2
        variant("reptile", estimator="reptile"),  # Nichol et al. 2018, arXiv:1803.02999
        variant("meta_sgd", learned_rates=True),  # Li et al. 2017, arXiv:1707.09835
        variant("anil", adapts="head"),  # Raghu et al. 2020, arXiv:1909.09157
        variant("cavia", adapts="context"),  # Zintgraf et al. 2019, arXiv:1810.03642
        variant("e_maml", estimator="e_maml"),  # Stadie et al. 2018, arXiv:1803.01118
        variant("promp", outer="ppo"),  # Rothfuss et al. 2019, arXiv:1810.06784
        variant("maml_trpo", outer="trust_region"),  # arXiv:1703.03400, §5.3
        variant("es_maml", estimator="evolution"),  # Song et al. 2020, arXiv:1910.01215
    )
}
