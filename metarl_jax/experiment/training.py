"""The training loop: compiled chunks of meta-steps, with all side effects between them.

Meta-step i is `learner.step(state, fold_in(root, i))` in any chunk. A run is determined by its state and i, so an
interrupted and resumed run equals an uninterrupted one bit for bit. The loop trains one run, or several in one program
(see `cohort.py`), whose state has a leading axis.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.diagnostics import Followed, Reach, dead_leaves
from metarl_jax.core.environment import Environment
from metarl_jax.core.once import once
from metarl_jax.experiment import checkpoint, devices, run_folder
from metarl_jax.experiment.audience import Audience, OnLog, audience
from metarl_jax.experiment.config import RunConfig, RunOptions, learner_of
from metarl_jax.experiment.errors import Interrupted, TrainingDiverged
from metarl_jax.experiment.files import sync
from metarl_jax.experiment.interruption import Interruption, listening
from metarl_jax.experiment.metrics import Line, append_metrics, cut_metrics
from metarl_jax.experiment.rule import Rule
from metarl_jax.experiment.run_folder import RunFolder

log = logging.getLogger("metarl_jax")
Chunk = Callable[..., tuple[Any, dict[str, jax.Array], jax.Array]]


class Keys(NamedTuple):
    """The two keys of a seed."""

    birth: jax.Array
    root: jax.Array


def run_keys(seed: int) -> Keys:
    """The key of the initial state, and the key into which meta-step i folds i."""
    key = jax.random.key(seed)
    return Keys(jax.random.fold_in(key, 0), jax.random.fold_in(key, 1))


class Programs(NamedTuple):
    """The compiled programs of a run; runs that differ only in seed and length share them."""

    learner: Any
    init: Callable[[jax.Array], Any]
    chunk: Chunk


@once
def programs(
    algorithm: Algorithm, environment: Environment, rule: Rule | None, size: int, mesh: jax.sharding.Mesh | None
) -> Programs:
    """The meta-learner, its jitted initialisation, and its chunk of `size` meta-steps."""
    learner = learner_of(algorithm, environment, rule, mesh)
    return Programs(learner, jax.jit(learner.init), compile_chunk(learner, size, mesh))


def compile_chunk(learner: Any, size: int, mesh: jax.sharding.Mesh | None) -> Chunk:
    """The jitted function (state, root, first, count) -> state, infos [size], finite: `count` <= `size` meta-steps.

    Root key and count are arguments of one program, so another seed or a shorter last chunk needs no compilation and
    has the same rounding. The state is donated.
    """
    chunk = steps(learner, size)
    if mesh is None:
        return jax.jit(chunk, donate_argnums=0)
    # Without fixed shardings the second chunk would have another layout than the first, and be compiled again.
    whole = replicated(mesh)
    return jax.jit(chunk, donate_argnums=0, in_shardings=(whole,) * 4, out_shardings=whole)


def steps(learner: Any, size: int) -> Chunk:
    """The pure function of `compile_chunk`."""

    def chunk(state: Any, root: jax.Array, first: jax.Array, count: jax.Array) -> tuple[Any, Any, jax.Array]:
        def turn(index: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, infos = carry
            state, info = learner.step(state, jax.random.fold_in(root, first + index))
            return state, jax.tree.map(lambda rows, value: rows.at[index].set(value), infos, info)

        like = jax.eval_shape(learner.step, state, root)[1]
        infos = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), like)
        state, infos = jax.lax.fori_loop(0, count, turn, (state, infos))
        return state, infos, is_finite(state)

    return chunk


def is_finite(state: Any) -> jax.Array:
    """Whether every float of a state is finite, [] bool."""
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    """The sharding of arrays that are replicated on all devices."""
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def advance(
    folder: RunFolder,
    config: RunConfig,
    quiet: bool = False,
    longer: bool = False,
    on_log: OnLog | None = None,
) -> tuple[int, Any]:
    """Train a locked run from its newest usable checkpoint, or the start, to the end; return the last step and state.

    With `longer`, `config` has more meta-steps than `run.json`, which is then updated. `on_log` is called with every
    line of metrics. What it raises stops the run after a checkpoint.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; everything is saved.
        TrainingDiverged: the state is no longer finite; earlier checkpoints are kept.
        UnusableRun: it was saved, but no checkpoint is usable.
    """
    with listening() as interruption:
        mesh = devices.task_mesh(config.algorithm.tasks, config.recipe.update.parts)
        made = (config.annealed(), config.environment, config.rule)
        learner, init, chunk = programs(*made, config.run.log_every, mesh)
        keys = run_keys(config.run.seed)
        step, state = restore(folder, learner, keys) or (0, init(keys.birth))
        if mesh is not None:
            state = jax.device_put(state, replicated(mesh))
        if longer:  # only after a usable checkpoint was found
            run_folder.describe(folder, config)
        if step < config.run.meta_steps:
            run_folder.note_change(folder, step)
        clock = clock_of([folder], step)
        with audience([folder], [config], step, quiet, on_log) as listeners:
            place = (folder.path, (folder,), folder.checkpoints, run_folder.identity(folder))
            facts = (*place, config.run, learner.env_steps, reach_of(config))
            fixed = Fixed(*facts, _alone(chunk, keys.root), lambda state: state, clock, interruption, listeners)
            step, state, alive = loop(fixed, step, state, np.array([True]))
    if not alive.all():
        raise TrainingDiverged(_divergence(folder))
    return step, state


def _alone(chunk: Chunk, root: jax.Array) -> "Turn":
    """The turn of a single run, with a leading axis."""

    def turn(state: Any, first: int, count: int, alive: np.ndarray) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
        state, infos, finite = chunk(state, root, first, count)
        return state, {name: x[None] for name, x in jax.device_get(infos).items()}, np.array([bool(finite)])

    return turn


def restore(folder: RunFolder, learner: Any, keys: Keys) -> tuple[int, Any] | None:
    """Step and state of the newest usable checkpoint of a run; None if it was never saved."""
    return run_folder.restore(folder, jax.eval_shape(learner.init, keys.birth))


class Clock:
    """The training time of a run over all interruptions, and the time since its last checkpoint."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before
        self._saved = time.monotonic()

    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 3)

    def note_saved(self) -> None:
        self._saved = time.monotonic()

    def minutes_unsaved(self) -> float:
        return (time.monotonic() - self._saved) / 60


