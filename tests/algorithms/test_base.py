"""Options and parts that all algorithms share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from records import drawn

import metarl_jax
from metarl_jax.algorithms import make
from metarl_jax.algorithms.base import adam
from metarl_jax.algorithms.maml import inner_loss
from metarl_jax.core.losses import BASELINES
from metarl_jax.core.policy import mlp_policy
from metarl_jax.envs import make as make_environment
from metarl_jax.envs.tabular import RandomMDP


def test_algorithms_refuse_illegal_options() -> None:
    for options, words in (
        ({"gamma": 1.5}, "gamma of maml is 1.5; it must be between 0 and 1"),
        ({"inner_lr": -0.1}, "inner_lr of maml is -0.1; it must be at least 0"),
        ({"tasks": 0}, "tasks of maml is 0"),
        ({"adapts": "heads"}, "did you mean 'head'"),
        ({"inner_lrr": 1.0}, "did you mean 'inner_lr'"),
    ):
        with pytest.raises(ValueError, match=words):
            metarl_jax.make_algorithm("maml", **options)
    with pytest.raises(ValueError, match="multiple of"):
        metarl_jax.make_algorithm("rl2", tasks=6, minibatches=4)
    with pytest.raises(ValueError, match="did you mean 'maml'"):
        metarl_jax.make_algorithm("mamml")
    with pytest.raises(ValueError, match="finitely many actions"):
        metarl_jax.make_algorithm("q_learning").build(make_environment("navigation"))


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ["maml", "policy_gradient", "q_learning", "intrinsic_reward"])
def test_the_baseline_option_selects_the_baseline_of_the_loss(name: str, baseline: str) -> None:
    more = {"loss": "reinforce"} if name == "policy_gradient" else {}
    algorithm, environment = make(name, baseline=baseline, hidden=(4,), **more), RandomMDP(states=3, actions=2)
    seen, _ = drawn(states=3)
    losses = [algorithm.recipe(environment).objective(jnp.int32(0)).loss]
    if name == "maml":
        losses.append(inner_loss(algorithm, mlp_policy(environment, (4,))))
    for loss in losses:
        credited = jax.jit(loss.credit)(seen)
        expected = credited.target - jax.jit(BASELINES[baseline])(seen, credited.target)
        np.testing.assert_allclose(credited.advantage, expected, atol=1e-5)


def test_a_branch_of_φ_with_a_rate_of_its_own_moves_by_it_under_one_clip() -> None:
    options = make("intrinsic_reward", meta_lr=0.1, max_gradient_norm=1.0)
    φ = {"critic": jnp.zeros(2), "reward": {"gain": jnp.zeros(())}}
    optimiser = adam(options, eps=1e-3, rates={"critic": 0.01})
    gradient = jax.tree.map(lambda x: jnp.full_like(x, 2.0), φ)
    moved = optimiser.update(gradient, optimiser.init(φ), φ)[0]
    share = 3**-0.5 / (3**-0.5 + 1e-3)  # of a gradient that the clip has shortened, by what Adam divides it
    np.testing.assert_allclose(moved["critic"], -0.01 * share, rtol=1e-5)
    np.testing.assert_allclose(moved["reward"]["gain"], -0.1 * share, rtol=1e-5)


def test_gradients_are_clipped_at_the_limit_and_0_means_no_limit() -> None:
    """One step of plain descent is as long as the gradient, or as the limit where that is shorter."""
    shorten = metarl_jax.algorithms.base.clipped
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}  # of length 5

    def length(limit: Any) -> Any:
        moved, _ = shorten(limit).update(gradient, shorten(limit).init(gradient))
        return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(moved)))

    limits = np.array([0.0, 0.5, 5.0, 50.0], np.float32)
    np.testing.assert_allclose(jax.vmap(length)(limits), [5.0, 0.5, 5.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose([length(float(limit)) for limit in limits], [5.0, 0.5, 5.0, 5.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("tasks", 4, "only float options may be arrays"),
        ("gamma", [0.5, 0.9], "one number"),
        ("gamma", 1.5, "between 0 and 1"),
    ],
)
def test_an_array_that_cannot_be_an_option_is_refused(option: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make("maml", **{option: jnp.asarray(value)})
