"""MAML: φ holds the initial parameters of a policy-gradient learner (Finn et al. 2017, arXiv:1703.03400, §4.2).

Three arguments select the parameters that adapt, the derivative of an adaptation and the update of φ. The methods of
the literature are combinations of them, at the end of this file.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    MetaLearned,
    Population,
    Recipe,
    Share,
    Strategy,
    Widths,
    adam,
    evolves,
    evolving,
    rollout_steps,
)
from metarl_jax.algorithms.hindsight import credit_hindsight, with_hindsight
from metarl_jax.core.backprop import Passes, backprop, penalised, record, relive
from metarl_jax.core.checks import Between, is_off
from metarl_jax.core.drifts import clipping
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import ESTIMATORS, Estimator, Learner, gradient_learner, partition
from metarl_jax.core.life import World
from metarl_jax.core.losses import Baseline, Loss, actor_critic, reinforce
from metarl_jax.core.objective import OBJECTIVES, Objective, Schedule, reptile
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.trust_region import trust_region
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.core.update import Update, chain
from metarl_jax.core.window import Window, fitting_chunk

ADAPTED: dict[str, Callable[[str], bool]] = {
    "all": lambda path: True,
    "head": lambda path: "head" in path,
    "context": lambda path: "context" in path,
}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAML(MetaLearned, Population, Adapting):
    """Learn initial parameters from which a few policy-gradient steps go far.

    φ = {params, rates}; an agent is born with θ = φ.params and adapts by θ ← θ − inner_lr · rates ⊙ ∇θ L(θ), where the
    rates are 1 or, with `learned_rates`, start there.

    Args:
        estimator: how an adaptation is differentiated: by the curvature of its surrogate (lvc, naive, dice,
            control_variates, loaded_dice), with credit to the actions before it (e_maml), without second derivatives
            (first_order), or through only the last `depth` adaptations (truncated). Without differentiation, φ moves
            towards the adapted parameters (reptile) or by evolution strategies (evolution), among them those of the
            package evosax by their names there, such as evosax:Open_ES.
        outer: the update of φ: Adam (gradient), Adam on the clipped surrogate in `epochs` with a penalty on the
            divergence from the policies that acted before adaptation (ppo), or natural gradients within a trust region.
        inner_lr: step size of an adaptation; with `learned_rates` its initial value and unit.
        inner_decay: factor of the step size from one adaptation to the next. With less than 1, agents that adapt more
            often than in training stay stable.
        inner_loss: REINFORCE with a linear baseline, or actor-critic or PPO with a learned one.
        baseline: subtracted from an environment's returns in REINFORCE: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        normalise: standardise the advantages of a rollout before adapting to it.
        outer_normalise: also standardise the advantages after the last adaptation. All tasks then have equal weight,
            whereas in the expected return those with the largest returns dominate.
        sweeps: gradient steps in an adaptation, all on one rollout.
        learned_rates: meta-learn one step size per parameter (Meta-SGD).
        adapts: which parameters change within a lifetime: all, the last layer (ANIL), or a context vector (CAVIA).
        context: length of the context vector, if that adapts.
        credit_decay: factor a step by which loaded_dice discounts the credit of past actions.
        depth: how many of the last adaptations truncated differentiates through.
        remat: recompute each adaptation in the backward pass: less memory, more time.
        hidden: widths of the policy's layers.
        activation: the nonlinearity after each of them.
        spread: initial standard deviation of actions that are vectors, in units of half their range.
        lambda_: trace decay of the advantages, where there is a critic.
        entropy: weight of the entropy bonus of the outer loss.
        epochs: passes of ppo over a batch of lifetimes.
        minibatches: minibatches of tasks in each pass.
        clip: clipping range of the ratio to the behaviour policy in ppo.
        divergence: target divergence of ppo's penalty, and size of the trust region.
        damping: added to every eigenvalue of the curvature in a trust region. If float32 hardly resolves it beside the
            largest eigenvalue, rounding errors dominate in directions that do not change the adapted policies.
    """

    name: ClassVar[str] = "maml"
    summary: ClassVar[str] = "initial parameters from which a few gradient steps go far"

    estimator: (
        Literal[
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
        ]
        | Strategy
    ) = "lvc"
    outer: Literal["gradient", "ppo", "trust_region"] = "gradient"
    inner_lr: Amount = 0.1
    inner_decay: Amount = 1.0
    inner_loss: Literal["reinforce", "actor_critic", "ppo"] = "reinforce"
    baseline: Baseline = "fitted"
    normalise: bool = True
    outer_normalise: bool = True
    sweeps: Count = 1
    learned_rates: bool = False
    adapts: Literal["all", "head", "context"] = "all"
    context: Count = 8
    credit_decay: Share = 0.9
    depth: Count = 1
    remat: bool = False
    hidden: Widths = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    spread: Annotated[float, Between(1e-6)] = 1.0
    lambda_: Share = 0.95
    entropy: Amount = 0.0
    epochs: Count = 5
    minibatches: Count = 1
    clip: Amount = 0.3
    divergence: Annotated[float, Between(1e-12)] = 0.01
    damping: Amount = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        reason = self._contradiction()
        if reason:
            raise ValueError(f"estimator of {self.name} is {self.estimator}; {reason}")

    def _contradiction(self) -> str | None:
        """The conflict of the estimator with another option, and its remedy."""
        estimator, outer = self.estimator, self.outer
        if (evolves(estimator) or estimator == "reptile") and outer != "gradient":
            return f"it has no loss for outer={outer}: choose outer=gradient, or another estimator"
        if estimator == "reptile" and (self.learned_rates or self.adapts != "all"):
            return "it moves φ towards the adapted parameters, so all must adapt: leave adapts=all, learned_rates off"
        if estimator in ("reptile", "e_maml") and self.objective != "final":
            return "it uses only the end of a lifetime: choose objective=final"
        if estimator in ("reptile", "e_maml") and self.adaptations == 0:
            return "it needs an adaptation: choose adaptations=1 or more"
        if estimator == "truncated" and self.depth >= self.adaptations:
            return f"depth={self.depth} of {self.adaptations} adaptations cuts nothing: choose more adaptations, or lvc"
        if self.inner_loss == "ppo" and (not is_off(estimator_of(self).curvature)):
            return "inner_loss=ppo has the curvature of lvc: choose estimator=lvc or another inner_loss"
        return None

    def refuses(self, environment: Environment) -> str | None:
        centred = self.normalise or self.outer_normalise or self.inner_loss == "reinforce"
        if centred and self.envs * rollout_steps(self, environment)[0] == 1:
            remedy = "choose more envs, or normalise and outer_normalise off and inner_loss=actor_critic"
            return f"a rollout has one step, whose standardised advantage is always 0; {remedy}"
        return super().refuses(environment)

    @property
    def passes(self) -> Passes:
        """Passes of a meta-step over its lives."""
        return Passes(self.epochs, self.minibatches) if self.outer == "ppo" else Passes()

    def recipe(self, environment: Environment) -> Recipe:
        policy = mlp_policy(
            environment,
            self.hidden,
            critic=self.inner_loss != "reinforce",
            context=self.context if self.adapts == "context" else 0,
            activation=ACTIVATIONS[self.activation],
            spread=self.spread,
        )
        world = World(environment, policy, maml_learner(self, policy), self.envs, *rollout_steps(self, environment))
        chunk = self.chunk or fitting_chunk(world)
        window = Window(world, self.adaptations, estimator=estimator_of(self), chunk=chunk)
        objective = objective_of(self, world)
        return Recipe(window, update_of(self, window, objective), objective=objective)


def estimator_of(options: MAML) -> Estimator:
    """The estimator that the options name; reptile and evolution do not use it."""
    chosen = ESTIMATORS.get(options.estimator, Estimator())._replace(remat=options.remat)
    if options.estimator == "loaded_dice":
        return chosen._replace(curvature=options.credit_decay)
    return chosen._replace(depth=options.depth) if options.estimator == "truncated" else chosen


def maml_learner(options: MAML, policy: Policy) -> Learner:
    """Birth at φ.params, adaptation by gradient descent on the parameters that adapt."""
    adapts, loss = ADAPTED[options.adapts], inner_loss(options, policy)

    def meta_init(key: Key) -> Tree:
        params = policy.init(key)
        rates = jax.tree.map(jnp.ones_like, partition(params, adapts)[0])
        return {"params": params, "rates": rates} if options.learned_rates else {"params": params}

    def scale(meta_params: Tree, updates: Tree) -> Tree:
        rates = meta_params.get("rates")
        return updates if rates is None else jax.tree.map(jnp.multiply, rates, updates)

    return gradient_learner(
        policy,
        meta_init,
        lambda meta_params, key: meta_params["params"],
        lambda read: loss,
        decaying_sgd(options.inner_lr, options.inner_decay, options.sweeps),
        scale=scale,
        adapts=adapts,
        sweeps=options.sweeps,
    )


def inner_loss(options: MAML, policy: Policy) -> Loss:
    """The loss of an adaptation."""
    how, drift = estimator_of(options), clipping(options.clip) if options.inner_loss == "ppo" else None
    normalise = options.normalise
    return policy_loss(options, policy, how.baseline, curvature=how.curvature, drift=drift, normalise=normalise)


def decaying_sgd(lr: Array | float, decay: Array | float, sweeps: int) -> optax.GradientTransformation:
    """Gradient descent with `sweeps` steps an adaptation; the step size decays by `decay` with each adaptation."""
    if isinstance(decay, int | float) and decay == 1:
        return optax.sgd(lr)
    return optax.sgd(lambda count: lr * decay ** (count // sweeps))


def policy_loss(options: MAML, policy: Policy, baseline: bool = True, **how: Any) -> Loss:
    """The policy loss that the options name."""
    if options.inner_loss == "reinforce":
        return reinforce(policy, gamma=options.gamma, baseline=options.baseline if baseline else False, **how)
    how = {"entropy": 0.0, **how}
    return actor_critic(policy, gamma=options.gamma, lambda_=options.lambda_, **how)


def objective_of(options: MAML, world: World) -> Schedule:
    """The objective of lives as a function of the meta-steps taken."""
    drift = clipping(options.clip) if options.outer == "ppo" else None
    reduce = reptile if options.estimator == "reptile" else OBJECTIVES[options.objective]

    def objective(step: Array) -> Objective:
        if evolves(options.estimator):
            return reduce(negative_return(world, options.gamma))
        entropy = options.entropy * options.remaining(step)
        how: dict[str, Any] = {"entropy": entropy, "drift": drift, "normalise": options.outer_normalise}
        aim = reduce(policy_loss(options, world.policy, **how))
        return with_hindsight(aim, world.policy) if estimator_of(options).hindsight else aim

    return objective


def update_of(options: MAML, window: Window, objective: Schedule) -> Update:
    """The update of φ."""
    if evolves(options.estimator):
        return evolving(options.estimator, options, window, objective, adam(options))
    recorded = record(window, objective, credit_hindsight if window.estimator.hindsight else None)
    if options.outer == "ppo":
        return chain(recorded, penalised(window, objective, adam(options), options.passes, options.divergence))
    if options.outer == "trust_region":
        region = trust_region(window, objective, size=options.divergence, damping=options.damping)
        return chain(recorded, region)
    if window.estimator.hindsight:
        return chain(recorded, relive(window, objective, adam(options)))
    return backprop(window, objective, adam(options))


def variant(name: str, **stands_for: Any) -> type[MAML]:
    """MAML under another name with some options fixed; the variant does not have these options."""
    members = [(option, ClassVar[Any], dataclasses.field(default=value)) for option, value in stands_for.items()]
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