def clock_of(folders: Sequence[RunFolder], step: int) -> Clock:
    """The clock of runs that go on from `step`, after their later metrics have been dropped."""
    before = [cut_metrics(folder.metrics, step) for folder in folders]
    return Clock(max((lines[-1]["wall_seconds"] for lines in before if lines), default=0.0))


# (state, first, count, alive [M]) -> state, infos [M, size], finite [M], of M runs. The state is donated.
Turn = Callable[[Any, int, int, np.ndarray], tuple[Any, dict[str, np.ndarray], np.ndarray]]


class Fixed(NamedTuple):
    """The constants of the training loop of M runs."""

    path: Path  # what an interrupted user resumes
    folders: tuple[RunFolder, ...]  # [M]
    checkpoints: Path  # of the state of all of them
    identity: str  # to which these are bound
    options: RunOptions  # of each, except for the seed
    env_steps: int  # of one meta-step of one run
    reach: Reach  # of the objective
    turn: Turn
    saved: Callable[[Any], Any]  # the state as it is stored
    clock: Clock
    interruption: Interruption
    audience: Audience


def loop(fixed: Fixed, step: int, state: Any, alive: np.ndarray) -> tuple[int, Any, np.ndarray]:
    """Train from `step` to the last meta-step, or until no run is alive: that step, the state, and who is alive [M].

    A run whose state is no longer finite has diverged: that is noted in its folder, and the other runs go on.
    """
    options, warned = fixed.options, False
    while step < options.meta_steps and alive.any():
        count = min(options.log_every - step % options.log_every, options.meta_steps - step)
        state, infos, finite = fixed.turn(state, step, count, alive)
        step += count
        lines = _note(fixed, step, infos, count, finite, alive)
        error = fixed.audience.tell(lines)
        warned = warned or _warns_of_dead_leaves(fixed, step, lines.values(), state)
        alive = alive & finite
        stop = fixed.interruption.signal_number
        if alive.any() and (error is not None or stop is not None or _due(fixed, step, count)):
            for folder in fixed.folders:  # so that a checkpoint is never ahead of the metrics
                sync(folder.metrics)
            checkpoint.save(fixed.checkpoints, fixed.identity, step, fixed.saved(state), options.keep)
            for folder in fixed.folders:
                run_folder.note_saved(folder, step)
            fixed.clock.note_saved()
        if error is not None:
            raise error
        if alive.any() and stop is not None:
            raise Interrupted(fixed.path, stop, step)
    return step, state, alive


