"""Every float option of every algorithm traces, and a traced number means what the same number in Python means."""

import dataclasses
import functools
import typing
from typing import Any

import jax
import numpy as np
import pytest
from trees import close

from laws.test_laws import ENVIRONMENT, SMALL, SUPERVISED
from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.checks import legal_ranges
from metarl_jax.envs import make as make_environment

VECTORS = make_environment("navigation", steps=3)
QUICK = ("policy_gradient", "maml", "rl2", "q_learning", "meta_gradient")  # to trace
LEARNED_LOGS = {  # where φ starts at the logarithm of an option, which cannot be 0
    "meta_gradient": {"gamma", "lambda_", "entropy", "value_weight", "inner_lr"},
    "q_learning": {"inner_lr"},
}


def floats(name: str) -> list[str]:
    hints = typing.get_type_hints(ALGORITHMS[name])
    return [field.name for field in dataclasses.fields(ALGORITHMS[name]) if hints[field.name] is float]


def small(name: str) -> Algorithm:
    more = {"anneal": 4} if name in ("rl2", "varibad") else {}
    return make(name, **{"tasks": 4, "envs": 2, **SMALL[name], **more})


def after_a_step(name: str, **options: Any) -> Any:
    """φ after a meta-step and, where it is empty or stays as it is, the agents."""
    discrete = ("q_learning", "varibad", "learned_rule", "disco", *SUPERVISED)
    environment = ENVIRONMENT if name in discrete else VECTORS
    learner = dataclasses.replace(small(name), **options).build(environment)
    state = learner.step(learner.init(jax.random.key(0)), jax.random.key(1))[0]
    return state.lives.agent.params if name in ("policy_gradient", "disco") else state.meta_params


def extremes(name: str) -> list[tuple[str, float]]:
    """Each option at its minimum and at its default; at a temperature near 0 rounding would decide."""
    base, learned = small(name), LEARNED_LOGS.get(name, ())
    lows = {option: legal_ranges(ALGORITHMS[name])[option].low for option in floats(name)} | {"temperature": 0.01}
    least = [(option, lows[option]) for option in floats(name) if option not in learned]
    return least + [(option, getattr(base, option)) for option in floats(name)]


@functools.cache
def traced(name: str) -> dict[tuple[str, float], Any]:
    """φ in each of these cases, of one program in which all float options are traced."""
    cases, base = extremes(name), small(name)
    grid = {option: np.full(len(cases), getattr(base, option), np.float32) for option in floats(name)}
    for row, (option, value) in enumerate(cases):
        grid[option][row] = value
    found = jax.device_get(jax.jit(jax.vmap(lambda options: after_a_step(name, **options)))(grid))
    return {case: jax.tree.map(lambda x, i=i: x[i], found) for i, case in enumerate(cases)}


@functools.cache
def plain(name: str, option: str, value: float) -> Any:
    return jax.device_get(jax.jit(lambda: after_a_step(name, **{option: value}))())


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in ALGORITHMS]
)
def test_every_float_option_traces(algorithm: str) -> None:
    for case, params in traced(algorithm).items():
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params)), case


@pytest.mark.parametrize("algorithm", ["maml", "rl2"])
def test_an_option_that_0_turns_off_is_off_where_0_is_traced(algorithm: str) -> None:
    for option in {"max_gradient_norm", "curriculum"} & set(floats(algorithm)):
        close(traced(algorithm)[option, 0], plain(algorithm, option, 0.0), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_traced_number_means_what_the_number_means(algorithm: str) -> None:
    for (option, value), params in traced(algorithm).items():
        close(params, plain(algorithm, option, float(value)), rtol=1e-3, atol=1e-5)


def test_every_number_has_a_legal_range() -> None:
    for name, kind in ALGORITHMS.items():
        hints = typing.get_type_hints(kind)
        numbers = [field.name for field in dataclasses.fields(kind) if hints[field.name] in (int, float)]
        assert set(numbers) <= set(legal_ranges(ALGORITHMS[name])), name


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("meta_gradient", "gamma", 1.0),
        ("meta_gradient", "lambda_", 0.0),
        ("meta_gradient", "entropy", 0.0),
        ("meta_gradient", "inner_lr", 0.0),
        ("meta_gradient", "value_weight", 0.0),
        ("q_learning", "inner_lr", 0.0),
    ],
)
def test_a_start_from_which_nothing_can_be_learned_is_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} of {name} is {value:g}"):
        make(name, **{option: value})
    if option == "entropy":  # where it is not tuned it may be
        tuned = after_a_step(name, entropy=value, tunes=("gamma", "lambda", "rate"))
        assert np.all(np.isfinite(jax.tree.leaves(tuned)))
