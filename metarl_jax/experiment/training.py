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
from metarl_jax.core.guard import is_finite
from metarl_jax.core.keys import key_of
from metarl_jax.core.once import once
from metarl_jax.experiment import checkpoint, devices, diagnosis, group, memory, run_folder
from metarl_jax.experiment.audience import Audience, OnLog, audience
from metarl_jax.experiment.config import RunConfig, RunOptions, learner_of
from metarl_jax.experiment.errors import Interrupted, StoppedElsewhere, TrainingDiverged
from metarl_jax.experiment.interruption import Interruption, listening
from metarl_jax.experiment.metrics import Line, cut_metrics
from metarl_jax.experiment.rule import Rule
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.saving import Saver

log = logging.getLogger("metarl_jax")
Chunk = Callable[..., tuple[Any, dict[str, jax.Array], jax.Array]]
SKIPPED = "skipped"  # among the diagnostics: 1 for a meta-step that was skipped; in a line of metrics how many were
IN_A_ROW = "skipped_in_a_row"  # in a line of metrics: how many of the last ones, from earlier lines on
RETRY = 1.0  # minutes until a save that failed is tried again


class Keys(NamedTuple):
    """The two keys of a seed."""

    birth: jax.Array
    root: jax.Array


def run_keys(seed: int) -> Keys:
    """The key of the initial state, and the key into which meta-step i folds i."""
    key = key_of(seed)
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


def programs_of(config: RunConfig) -> tuple[Programs, jax.sharding.Mesh | None]:
    """The programs of a run, and the devices that share its tasks."""
    mesh = devices.task_mesh(config.algorithm.tasks, config.recipe.update.parts)
    return programs(config.annealed(), config.environment, config.rule, config.run.log_every, mesh), mesh


def needed(config: RunConfig, quickly: bool = False) -> int:
    """Bytes of memory that training takes, see `memory.of_training`."""
    (_, init, chunk), mesh = programs_of(config)
    keys = run_keys(config.run.seed)
    state = jax.eval_shape(init, keys.birth)
    if mesh is not None:  # where it will be: the program of another place would be another one
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), state)
    arguments = state, keys.root, 0, config.run.log_every
    return memory.of_training(chunk, state, arguments, 1 if mesh is None else len(mesh.local_devices), quickly)


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


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    """The sharding of arrays that are replicated on all devices."""
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def advance(
    folder: RunFolder,
    config: RunConfig,
    quiet: bool = False,
    altered: bool = False,
    on_log: OnLog | None = None,
) -> tuple[int, Any]:
    """Train a locked run from its newest usable checkpoint, or the start, to the end; return the last step and state.

    With `altered`, `config` has other options than `run.json`, which is then updated. `on_log` is called with every
    line of metrics. What it raises stops the run after a checkpoint.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; everything is saved.
        TooLarge: it needs more memory than there is.
        TrainingDiverged: too many meta-steps in a row were skipped, or the state is no longer finite; the newest
            checkpoint is the last good state.
        UnusableRun: it was saved, but no checkpoint is usable.
        Unsaved: the last save failed.
    """
    with listening() as interruption:
        (learner, init, chunk), mesh = programs_of(config)
        keys = run_keys(config.run.seed)
        found: list[tuple[int, Any]] = []  # in process 0
        step, seconds, skipped, identity = group.led(lambda: _entered(folder, config, learner, keys, altered, found))
        with audience([folder], [config], step, quiet, on_log) as listeners:
            if step < config.run.meta_steps:
                group.together(lambda: memory.check(config, needed))
            state = group.shared(found[0][1] if found else init(keys.birth))
            place = (folder.path, (folder,), folder.checkpoints, identity)
            facts = (*place, config.run, learner.env_steps, reach_of(config), _alone(chunk, keys.root))
            fixed = Fixed(*facts, lambda state: state, Clock(seconds), interruption, listeners)
            state = group.everywhere(state, mesh)
            step, state, alive = loop(fixed, step, state, np.array([True]), np.array(skipped))
    state = group.here(state, mesh)
    if not alive.all():
        raise TrainingDiverged(group.led(lambda: _divergence(folder, config, learner, state)))
    return step, state


