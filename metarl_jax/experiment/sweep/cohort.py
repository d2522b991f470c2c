"""Cohorts: runs that differ only in seed and in float options, trained by one vmapped program that devices share.

Devices divide the runs; with fewer runs than devices, also the tasks of each.

Run i of a cohort is the lane i of its program. It has the results of the same run alone, up to rounding: products of
several lanes are summed in another order.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.batching import AXIS
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import Curve, evaluate
from metarl_jax.core.once import once
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.experiment import checkpoint, devices, memory, run_folder, training
from metarl_jax.experiment.audience import OnLog, audience
from metarl_jax.experiment.config import RunConfig, digest, learner_of, recipe_of
from metarl_jax.experiment.curves import Schedule, on_host
from metarl_jax.experiment.evaluation import Evaluation, evaluate_all
from metarl_jax.experiment.interruption import listening
from metarl_jax.experiment.rule import Rule
from metarl_jax.experiment.run_folder import RunFolder

LANES = jax.sharding.PartitionSpec(devices.LANES)
WHOLE = jax.sharding.PartitionSpec()


class Cohort(NamedTuple):
    """M runs for one program."""

    like: RunConfig  # in everything that the program is made of
    varied: tuple[str, ...]  # float options of the algorithm in which the runs may differ
    folders: tuple[RunFolder, ...]
    configs: tuple[RunConfig, ...]
    path: Path  # what an interrupted user resumes
    checkpoints: Path  # of all runs together, until they have their own
    width: int  # runs for which the program is compiled, at least M

    @property
    def options(self) -> dict[str, np.ndarray]:
        """The options that vary, [M]."""
        return {name: self._values(name) for name in self.varied}

    @property
    def identity(self) -> str:
        """What the shared checkpoints are bound to: the runs."""
        return digest({"runs": [run_folder.identity(folder) for folder in self.folders]})

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """Step and state of the newest shared checkpoint that is usable; see `run_folder.restore`."""
        saved = max(run_folder.described(folder).get("saved", 0) for folder in self.folders)
        found = checkpoint.newest(self.checkpoints, self.identity, like)
        return run_folder.at_least(saved, self.checkpoints, found)

    def _values(self, name: str) -> np.ndarray:
        return np.array([getattr(config.algorithm, name) for config in self.configs], jnp.result_type(float))

    @property
    def made_of(self) -> tuple[Any, ...]:
        """What the programs of this and of similar cohorts are made of."""
        return self.like.annealed(), self.like.environment, self.like.rule, self.varied


class Programs(NamedTuple):
    """The compiled programs of cohorts that differ only in seeds and in values of the varied options; L lanes."""

    init: Callable[[Tree, Array], Any]  # (options [L], keys [L]) -> state [L]
    chunk: Callable[..., Any]  # (options, state, roots, alive [L]; first, count) -> state, infos [L, size], finite [L]


@once
def programs(
    algorithm: Algorithm,
    environment: Environment,
    rule: Rule | None,
    varied: tuple[str, ...],
    size: int,
    mesh: jax.sharding.Mesh,
) -> Programs:
    """The programs of a cohort. A lane whose state is not finite keeps its last finite state for good."""
    shared = mesh if mesh.shape[AXIS] > 1 else None  # by the tasks of a run

    def learner(options: Tree) -> Any:
        return learner_of(dataclasses.replace(algorithm, **options), environment, rule, shared)

    def chunk(options: Tree, state: Any, root: Key, alive: Array, first: Array, count: Array) -> Any:
        new, infos, finite = training.steps(learner(options), size)(state, root, first, count)
        kept = jax.tree.map(lambda new, old: jnp.where(alive & finite, new, old), new, state)
        return kept, infos, finite

    init = divided(jax.vmap(lambda options, key: learner(options).init(key)), mesh, (LANES, LANES))
    chunks = divided(jax.vmap(chunk, (0, 0, 0, 0, None, None)), mesh, (LANES,) * 4 + (WHOLE,) * 2)
    # Without fixed shardings the second chunk would have another layout than the first, and be compiled again.
    lanes, whole = (jax.sharding.NamedSharding(mesh, axes) for axes in (LANES, WHOLE))
    shardings: Any = {"in_shardings": (lanes,) * 4 + (whole,) * 2, "out_shardings": lanes}
    return Programs(jax.jit(init, out_shardings=lanes), jax.jit(chunks, donate_argnums=1, **shardings))


def divided(function: Callable[..., Any], mesh: jax.sharding.Mesh, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """A function of lanes in which every device has its share of them."""
    return jax.shard_map(function, mesh=mesh, in_specs=arguments, out_specs=LANES, check_vma=False)


def advance(cohort: Cohort, quiet: bool = False, on_log: OnLog | None = None) -> None:
    """Train a locked cohort from its newest usable checkpoint, or the start; then each run has a checkpoint of its own.

    A run that has diverged does not stop the others. Its checkpoint is the state before the chunk of meta-steps in
    which it diverged. `on_log` is called with every line of metrics of every run. What it raises stops all of them,
    after a checkpoint.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; everything is saved.
        TooLarge: it needs more memory than there is.
        UnusableRun: it was saved, but no checkpoint is usable.
    """
    with contextlib.ExitStack() as stack:
        for folder in cohort.folders:
            run_folder.check_numbers(folder)
        interruption = stack.enter_context(listening())
        run, lanes = cohort.like.run, Lanes(cohort)
        init, chunk = programs(*cohort.made_of, run.log_every, lanes.mesh)
        options = lanes.spread(cohort.options)
        keys = [training.run_keys(config.run.seed) for config in cohort.configs]
        births, roots = (lanes.spread(jnp.stack(each)) for each in zip(*keys, strict=True))
        step, state = 0, None
        if found := cohort.restore(lanes.abstract(init, options, births)):
            step, state = found[0], lanes.spread(found[1])
        for folder in cohort.folders:
            run_folder.forget_divergence(folder, step)
            run_folder.note_change(folder, step)
        alive = np.array([run_folder.diverged_at(folder) is None for folder in cohort.folders])

        def turn(state: Any, first: int, count: int, alive: np.ndarray) -> Any:
            state, infos, finite = chunk(options, state, roots, lanes.spread(alive), first, count)
            return state, *(jax.tree.map(lanes.first, jax.device_get(found)) for found in (infos, finite))

        env_steps, reach = learner_of(*cohort.made_of[:3]).env_steps, training.reach_of(cohort.like)
        place = (cohort.path, cohort.folders, cohort.checkpoints, cohort.identity)
        facts = (*place, run, env_steps, reach, turn, lanes.on_host)
        seconds, skipped = training.spent(cohort.folders, step)
        listeners = stack.enter_context(audience(cohort.folders, cohort.configs, step, quiet, on_log))
        fixed = training.Fixed(*facts, training.Clock(seconds), interruption, listeners)
        if step < run.meta_steps:
            lanes.check_memory(chunk, jax.eval_shape(init, options, births), options, roots, lanes.spread(alive))
        state = init(options, births) if state is None else state
        _, state, _ = training.loop(fixed, step, state, alive, np.array(skipped))
        _part(cohort, lanes.on_host(state))


def _part(cohort: Cohort, state: Any) -> None:
    """Give every run the checkpoint of its lane of a state [M], unless it diverged before the first could be taken.

    One of which too many meta-steps were skipped has its own already.
    """
    for lane, (folder, config) in enumerate(zip(cohort.folders, cohort.configs, strict=True)):
        end, size = config.run.meta_steps, config.run.log_every
        diverged = run_folder.diverged_at(folder)
        step = end if diverged is None else (diverged - 1) // size * size
        names = [checkpoint.name_of(at) for at in (step, diverged or step)]
        if step and not any((folder.checkpoints / name).exists() for name in names):
            own = jax.tree.map(lambda x, lane=lane: x[lane], state)
            checkpoint.save(folder.checkpoints, run_folder.identity(folder), step, own, config.run.keep)


class Lanes:
    """The lanes of a cohort on devices: those of the runs, and spare ones so that all devices have equally many."""

    def __init__(self, cohort: Cohort) -> None:
        self.runs = len(cohort.configs)
        self._lanes_of = functools.partial(
            devices.lane_mesh, tasks=cohort.like.algorithm.tasks, minibatches=cohort.like.recipe.update.parts
        )
        self.mesh, self.count = self._lanes_of(cohort.width)
        self._sharding = jax.sharding.NamedSharding(self.mesh, LANES)

    def spread(self, tree: Tree) -> Tree:
        """A tree [M, ...] on the devices, [L, ...]; spare lanes repeat the last one."""
        lanes = np.minimum(np.arange(self.count), self.runs - 1)
        return jax.device_put(jax.tree.map(lambda x: x[lanes], tree), self._sharding)

    def check_memory(self, chunk: Any, state: Any, options: Tree, roots: Array, alive: Array) -> None:
        """Raise a UsageError if the program needs more memory than there is. It is then compiled for the call."""
        arguments = options, state, roots, alive, 0, 1
        wanted = memory.of_training(chunk, state, arguments, self.mesh.size)
        memory.check_together(self.count, wanted, self._copies_of)

    def _copies_of(self, runs: int) -> int:
        """How many states the devices hold for so many runs: several of a run where they share its tasks."""
        mesh, lanes = self._lanes_of(runs)
        return lanes * mesh.shape[AXIS]

    def first(self, x: np.ndarray) -> np.ndarray:
        """The lanes of the runs [M, ...]."""
        return x[: self.runs]

    def on_host(self, tree: Tree) -> Tree:
        """The lanes of the runs [M, ...] as NumPy arrays, with keys as their data."""
        is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
        plain = jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)
        return jax.tree.map(self.first, jax.device_get(plain))

    def abstract(self, init: Callable[..., Any], options: Tree, births: Array) -> Any:
        """Shapes and dtypes of a state [M, ...]."""
        shapes = jax.eval_shape(init, options, births)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.runs, *x.shape[1:]), x.dtype), shapes)


@once
def evaluation_program(
    algorithm: Algorithm,
    environment: Environment,
    rule: Rule | None,
    varied: tuple[str, ...],
    schedule: Schedule,
    mesh: jax.sharding.Mesh,
) -> Callable[..., Curve]:
    """The curves [L, N, P, episodes] of learners, in turn on each device, from options and φ with L lanes."""

    def one(options: Tree, meta_params: Tree, tasks: Tree, key: Key, greedy: Array) -> Curve:
        world = recipe_of(dataclasses.replace(algorithm, **options), environment, rule).world
        return evaluate(world, meta_params, tasks, key, schedule[0], greedy, stride=schedule[1])

    def in_turn(lanes: tuple[Array, Tree, Tree], *rest: Any) -> Curve:
        return jax.lax.map(lambda lane: one(*lane[1:], *rest), lanes)  # their numbers, since φ may be empty

    return jax.jit(divided(in_turn, mesh, (LANES, WHOLE, WHOLE, WHOLE)))


def evaluated(cohort: Cohort, meta_params: Sequence[Tree], **how: Any) -> list[Evaluation]:
    """The evaluations of the runs of a cohort, from the φ of each; see `evaluate_learner`."""
    lanes = Lanes(cohort)
    phi = lanes.spread(jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(list(meta_params))))
    each = lanes.spread(np.arange(lanes.runs)), lanes.spread(cohort.options), phi

    def own(tasks: Tree, key: Key, schedule: Schedule, greedy: bool) -> list[Curve]:
        program = evaluation_program(*cohort.made_of, schedule, lanes.mesh)
        memory.check_program(program, each, tasks, key, greedy, devices=lanes.mesh.size)
        curves = on_host(program(each, tasks, key, greedy))
        return [jax.tree.map(lambda x, lane=lane: x[lane], curves) for lane in range(lanes.runs)]

    return evaluate_all(cohort.configs, own, **how)
