"""NaN and inf from the environment: they never reach φ, and the message names the task."""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken import FAULTS, Broken, Steep

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.core.environment import masked
from metarl_jax.core.meta import MetaState
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Experience, Key
from metarl_jax.experiment.errors import TrainingDiverged
from metarl_jax.experiment.run_folder import RunFolder, described
from metarl_jax.experiment.verdict import verdict

pytestmark = pytest.mark.fault(6)

STEPS = 12
SMALL: dict[str, Any] = {"tasks": 4, "envs": 2}
LONG_LIVED: dict[str, Any] = {"hidden": (4,), "steps": 2, "lifespan": 3}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "backprop": ("maml", {"hidden": (4,)}),
    "trust region": ("maml", {"hidden": (4,), "outer": "trust_region"}),
    "evolution": ("maml", {"hidden": (4,), "estimator": "evolution", "pairs": 2}),
    "relived": ("rl2", {"width": 4, "hidden": (4,), "epochs": 2, "minibatches": 2}),
    "long lives": ("meta_gradient", LONG_LIVED),
    "persistent": ("meta_gradient", {**LONG_LIVED, "estimator": "pes", "pairs": 2}),
    "two updates": ("varibad", {"width": 4, "hidden": (4,), "latent": 2, "decoder": (4,), "trials": 4}),
}
QUICK = ("evolution",)  # backprop is that of the message
MAY_STAY = ("trust region", "evolution", "persistent")  # a step may be refused, and returns of two pairs be equal
every_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] * (way not in QUICK)) for way in WAYS]
)


@functools.cache
def history(way: str, **more: Any) -> Any:
    """φ, which tasks are faulty, and the diagnostics, by meta-step; and the last state."""
    name, options = WAYS[way]
    learner = make(name, **SMALL, **options, **more).build(Broken())

    def step(state: MetaState, key: Key) -> tuple[MetaState, Any]:
        after, info = learner.step(state, key)
        met = after.lives or learner.lives(state, key)  # long lives: those that this step has lived
        flat = jax.flatten_util.ravel_pytree(after.meta_params)[0]
        return after, (flat, met.task.fault > 0, info)

    @jax.jit
    def trained(key: Key) -> Any:
        return jax.lax.scan(step, learner.init(key), jax.random.split(key, STEPS))

    state, found = jax.device_get(trained(jax.random.key(1)))
    start = jax.flatten_util.ravel_pytree(jax.jit(learner.init)(jax.random.key(1)).meta_params)[0]
    return start, *found, state


@every_way
def test_no_number_of_a_broken_environment_reaches_phi(way: str, tally: Any) -> None:
    start, phi, faulty, info, state = history(way)
    skipped = info["skipped"] > 0
    moved = np.any(np.diff(phi, axis=0, prepend=start[None]) != 0, axis=1)
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    assert all(np.all(np.isfinite(x)) for x in floats)  # so that it can be saved
    assert 0 < skipped.sum() < STEPS
    assert not np.any(moved & skipped)
    assert not np.any(skipped & ~faulty.any(axis=1))  # by no fault of others
    tally(rounds=int(faulty.any(axis=1).sum()), lost=int(np.sum(~np.isfinite(phi).all(axis=1))))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_masked_episodes_stop_no_meta_step(way: str) -> None:
    start, phi, faulty, info, _ = history(way, broken="mask")
    assert faulty.any()
    assert not np.any(info["skipped"])
    assert np.all(np.isfinite(phi))
    moved = np.any(np.diff(phi, axis=0, prepend=start[None]) != 0, axis=1)
    assert moved.any() if way in MAY_STAY else moved.all()


@functools.cache
def acting(environment: Broken) -> Any:
    policy = mlp_policy(environment, (4,), critic=True)

    @jax.jit
    def act(fault: jax.Array, key: Key) -> Experience:
        task = environment.Task(jnp.float32(0.7), fault)
        scene = opening(environment, policy, task, key, 6)
        return rollout(environment, policy, policy.init(key), task, scene, key, 8)[1]

    return act


def acted(environment: Broken, fault: int) -> Experience:
    return jax.device_get(acting(environment)(jnp.int32(fault), jax.random.key(2)))


@pytest.mark.parametrize("fault", range(1, len(FAULTS)), ids=FAULTS[1:])
def test_a_masked_episode_weighs_nothing_and_the_others_are_as_they_were(fault: int) -> None:
    healthy, shown, hidden = (
        acted(Broken(), 0),
        acted(Broken(), fault),
        acted(masked(Broken()), fault),
    )
    assert not np.all(np.isfinite(shown.reward))
    assert np.all(np.isfinite(hidden.reward))
    assert np.all(np.isfinite(hidden.next_observation))
    assert np.all(np.isfinite(hidden.value))
    assert np.all(np.isfinite(hidden.next_value))
    if fault == 5:
        assert not hidden.weight.any()
        return
    before = np.minimum.accumulate(np.isfinite(shown.reward).all(axis=1))  # until the first fault all lives are alike
    whole = np.array([np.isfinite(shown.reward[:, env]).all() for env in range(6)])
    assert np.array_equal(hidden.action[before], healthy.action[before])
    broken = ~np.isfinite(shown.reward)
    assert np.all(hidden.weight[: before.sum() + 1][broken[: before.sum() + 1]] == 0)
    assert hidden.weight.sum() > 0 or not whole.any()


def test_the_message_names_step_task_and_numbers(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "hidden": [4], "env": {"share": 1.0, "fault": 1}, "quiet": True}
    options |= {"meta_steps": 9, "log_every": 3, "evaluation_tasks": 0, "most_skipped": 4}
    words = (
        r"more than 4 meta-steps in a row .* up to meta-step 6, .*"
        r"task 0 \(pay=0\.\d+, fault=1\): step 0 of environment \d in rollout 0 returned the reward nan; .*"
        r"broken=mask; the last good checkpoint is .*step-00000006"
    )
    with pytest.raises(TrainingDiverged, match=words):
        metarl_jax.train("maml", "broken:Broken", out=tmp_path / "run", **options)
    saved = metarl_jax.load(tmp_path / "run")
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(saved.meta_params))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["skipped"], line["skipped_in_a_row"], line["loss"]) for line in lines] == [(3, 3, None), (3, 6, None)]
    assert described(RunFolder(tmp_path / "run"))["diverged"] == 6
    masked_on = metarl_jax.resume(tmp_path / "run", broken="mask", quiet=True)
    assert masked_on.step == 9


def test_an_evaluation_in_broken_tasks_names_them_and_leaves_its_numbers_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALGORITHMS, Steep.name, Steep)
    ask: dict[str, Any] = {"env": {"share": 0.5, "fault": 1}, "meta_steps": 1, "log_every": 1, "quiet": True}
    run = metarl_jax.train("steep", "broken:Broken", evaluation_tasks=0, out=tmp_path / "run", **ask)
    evaluation = run.evaluate(tasks=12, from_scratch=False, quiet=True)
    assert "steep has returns that are not finite in" in caplog.text
    assert "of 12 test tasks of seed 0 (" in caplog.text
    for column in ("episode=1", "episode=1,iqm"):
        assert evaluation.table.cell("steep", column).value is None
        assert evaluation.table.cell("steep", column).interval is None
    assert verdict(evaluation.table) == "steep has returns that are not finite, so that nothing can be said of it."
    evaluation.table.write(tmp_path / "evaluation.json")