def _entered(
    folder: RunFolder, config: RunConfig, learner: Any, keys: Keys, altered: bool, found: list[tuple[int, Any]]
) -> tuple[int, float, list[int], str]:
    """Prepare the folder of a run for the meta-steps after its newest usable checkpoint, which is added to `found`.

    The step, the seconds of training before it, how many meta-steps were skipped just before, [1], and its identity.
    """
    restored = restore(folder, learner, keys)
    found += [] if restored is None else [restored]
    step = 0 if restored is None else restored[0]
    if altered:  # only after a usable checkpoint was found
        run_folder.describe(folder, config, step)
    seconds, skipped = spent([folder], step)
    if step < config.run.meta_steps:
        run_folder.forget_divergence(folder, step - 1)
        run_folder.note_change(folder, step)
    return step, seconds, skipped, run_folder.identity(folder)


def _alone(chunk: Chunk, root: jax.Array) -> "Turn":
    """The turn of a single run, with a leading axis."""

    def turn(state: Any, first: int, count: int, alive: np.ndarray) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
        state, infos, finite = chunk(state, root, first, count)
        return state, {name: x[None] for name, x in jax.device_get(infos).items()}, np.array([bool(finite)])

    return turn


def restore(folder: RunFolder, learner: Any, keys: Keys) -> tuple[int, Any] | None:
    """Step and state of the newest usable checkpoint of a run; None if it was never saved.

    Raises:
        UsageError: it was trained with settings of JAX that give other numbers.
        UnusableRun: it was saved, but no checkpoint is usable.
    """
    run_folder.check_numbers(folder)
    return run_folder.restore(folder, jax.eval_shape(learner.init, keys.birth))


class Clock:
    """The training time of a run over all interruptions, and the time since it was last to be saved."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before
        self._saved = time.monotonic()

    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 3)

    def note_saved(self) -> None:
        self._saved = time.monotonic()

    def minutes_unsaved(self) -> float:
        return (time.monotonic() - self._saved) / 60


def spent(folders: Sequence[RunFolder], step: int) -> tuple[float, list[int]]:
    """The seconds of training of runs that go on from `step`, after their later metrics have been dropped.

    And how many meta-steps were skipped just before, [M]; none where a run was stopped for that.
    """
    before = [cut_metrics(folder.metrics, step) for folder in folders]
    stopped = [run_folder.diverged_at(folder) is not None for folder in folders]
    skipped = [
        0 if over or not lines else lines[-1].get(IN_A_ROW, 0) for over, lines in zip(stopped, before, strict=True)
    ]
    return max((lines[-1]["wall_seconds"] for lines in before if lines), default=0.0), skipped


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


def loop(fixed: Fixed, step: int, state: Any, alive: np.ndarray, skipped: np.ndarray) -> tuple[int, Any, np.ndarray]:
    """Train from `step` to the last meta-step, or until no run is alive: that step, the state, and who is alive [M].

    A run of which too many meta-steps in a row were `skipped` [M], or whose state is no longer finite, has diverged:
    that is noted in its folder, and the other runs go on. So does training if it cannot be saved, until it ends.
    Several processes stop together at what any of them is told.
    """
    options, warned = fixed.options, False
    saver = Saver(fixed.path, fixed.folders, fixed.checkpoints, fixed.identity, options.keep)
    while step < options.meta_steps and alive.any():
        count = min(options.log_every - step % options.log_every, options.meta_steps - step)
        state, infos, finite = fixed.turn(state, step, count, alive)
        step += count
        most, skipped = in_a_row(infos.get(SKIPPED, np.zeros((len(alive), count)))[:, :count], skipped)
        lines = _note(fixed, saver, step, infos, count, finite, alive, skipped)
        error = fixed.audience.tell(lines)
        warned = warned or _warns_of_dead_leaves(fixed, step, lines.values(), state)
        lost = alive & ((most > options.most_skipped) | ~finite)
        _part_with(fixed, step, state, lost, finite)
        alive = alive & ~lost
        failed, signalled = group.greatest(int(error is not None), fixed.interruption.signal_number or 0)
        due = _due(fixed, step, count, saver.failure is not None)
        if alive.any() and (failed or signalled or due):
            saver.save(step, fixed.saved(state))
            fixed.clock.note_saved()
        if failed:
            raise error or StoppedElsewhere(fixed.path, step)
        if alive.any() and signalled:
            raise saver.failure or Interrupted(fixed.path, signalled, step)
    if alive.any():
        group.together(saver.check)
    return step, state, alive


def in_a_row(skipped: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The longest row of meta-steps that were `skipped` [M, count], and the last one, [M] each; `before` came first."""
    most = last = before
    for now in skipped.T:
        last = np.where(now > 0, last + 1, 0)
        most = np.maximum(most, last)
    return most, last


