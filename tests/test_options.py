"""Every float option of every algorithm traces, and a traced number means what the same number in Python means."""

import dataclasses
import functools
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import compiled
from test_laws import ENVIRONMENT, SMALL, close

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.checks import legal_ranges
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.errors import UsageError

VECTORS = make_environment("navigation", steps=3)
LEARNED_LOGS = {  # where φ starts at the logarithm of an option, which cannot be 0
    "meta_gradient": {"gamma", "lambda_", "entropy", "inner_lr"},
    "q_learning": {"inner_lr"},
}


def floats(name: str) -> list[str]:
    hints = typing.get_type_hints(ALGORITHMS[name])
    return [field.name for field in dataclasses.fields(ALGORITHMS[name]) if hints[field.name] is float]


def small(name: str) -> Algorithm:
    more = {"anneal": 4} if name in ("rl2", "varibad") else {}
    return make(name, **{"tasks": 4, "envs": 2, **SMALL[name], **more})


def after_a_step(name: str, **options: Any) -> Any:
    """φ after a meta-step and, where it has none, the agents."""
    environment = ENVIRONMENT if name in ("q_learning", "varibad") else VECTORS
    learner = dataclasses.replace(small(name), **options).build(environment)
    state = learner.step(learner.init(jax.random.key(0)), jax.random.key(1))[0]
    return state.meta_params or state.lives.agent.params


def extremes(name: str) -> list[tuple[str, float]]:
    """Each option at the least it may be, and at its default; a temperature next to 0 would follow rounding."""
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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
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


def test_no_limit_is_no_limit_and_a_limit_is_kept() -> None:
    """One step of plain descent is as long as the gradient, or as the limit where that is shorter."""
    shorten = metarl_jax.algorithms.base.clipped
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}  # of length 5

    def length(limit: Any) -> Any:
        moved, _ = shorten(limit).update(gradient, shorten(limit).init(gradient))
        return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(moved)))

    limits = np.array([0.0, 0.5, 5.0, 50.0], np.float32)
    np.testing.assert_allclose(jax.vmap(length)(limits), [5.0, 0.5, 5.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose([length(float(limit)) for limit in limits], [5.0, 0.5, 5.0, 5.0], rtol=1e-6)


def test_a_range_outlives_a_new_default() -> None:
    """A subclass that only changes a default need not repeat the range, and cannot lose it."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Larger(Algorithm):
        name: typing.ClassVar[str] = "larger"
        tasks: int = 100

    assert Larger().tasks == 100
    with pytest.raises(ValueError, match="tasks of larger is 0; it must be at least 1"):
        Larger(tasks=0)


def test_every_number_has_a_legal_range() -> None:
    for name, kind in ALGORITHMS.items():
        hints = typing.get_type_hints(kind)
        numbers = [field.name for field in dataclasses.fields(kind) if hints[field.name] in (int, float)]
        assert set(numbers) <= set(legal_ranges(ALGORITHMS[name])), name


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


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("meta_gradient", "gamma", 1.0),
        ("meta_gradient", "lambda_", 0.0),
        ("meta_gradient", "entropy", 0.0),
        ("meta_gradient", "inner_lr", 0.0),
        ("q_learning", "inner_lr", 0.0),
    ],
)
def test_a_start_from_which_nothing_can_be_learned_is_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} of {name} is {value:g}"):
        make(name, **{option: value})
    if option == "entropy":  # where it is not tuned it may be
        tuned = after_a_step(name, entropy=value, tunes=("gamma", "lambda", "rate"))
        assert np.all(np.isfinite(jax.tree.leaves(tuned)))


def test_build_takes_arrays_for_the_float_options_of_the_algorithm() -> None:
    options: dict[str, Any] = {"tasks": 4, "envs": 2, "hidden": (4,), "steps": 3}

    def moved(**rest: Any) -> Any:
        learner = metarl_jax.build("maml", "navigation", **options, **rest)
        return learner.step(learner.init(jax.random.key(0)), jax.random.key(1))[0].meta_params

    grid = jax.jit(jax.vmap(lambda lr, spread: moved(meta_lr=lr, spread=spread)))
    found = grid(jnp.array([1e-3, 0.1]), jnp.array([1.0, 0.5]))
    other = jax.jit(lambda: moved(meta_lr=0.1, spread=0.5))()
    close(jax.tree.map(lambda x: x[1], found), other, rtol=1e-3, atol=1e-5)
    assert compiled(lambda: grid(jnp.array([1e-2, 0.2]), jnp.array([0.7, 0.5]))) == 0
    with pytest.raises(UsageError, match="tasks is an array; it must be static"):
        metarl_jax.build("maml", "navigation", tasks=jnp.int32(4))
    with pytest.raises(UsageError, match="'meta_lr'"):
        metarl_jax.build("maml", "navigation", metalr=jnp.float32(0.1))
