"""MAML and its variants: options, contradictions, and Reptile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import ENVIRONMENT, MamlLives
from records import drawn
from trees import close

import metarl_jax
from metarl_jax.algorithms import VARIANTS, make
from metarl_jax.algorithms.maml import MAML, inner_loss
from metarl_jax.core.learner import ESTIMATORS
from metarl_jax.core.losses import BASELINES
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.window import bound, judged
from metarl_jax.envs import make as make_environment
from metarl_jax.envs.tabular import RandomMDP
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError


def test_reptile_moves_towards_the_adapted_parameters() -> None:
    some = MamlLives(adaptations=2, estimator="reptile")
    past, life = some.first()

    def value(φ: Any) -> Any:
        value, lived = judged(some.window, some.objective, φ, bound(some.window, φ, life), past)
        return value, lived.end.agent

    gradient, agent = jax.jit(jax.grad(value, has_aux=True))(some.meta_params)
    close(
        gradient["params"], jax.tree.map(jnp.subtract, some.meta_params["params"], agent.params), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_maml_with_its_options(name: str) -> None:
    algorithm = make(name, inner_lr=0.3)
    whole = MAML(**VARIANTS[name].stands_for, inner_lr=0.3)
    assert {option: getattr(algorithm, option) for option in vars(whole)} == vars(whole)
    for option, value in VARIANTS[name].stands_for.items():
        with pytest.raises(ValueError, match=f"{name} has no option '{option}'"):
            make(name, **{option: value})
    assert (algorithm.name, algorithm.variant_of) == (name, "maml")
    config = resolve(name, "navigation")
    assert config.algorithm.name == name
    assert config == type(config).from_json(config.to_json())


CONTRADICTIONS = [
    ({"estimator": "evolution", "outer": "ppo"}, "choose outer=gradient"),
    ({"estimator": "reptile", "outer": "trust_region"}, "choose outer=gradient"),
    ({"estimator": "reptile", "learned_rates": True}, "learned_rates off"),
    ({"estimator": "reptile", "adapts": "head"}, "adapts=all"),
    ({"estimator": "e_maml", "objective": "mean"}, "objective=final"),
    ({"estimator": "e_maml", "adaptations": 0}, "adaptations=1"),
    ({"estimator": "truncated"}, "more adaptations"),
    ({"estimator": "dice", "inner_loss": "ppo"}, "another inner_loss"),
    ({"outer": "ppo", "minibatches": 3}, "for example 18"),
    ({"estimator": "lcv"}, "lvc"),
    ({"outer": "trustregion"}, "trust_region"),
    ({"divergence": 0.0}, "divergence of maml is 0.0"),
]


@pytest.mark.parametrize(("options", "remedy"), CONTRADICTIONS, ids=str)
def test_contradictory_options_are_refused_with_the_remedy(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        make("maml", **options)
    with pytest.raises(UsageError, match=remedy):
        metarl_jax.build("maml", "navigation", **options)


CLASHES = [
    *({"estimator": name, "outer": outer} for name in ("evolution", "reptile") for outer in ("ppo", "trust_region")),
    *(
        {"estimator": name, "inner_loss": "ppo"}
        for name in ("naive", "e_maml", "dice", "control_variates", "loaded_dice")
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["gradient", "ppo", "trust_region"])
@pytest.mark.parametrize("inner_loss", ["reinforce", "actor_critic", "ppo"])
@pytest.mark.parametrize("estimator", [*ESTIMATORS, "reptile", "evolution"])
def test_every_combination_of_options_learns_or_is_refused(estimator: str, inner_loss: str, outer: str) -> None:
    options = {"estimator": estimator, "inner_loss": inner_loss, "outer": outer, "adaptations": 2}
    refused = any(options | clash == options for clash in CLASHES)
    if refused:
        with pytest.raises(ValueError, match="choose"):
            make("maml", **options)
        return
    algorithm = make("maml", hidden=(4,), envs=2, tasks=2, pairs=2, **options)
    learner = algorithm.build(ENVIRONMENT)
    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    after = state
    for key in jax.random.split(jax.random.key(1), 4):  # all returns of one meta-step may be equal
        after, info = step(after, key)
        assert all(np.isfinite(value) for value in info.values())
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (after.meta_params, state.meta_params)), strict=True)
    ]
    assert any(moved) or info["step_share"] == 0  # a trust region may refuse every step


def test_normalising_a_single_return_is_refused() -> None:
    """Several environments, or a learned critic without normalisation, are accepted."""
    environment = make_environment("bandit", pulls=1)
    with pytest.raises(ValueError, match="choose more envs"):
        make("maml", envs=1).build(environment)
    apart = {"normalise": False, "outer_normalise": False, "inner_loss": "actor_critic"}
    make("maml", envs=1, **apart).build(environment)
    make("maml", envs=2).build(environment)


@pytest.mark.parametrize("baseline", BASELINES)
def test_dice_adapts_without_a_baseline(baseline: str) -> None:
    environment = RandomMDP(states=3, actions=2)
    seen, _ = drawn(states=3)
    dice = make("maml", estimator="dice", baseline=baseline)
    credited = inner_loss(dice, mlp_policy(environment, (4,))).credit(seen)
    np.testing.assert_array_equal(credited.advantage, credited.target)
