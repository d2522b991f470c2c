"""Memories: a trial at once is the trial step by step, and what is forgotten is gone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import evaluate
from metarl_jax.core.memories import gated, make
from metarl_jax.core.memories.attention import attention
from metarl_jax.core.memories.linear import in_parallel, in_sequence
from metarl_jax.core.memory import Memory, beside, stack
from metarl_jax.envs import make as make_environment

STEPS, INPUTS, WIDTH = 7, 5, 8
ENVS = 3
KINDS = {
    "gru": lambda: make("gru", INPUTS, WIDTH),
    "lstm": lambda: make("lstm", INPUTS, WIDTH),
    "linear": lambda: make("linear", INPUTS, WIDTH),
    "attention": lambda: make("attention", INPUTS, WIDTH, window=4),
    "attention-of-all": lambda: make("attention", INPUTS, WIDTH, window=STEPS),
    "stack": lambda: stack([make("linear", INPUTS, WIDTH), make("attention", WIDTH, WIDTH, window=4)]),
    "beside": lambda: beside([make("gru", INPUTS, WIDTH), make("attention", INPUTS, WIDTH, window=4)]),
    "posterior of gridnavi": lambda: make_environment("gridnavi").belief(),
    "posterior of bandit": lambda: make_environment("bandit").belief(),
}
WIDTHS = {"posterior of gridnavi": 14 + 5 + 2, "posterior of bandit": 1 + 5 + 2}


def trial(kind: str, envs: int = ENVS) -> tuple[Memory, Any, jax.Array, jax.Array]:
    """A memory with its parameters, the inputs of a trial, and where the past is to be forgotten."""
    memory = KINDS[kind]()
    params = jax.tree.map(lambda x: x + 0.1, memory.init(jax.random.key(0)))
    inputs = jax.random.normal(jax.random.key(1), (STEPS, envs, WIDTHS.get(kind, INPUTS)))
    keep = (jax.random.uniform(jax.random.key(2), (STEPS, envs, 1)) < 0.7).astype(jnp.float32)
    return memory, params, inputs, keep


@functools.partial(jax.jit, static_argnums=0)
def steps(memory: Memory, params: Any, state: Any, inputs: Any, keep: Any) -> tuple[Any, list[Any], jax.Array]:
    """The last memory, the memories after each step, and the outputs."""
    states, said = [], []
    for now, kept in zip(inputs, keep, strict=True):
        state, words = memory.step(params, state, now, kept)
        states.append(state)
        said.append(words)
    return state, states, jnp.stack(said)


@functools.partial(jax.jit, static_argnums=0)
def unrolled(memory: Memory, params: Any, state: Any, inputs: Any, keep: Any) -> Any:
    return memory.unroll(params, state, inputs, keep)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_at_once_is_the_trial_step_by_step(kind: str) -> None:
    """From a blank memory, and from the middle of a trial on."""
    memory, params, inputs, keep = trial(kind)
    start = memory.blank((ENVS,))
    for _ in range(2):
        after, _, said = steps(memory, params, start, inputs, keep)
        assert said.shape == (STEPS, ENVS, memory.width)
        np.testing.assert_allclose(unrolled(memory, params, start, inputs, keep), said, atol=1e-5)
        start = after


@pytest.mark.parametrize("kind", KINDS)
def test_a_newborn_memory_equals_a_blank_one(kind: str) -> None:
    memory, params, inputs, keep = trial(kind)
    starts = memory.blank((ENVS,)), memory.newborn((ENVS,))
    blank, newborn = (unrolled(memory, params, start, inputs, keep) for start in starts)
    np.testing.assert_allclose(blank, newborn, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trail_restores_the_memory_at_every_step(kind: str) -> None:
    memory, params, inputs, keep = trial(kind)
    start, _, _ = steps(memory, params, memory.blank((ENVS,)), inputs, keep)
    _, states, _ = steps(memory, params, start, inputs[::-1], keep[::-1])
    trail = jax.tree.map(lambda *x: jnp.stack(x), *[memory.trail(state) for state in states])
    time = jnp.array([0, STEPS - 1, 3])
    again, now = memory.at(start, trail, time), inputs[0]
    whole = jax.tree.map(lambda *x: jnp.stack(x)[time, jnp.arange(ENVS)], *states)
    say = [steps(memory, params, state, now[None], jnp.ones((1, ENVS, 1)))[2] for state in (again, whole)]
    np.testing.assert_allclose(say[0], say[1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_removes_all_influence_of_the_past(kind: str) -> None:
    """Changing the inputs before a reset changes outputs before it and none after it."""
    memory, params, inputs, _ = trial(kind)
    keep = jnp.ones((STEPS, ENVS, 1)).at[4].set(0.0)
    other = inputs.at[:4].add(jax.random.normal(jax.random.key(3), inputs[:4].shape))
    one, two = (unrolled(memory, params, memory.blank((ENVS,)), x, keep) for x in (inputs, other))
    np.testing.assert_allclose(one[4:], two[4:], atol=1e-6)
    assert not np.allclose(one[:4], two[:4])


@pytest.mark.parametrize(("device", "envs"), [("cpu", WIDTH), ("cpu", ENVS), ("gpu", ENVS)])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_gradient_equals_that_of_a_plain_scan(
    kind: str, device: str, envs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, in blocks (of three, three and one steps) and at once: they differ in what they record."""
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    monkeypatch.setattr(gated, "BLOCK", 3)
    memory, params, inputs, keep = trial(kind, envs)
    state = jax.tree.map(lambda x: x + 0.3, memory.blank((envs,)))

    def plain(params: Any, state: Any, inputs: Any) -> Any:
        said = jax.lax.scan(lambda state, now: memory.step(params, state, *now), state, (inputs, keep))[1]
        return jnp.sum(said**3)

    def ours(params: Any, state: Any, inputs: Any) -> Any:
        return jnp.sum(memory.unroll(params, state, inputs, keep) ** 3)

    slopes = [jax.jit(jax.grad(f, (0, 1, 2)))(params, state, inputs) for f in (ours, plain)]
    for a, b in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.any(b)


