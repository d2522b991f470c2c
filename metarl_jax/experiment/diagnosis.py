"""Why meta-steps were skipped: the lives of the last one are lived again, and the first that is not finite is named."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.batching import map_tasks
from metarl_jax.core.guard import each_is_finite
from metarl_jax.core.life import Life, begin
from metarl_jax.core.meta import MetaLearner, MetaState
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.core.window import Window, entered, live

ENVIRONMENT = "mend the environment, or leave such episodes out with broken=mask"
AGENT = "a smaller step size of the adaptation is the usual remedy"
GRADIENT = "a smaller meta_lr, or rewards of the order of 1, are the usual remedy"


class Symptoms(NamedTuple):
    """What was not finite in a life of R rollouts, one before each adaptation and one after all."""

    agent: Array  # [R] bool: the parameters that acted
    step: Array  # [R, T, E] bool: what the environment returned
    reward: Array  # [R, T, E]
    observation: Array  # [R, T, E, O] after the step


def cause(learner: MetaLearner, state: MetaState, keys: Sequence[Key]) -> str:
    """The cause and the remedy, in words, from a state and the keys of the meta-steps before it, the last one first.

    A life that continues is known only from the last of them.
    """
    examine, largest = jax.jit(examined(learner.window)), 0.0
    for key in keys if state.lives is None else keys[:1]:
        lives = learner.lives(state, key)
        broken = np.ones(len(lives.age), bool) if state.spans is None else np.asarray(state.spans) == 0
        symptoms, tasks = jax.device_get((examine(state.meta_params, lives), lives.task))
        for place in np.flatnonzero(broken if broken.any() else ~broken):
            own, task = jax.tree.map(lambda x, place=place: x[place], (symptoms, tasks))
            if words := _described(own):
                return f"task {place} ({numbers(task)}): {words}"
        largest = max(largest, float(np.max(np.abs(symptoms.reward))))
    return f"with φ itself all lives are finite, with rewards of up to {largest:.3g} in size; {GRADIENT}"


def examined(window: Window) -> Callable[[Tree, Life], Symptoms]:
    """The function (φ, lives [N]) -> symptoms [N], those of a life that continues from its birth on."""

    def one(meta_params: Tree, life: Life) -> Symptoms:
        lived = live(window, meta_params, entered(window, meta_params, life), with_agents=True)
        records, agents = [lived.seen], [lived.agents.params, _one(lived.end.agent.params)]
        if not window.newborn:
            newborn = begin(window.world, meta_params, life.task, life.key)
            records, agents = [_one(newborn.seen), *records], [_one(newborn.agent.params), *agents]
        found = [(x.reward, x.next_observation, x.timestep.observation) for x in records]
        reward, after, before = jax.tree.map(lambda *x: jnp.concatenate(x), *found)
        params = jax.tree.map(lambda *x: jnp.concatenate(x), *agents)
        finite = jnp.isfinite(reward) & jnp.all(jnp.isfinite(after) & jnp.isfinite(before), axis=-1)
        return Symptoms(~each_is_finite((params, jnp.zeros(len(reward)))), ~finite, reward, after)

    return lambda meta_params, lives: map_tasks(lambda life: one(meta_params, life), window.chunk, lives)


def _one(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[None], tree)


def _described(own: Symptoms) -> str:
    """What came first in a life, and its remedy; nothing where all is finite."""
    for rollout, (agent, broken) in enumerate(zip(own.agent, own.step, strict=True)):
        if agent:
            return f"the parameters of its agent were not finite after {rollout} adaptations; {AGENT}"
        if broken.any():
            step, env = np.argwhere(broken)[0]
            where = f"step {step} of environment {env} in rollout {rollout}"
            return f"{where} returned {_returned(own, (rollout, step, env))}; {ENVIRONMENT}"
    return ""


def _returned(own: Symptoms, place: tuple[int, ...]) -> str:
    observation, reward = np.asarray(own.observation[place]), own.reward[place]
    if np.all(np.isfinite(observation)):
        return f"the reward {reward:g}" if not np.isfinite(reward) else "a first observation that is not finite"
    return f"the observation {np.array2string(observation, precision=4, threshold=8)}"


def numbers(task: Any) -> str:
    """The numbers of a task in words."""
    fields = task._asdict() if hasattr(task, "_asdict") else {"task": task}
    known = {name: np.asarray(x) for name, x in fields.items() if x is not None}
    return ", ".join(f"{name}={np.array2string(x, precision=4, threshold=8)}" for name, x in known.items())
