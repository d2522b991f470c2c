"""How often programs are compiled: once a run, and never again for another seed, evaluation or task."""

import itertools
from typing import Any

import jax
import pytest
from conftest import COMPILED, compiled, events

import metarl_jax
from laws.test_laws import VARIANTS
from metarl_jax.algorithms import make
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import training
from metarl_jax.experiment.config import resolve

SHORT: dict[str, Any] = {"preset": "tiny", "meta_steps": 4, "log_every": 2, "evaluation_tasks": 6, "quiet": True}
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


@pytest.mark.parametrize(("variant", "actions", "estimator"), [case for case in CASES if makes_sense(*case)])
def test_a_state_has_the_types_of_the_one_before(variant: str, actions: str, estimator: str) -> None:
    """What `init` gives and what `step` gives are alike, so that one program takes both."""
    learner = algorithm_of(variant, estimator).build(ACTIONS[actions])
    first = jax.eval_shape(learner.init, jax.random.key(0))
    second = jax.eval_shape(learner.step, first, jax.random.key(1))[0]
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, one), other in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        same = (one.shape, one.dtype, one.weak_type) == (other.shape, other.dtype, other.weak_type)
        assert same, f"{jax.tree_util.keystr(path)} is {one} and becomes {other}"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return metarl_jax.train("rl2", "navigation", out=tmp_path_factory.mktemp("one") / "run", env={"steps": 3}, **SHORT)


def test_a_run_compiles_its_chunk_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With vectors for actions: after the first line of metrics there is nothing left to compile for the others."""
    append, counts = training.append_metrics, []

    def noted(*arguments: Any) -> None:
        counts.append(events[COMPILED])
        append(*arguments)

    monkeypatch.setattr(training, "append_metrics", noted)
    options: dict[str, Any] = {**SHORT, "meta_steps": 6, "evaluation_tasks": 0, "checkpoint_every": 6, "hidden": (4,)}
    metarl_jax.train("maml", "navigation", out=tmp_path / "run", env={"steps": 3}, **options)
    assert counts == counts[:1] * 3


def test_another_seed_compiles_nothing(result: Any, tmp_path: Any) -> None:
    again = lambda: metarl_jax.train("rl2", "navigation", seed=1, out=tmp_path / "run", env={"steps": 3}, **SHORT)  # noqa: E731
    assert compiled(again) == 0


def test_another_evaluation_compiles_nothing(result: Any) -> None:
    assert compiled(lambda: result.evaluate(tasks=5)) > 0
    assert compiled(lambda: result.evaluate(tasks=5, seed=1)) == 0


def test_another_task_compiles_nothing(result: Any) -> None:
    assert compiled(lambda: metarl_jax.adapt(result, {"goal": [0.1, 0.2]})) > 0
    assert compiled(lambda: metarl_jax.adapt(result, {"goal": [0.3, -0.2]}, seed=3)) == 0


def test_another_length_compiles_no_chunk_unless_something_is_annealed_over_it() -> None:
    chunks = [
        training.programs(
            (config := resolve("rl2", "navigation", preset="tiny", meta_steps=steps, anneal=anneal)).annealed(),
            config.environment,
            5,
            None,
        )
        for steps, anneal in ((10, 0), (20, 0), (20, -1))
    ]
    assert chunks[0] is chunks[1] is not chunks[2]