def test_the_parallel_scan_equals_the_recurrence() -> None:
    kept = jax.random.uniform(jax.random.key(0), (33, 2, 3)).at[5].set(0.0)
    added = jax.random.normal(jax.random.key(1), kept.shape)

    def both(recur: Any) -> Any:
        return jax.jit(jax.value_and_grad(lambda kept, added: jnp.sum(recur(kept, added) ** 2), (0, 1)))(kept, added)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *map(both, (in_parallel, in_sequence))
    )


def test_attention_in_blocks_equals_attention_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = attention(WIDTH, window=4)
    params = memory.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (STEPS, ENVS, WIDTH))
    keep = jnp.ones((STEPS, ENVS, 1)).at[3, 1].set(0.0)

    def both() -> Any:
        loss = lambda x: jnp.sum(memory.unroll(params, memory.blank((ENVS,)), x, keep) ** 2)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(inputs)

    whole = both()
    monkeypatch.setitem(attention.__globals__, "BLOCK", 3)  # of 7 steps: the last block is shorter
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), whole, both())


def test_attention_looks_no_further_than_its_window() -> None:
    memory = attention(WIDTH, window=3)
    params = memory.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (STEPS, ENVS, WIDTH))
    said = lambda x: unrolled(memory, params, memory.blank((ENVS,)), x, jnp.ones((STEPS, ENVS, 1)))  # noqa: E731
    moved = np.abs(said(inputs) - said(inputs.at[2, :, 0].add(1.0))).max(axis=(1, 2))
    np.testing.assert_array_equal(moved > 1e-6, [False, False, True, True, True, False, False])


@pytest.mark.parametrize("memory", ["gru", pytest.param("lstm", marks=pytest.mark.slow), "linear", "attention"])
def test_no_memory_leaks_between_tasks(memory: str) -> None:
    """Replacing one task changes the return on this task only."""
    environment: Environment = make_environment("bandit", pulls=20)
    world = metarl_jax.make_algorithm("rl2", memory=memory, width=4).recipe(environment).window.world
    meta_params = jax.tree.map(lambda x: x + 0.3, world.learner.meta_init(jax.random.key(0)))
    tasks = jax.vmap(lambda key: environment.sample_task(key, "test"))(jax.random.split(jax.random.key(1), 6))
    other = jax.tree.map(lambda x: x.at[2].set(1.0 - x[2]), tasks)
    run = jax.jit(lambda tasks: evaluate(world, meta_params, tasks, jax.random.key(2), 0).returns[:, 0, 0])
    one, two = run(tasks), run(other)
    np.testing.assert_array_equal(np.asarray(one) != np.asarray(two), np.arange(6) == 2)