def _note(
    fixed: Fixed,
    saver: Saver,
    step: int,
    infos: dict[str, np.ndarray],
    count: int,
    finite: np.ndarray,
    alive: np.ndarray,
    skipped: np.ndarray,
) -> dict[int, Line]:
    """Add a line of metrics to every run that was alive; the lines by run."""
    lines = {}
    for run in map(int, np.flatnonzero(alive)):
        folder, own = fixed.folders[run], {name: values[run] for name, values in infos.items()}
        lines[run] = _line(fixed, step, own, count, bool(finite[run]))
        if SKIPPED in own:
            lines[run][IN_A_ROW] = int(skipped[run])
        if lines[run].get(SKIPPED):
            where = f"{folder.path}: {lines[run][SKIPPED]} of the {count} meta-steps up to {step}"
            log.warning("%s were skipped, as they were not finite", where)
        saver.records[run].add(lines[run])
    return lines


def _part_with(fixed: Fixed, step: int, state: Any, lost: np.ndarray, finite: np.ndarray) -> None:
    """Note that runs have diverged, and save their last good state, which a skipped meta-step has left as it was."""
    for run in map(int, np.flatnonzero(lost & group.leads())):
        folder = fixed.folders[run]
        run_folder.note_divergence(folder, step)
        if finite[run]:
            own = fixed.saved(state)
            own = own if len(lost) == 1 else jax.tree.map(lambda x, run=run: x[run], own)
            place = (folder.path, (folder,), folder.checkpoints, run_folder.identity(folder))
            Saver(*place, fixed.options.keep).save(step, own)


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


def _due(fixed: Fixed, step: int, count: int, failed: bool) -> bool:
    """Whether a checkpoint is due: a multiple was passed in the last chunk, time is up, or the run ends."""
    options, unsaved = fixed.options, fixed.clock.minutes_unsaved()
    if failed and step < options.meta_steps:  # every try takes time and a warning
        return unsaved >= RETRY
    passed = step // options.checkpoint_every > (step - count) // options.checkpoint_every
    minutes = options.checkpoint_minutes
    return passed or step == options.meta_steps or (minutes is not None and unsaved >= minutes)


def _line(fixed: Fixed, step: int, infos: dict[str, Any], count: int, finite: bool) -> Line:
    """The metrics of a chunk: means over its meta-steps, for returns over those in which an episode ended.

    Meta-steps that were skipped are counted, and left out of the means.
    """
    skipped = infos.get(SKIPPED, np.zeros(count))[:count] > 0

    def mean(name: str, values: np.ndarray) -> float:
        values = values[:count][~skipped]
        counted = values[~np.isnan(values)] if finite and name.startswith("return") else values
        return float(np.mean(counted, dtype=np.float64)) if counted.size else np.nan

    means = {name: int(skipped.sum()) if name == SKIPPED else mean(name, values) for name, values in infos.items()}
    spent = {"env_steps": step * fixed.env_steps, "wall_seconds": fixed.clock.seconds()}
    return {"meta_step": step, **spent, **means}


def _divergence(folder: RunFolder, config: RunConfig, learner: Any, state: Any) -> str:
    """What stopped a run, where it is saved, and the remedies; `state` is the last one."""
    step, saved = run_folder.diverged_at(folder), checkpoint.found(folder.checkpoints)
    kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint had been written"
    if not bool(is_finite(state)):
        return (
            f"the training state was no longer finite at meta-step {step}; {kept}; a smaller learning rate or gradient "
            "clip is the usual remedy"
        )
    assert step is not None
    latest = range(step - 1, max(-1, step - 1 - config.run.log_every), -1)
    keys = [jax.random.fold_in(run_keys(config.run.seed).root, index) for index in latest]
    try:
        cause = diagnosis.cause(learner, state, keys)
    except Exception as error:  # whatever goes wrong with these lives: the run has ended and is saved
        cause = f"why is not known, as living their lives again failed ({error})"
    return (
        f"more than {config.run.most_skipped} meta-steps in a row were not finite, up to meta-step {step}, and were "
        f"skipped; {cause}; {kept}; `metarl resume {folder.path}` goes on from there, "
        "also with other options such as --meta-lr"
    )
