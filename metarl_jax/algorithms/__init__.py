"""The algorithms: one family a file. A new one needs a file and a line here."""

import dataclasses
from typing import Any

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.algorithms.disco import Disco
from metarl_jax.algorithms.drift import LearnedDrift
from metarl_jax.algorithms.in_context import AlgorithmDistillation, DecisionPretrained
from metarl_jax.algorithms.intrinsic_reward import IntrinsicReward
from metarl_jax.algorithms.learned_optimizer import LearnedOptimizer
from metarl_jax.algorithms.learned_rule import LearnedRule
from metarl_jax.algorithms.maml import MAML, VARIANTS
from metarl_jax.algorithms.meta_gradient import MetaGradient
from metarl_jax.algorithms.policy_gradient import PolicyGradient
from metarl_jax.algorithms.q_learning import QLearning
from metarl_jax.algorithms.rl2 import RL2
from metarl_jax.algorithms.varibad import VariBAD
from metarl_jax.core.checks import check_choice, nearest

ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        PolicyGradient,
        MAML,
        QLearning,
        RL2,
        VariBAD,
        MetaGradient,
        IntrinsicReward,
        LearnedRule,
        LearnedDrift,
        LearnedOptimizer,
        Disco,
        AlgorithmDistillation,
        DecisionPretrained,
    )
}


def make(name: str, **options: Any) -> Algorithm:
    """The algorithm of that name with some of its options set.

    Raises:
        ValueError: there is no such algorithm, it has no such option, or an option's value is illegal.
    """
    check_choice("algorithm", name, everything())
    kind = everything()[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        check_is_free(kind, option)
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}{nearest(option, known)}")
    return kind(**options)


def check_is_free(kind: type[Algorithm], option: str) -> None:
    """Raise ValueError if a variant fixes the option."""
    if option in kind.stands_for:
        fixed = f"{option}={kind.stands_for[option]}"
        remedy = f"leave it out, or choose {kind.variant_of}"
        raise ValueError(
            f"{kind.name} has no option {option!r}: it stands for {kind.variant_of} with {fixed}; {remedy}"
        )


def everything() -> dict[str, type[Algorithm]]:
    """The algorithms and their variants, by name."""
    return ALGORITHMS | VARIANTS