def _note(
    fixed: Fixed, step: int, infos: dict[str, np.ndarray], count: int, finite: np.ndarray, alive: np.ndarray
) -> dict[int, Line]:
    """Add a line of metrics to every run that was alive, and note which diverged; the lines by run."""
    lines = {}
    for run in map(int, np.flatnonzero(alive)):
        folder, own = fixed.folders[run], {name: values[run] for name, values in infos.items()}
        lines[run] = _line(fixed, step, own, count, bool(finite[run]))
        append_metrics(folder.metrics, lines[run])
        if not finite[run]:
            run_folder.note_divergence(folder, step)
    return lines


def reach_of(config: RunConfig) -> Reach:
    """The leaves of φ that the objective of a run is a function of."""
    objective = config.recipe.objective
    return (lambda path: True) if objective is None else objective(jnp.int32(0)).reach


def _warns_of_dead_leaves(fixed: Fixed, step: int, lines: Collection[Line], state: Any) -> bool:
    """Warn of leaves of φ without a gradient, if there were some in the meta-steps of a chunk; whether there were."""
    dead = max((count for line in lines if (count := line.get("dead_leaves", 0.0)) >= 1.0), default=0.0)
    if not dead:
        return False
    memories = [x for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Followed)) if isinstance(x, Followed)]
    found = [
        path for memory in memories for path, is_dead in dead_leaves(memory.gradient, fixed.reach).items() if is_dead
    ]
    names = f", at last {', '.join(found)}" if found else ""
    log.warning(
        "up to meta-step %d, %.3g leaves of φ had a gradient of exactly zero%s: nothing is learned in them",
        *(step, dead, names),
    )
    return True


def _due(fixed: Fixed, step: int, count: int) -> bool:
    """Whether a checkpoint is due: a multiple was passed in the last chunk, time is up, or the run ends."""
    options = fixed.options
    passed = step // options.checkpoint_every > (step - count) // options.checkpoint_every
    minutes = options.checkpoint_minutes
    return passed or step == options.meta_steps or (minutes is not None and fixed.clock.minutes_unsaved() >= minutes)


def _line(fixed: Fixed, step: int, infos: dict[str, Any], count: int, finite: bool) -> Line:
    """The metrics of a chunk: means over its meta-steps, for returns over those in which an episode ended."""

    def mean(name: str, values: np.ndarray) -> float:
        counted = values[~np.isnan(values)] if finite and name.startswith("return") else values
        return float(np.mean(counted, dtype=np.float64)) if counted.size else np.nan

    means = {name: mean(name, values[:count]) for name, values in infos.items()}
    spent = {"env_steps": step * fixed.env_steps, "wall_seconds": fixed.clock.seconds()}
    return {"meta_step": step, **spent, **means}


def _divergence(folder: RunFolder) -> str:
    saved = checkpoint.found(folder.checkpoints)
    kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint had been written"
    return (
        f"the training state was no longer finite at meta-step {run_folder.diverged_at(folder)}; {kept}; a smaller "
        "learning rate or gradient clip is the usual remedy"
    )
