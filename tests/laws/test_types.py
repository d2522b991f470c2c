"""Every algorithm keeps the types of its training state."""

import itertools
from typing import Any

import jax
import pytest

from laws.test_laws import OCCASIONAL, VARIANTS
from metarl_jax.algorithms import make
from metarl_jax.envs import make as make_environment

ACTIONS = {
    "numbers": make_environment("tabular", states=3, actions=2, steps=3),
    "vectors": make_environment("navigation", steps=3),
}


def algorithm_of(variant: str, estimator: str) -> Any:
    name, options = VARIANTS[variant]
    chosen = {} if estimator == "backprop" else {"estimator": estimator}
    return make(name, **{"tasks": 4, "envs": 2, **options, **chosen})


def makes_sense(variant: str, actions: str, estimator: str) -> bool:
    try:
        return algorithm_of(variant, estimator).refuses(ACTIONS[actions]) is None
    except ValueError:
        return False


CASES = [
    *itertools.product(VARIANTS, ACTIONS, ["backprop"]),
    *itertools.product(["maml", "meta_gradient", "rl2"], ["vectors"], ["evolution"]),
]


def is_shown_elsewhere(variant: str, actions: str, estimator: str) -> bool:
    """A law compiles the usual variants, with numbers for actions; of the occasional ones one trace suffices."""
    return (actions == "numbers") != (variant in OCCASIONAL) and estimator == "backprop"


@pytest.mark.parametrize(
    ("variant", "actions", "estimator"),
    [pytest.param(*case, marks=[pytest.mark.slow] * is_shown_elsewhere(*case)) for case in CASES if makes_sense(*case)],
)
def test_a_step_keeps_the_types_of_the_state(variant: str, actions: str, estimator: str) -> None:
    """What `init` gives and what `step` gives are alike, so that one program takes both."""
    learner = algorithm_of(variant, estimator).build(ACTIONS[actions])
    first = jax.eval_shape(learner.init, jax.random.key(0))
    second = jax.eval_shape(learner.step, first, jax.random.key(1))[0]
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, one), other in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        same = (one.shape, one.dtype, one.weak_type) == (other.shape, other.dtype, other.weak_type)
        assert same, f"{jax.tree_util.keystr(path)} is {one} and becomes {other}"
