"""The Python interface: train, resume, load, load_rule, build, adapt, compare."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_type_hints, overload

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import nearest
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Split
from metarl_jax.experiment import devices, group, memory, results, rule_file, run_folder, training
from metarl_jax.experiment.agents import acting
from metarl_jax.experiment.agents.acting import ActingAgent
from metarl_jax.experiment.audience import OnLog
from metarl_jax.experiment.comparison import compared
from metarl_jax.experiment.config import MOST_SEED, RunConfig, changed, learner_of, require, resolve, whole
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import (
    Evaluation,
    check_adapts,
    check_request,
    check_tasks,
    evaluate_learner,
    one_life,
)
from metarl_jax.experiment.group import HEARTBEAT, Group, join
from metarl_jax.experiment.lock import locked
from metarl_jax.experiment.metrics import Line, metrics_until
from metarl_jax.experiment.rule import Rule, check_overrides, is_rule, learned
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.tracking import check_installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metarl_jax.core.meta import MetaLearner
    from metarl_jax.experiment.animation import Animation
    from metarl_jax.experiment.sweep.results import Results


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """A trained run."""

    path: Path
    config: RunConfig
    step: int
    """Meta-steps taken for `meta_params`."""
    meta_params: Any
    metrics: dict[str, np.ndarray]
    """By name, one number for each chunk of meta-steps."""

    def evaluate(
        self,
        *,
        split: Split = "test",
        tasks: int | None = None,
        seed: int = 0,
        adaptations: int | None = None,
        from_scratch: bool | None = None,
        quiet: bool = False,
    ) -> Evaluation:
        """Evaluate on held-out tasks, with random, from-scratch and reference agents.

        By default the number of tasks, and whether an agent learns from scratch, are as at the end of training.
        """
        run = self.config.run
        how: dict[str, Any] = {"split": split, "seed": seed, "adaptations": adaptations, "quiet": quiet}
        how |= run.judged(tasks, from_scratch)
        return self.priced(evaluate_learner(self.config, self.meta_params, **how))

    def priced(self, evaluation: Evaluation) -> Evaluation:
        """An evaluation of this run with the cost of its training."""
        evaluation.table.meta_step = self.step
        evaluation.table.env_steps, evaluation.table.wall_seconds = self.cost
        return evaluation

    @property
    def cost(self) -> tuple[int | None, float | None]:
        """Environment steps and seconds of the training; None where the metrics do not say so."""
        steps = self.metrics.get("meta_step", np.zeros(0))
        if self.step not in steps[-1:]:
            return None, None
        return int(self.metrics["env_steps"][-1]), float(self.metrics["wall_seconds"][-1])

    def policy(self, task: "Any | Adapted" = None, *, seed: int = 0, envs: int | None = None) -> ActingAgent:
        """An agent that acts with `act` and `observe`: newborn, learning as in training; or adapted to a given task.

        With `envs` it acts in that many parallel environments, which must divide those of a rollout in training.

        Raises:
            UsageError: the task is illegal, or missing for a policy that reads it; or `envs` does not divide.
        """
        seed = whole("seed", seed, most=MOST_SEED)
        if task is None:
            return acting.born(self, seed=seed, envs=envs if envs is None else whole("envs", envs, least=1))
        require(envs is None, "envs", envs, "left out: an agent that has adapted to a task acts in one environment")
        return task.agent if isinstance(task, Adapted) else adapt(self, task, seed=seed).agent

    def export(self, out: str | Path) -> Path:
        """Write a newborn agent into a new folder, from which it acts and learns without this package; see `export`.

        Raises:
            UsageError: `out` exists.
        """
        from metarl_jax.experiment.agents.export import export

        return export(self, out)

    def plot(self, kind: Literal["adaptation", "learning"] = "adaptation") -> "Figure":
        """Draw how the trained learner adapts to held-out tasks, or the diagnostics of its training."""
        from metarl_jax.experiment.figures import adaptation_figure, learning_figure

        if kind == "learning":
            return learning_figure(self.metrics, self.path.name)
        return adaptation_figure(self.evaluated() or self.evaluate().table)

    def compare(
        self, *others: "Result | Results | str | Path", split: Split = "test", tasks: int = 200, seed: int = 0
    ) -> results.Table:
        """The returns of this run and of others in the same held-out tasks, and their differences to this one."""
        return compare(self, *others, split=split, tasks=tasks, seed=seed)

    def __repr__(self) -> str:
        from metarl_jax.experiment.notebook import line

        return f"<Result {line(self)}>"

    def _repr_html_(self) -> str:
        from metarl_jax.experiment.notebook import result_html

        return result_html(self, self.evaluated())

    def evaluated(self) -> results.Table | None:
        """The evaluation at the end of training, if there was one."""
        return results.read_of(RunFolder(self.path).evaluation, self.step)

    def play(self, *, split: Split = "test", tasks: int | Sequence[Any] = 1, seed: int = 0) -> "Animation":
        """Film the agent before and after adaptation, side by side, in held-out tasks or in given ones; see `films`."""
        from metarl_jax.experiment.animation import Animation
        from metarl_jax.experiment.films import films

        return Animation(films(self, split, tasks, seed))


class Adapted(NamedTuple):
    """A learner after a life in one task, with K + 1 reports, the first for the newborn agent."""

    agent: ActingAgent
    """Continues with `act` and `observe`, with its adapted parameters and the memory of the last trial."""
    returns: np.ndarray  # [K+1, episodes]
    lengths: np.ndarray  # [K+1, episodes] steps
    terminated: np.ndarray  # [K+1, episodes] 1 where the episode terminated, 0 where it was truncated


@overload
def train(
    algorithm: str | None = None, /, environment: str | None = None, *, seeds: None = None, **options: Any
) -> Result: ...


@overload
def train(
    algorithm: str | None = None, /, environment: str | None = None, *, seeds: int | Sequence[int], **options: Any
) -> "Results": ...


def train(
    algorithm: str | None = None,
    /,  # an option may have this name
    environment: str | None = None,
    *,
    rule: Rule | str | Path | None = None,
    seed: int = 0,
    seeds: int | Sequence[int] | None = None,
    preset: str = "default",
    meta_steps: int | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
    env: dict[str, Any] | None = None,
    distributed: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    heartbeat: int = HEARTBEAT,
    **options: Any,
) -> "Result | Results":
    """Meta-train and evaluate in a new run folder: `out`, or `runs/<algorithm>-<environment>-<seed>-<n>`.

    `options` are fields of the algorithm, the environment or the run (`log_every`, `checkpoint_every` ...); `env` holds
    options of the environment whose names are also options of the algorithm.

    With a `rule`, the folder of a run that has learned one, φ is fixed, and fresh agents learn by it in `environment`.
    The rule brings its algorithm and the options of that, so `train(rule=run, environment="catch")` is enough.

    With `seeds`, a number of them from `seed` on or a list, one program trains a run for each seed. The folder, `out`
    or `runs/<algorithm>-<environment>-seeds-<n>`, has a run folder for each; see `sweep`.

    `on_log` is called with each line of metrics: a dict of `run`, the name of its folder, `meta_step`, `env_steps`,
    `wall_seconds` and the mean diagnostics of the last `log_every` meta-steps. If it raises, training is saved, stops
    there and can be resumed.

    In a run of several processes each calls this alike, with `distributed`, or after `jax.distributed.initialize`:
    "auto" where SLURM, Open MPI, Kubernetes or a TPU pod started them, otherwise "HOST:PORT", an address of process 0
    with a free port, the number of `processes`, and which `process` this is. All return the same; process 0 writes,
    logs and calls `on_log`. After `heartbeat` seconds of silence from one of them all others end.

    Raises:
        UsageError: a name, type or value is wrong, `out` exists, the rule does not fit, or a tracker is not installed;
            raised before anything is compiled or written.
        TooLarge: training needs more memory than there is; raised before it is taken, and no folder is left.
        Interrupted: SIGINT or SIGTERM arrived; the run is saved.
        TrainingDiverged: the training state is no longer finite.
        Unsaved: training ended, but its last save failed.
        StoppedElsewhere: `on_log` raised in process 0, and this is another one.
    """
    join(Group(distributed, processes, process, heartbeat))
    lengths = {} if meta_steps is None else {"meta_steps": meta_steps}
    given = given_rule(rule)
    config = resolve(algorithm, environment, preset=preset, env=env, rule=given, seed=seed, **lengths, **options)
    if seeds is not None:
        return run_seeds(config, seeds, out=out, quiet=quiet, on_log=on_log)
    return run(config, out=out, quiet=quiet, on_log=on_log)


def run(
    config: RunConfig,
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
) -> Result:
    """`train` with a given configuration."""
    devices.prepare()
    group.together(lambda: check(config))
    folder = RunFolder(Path(group.led(lambda: str(run_folder.create(config, out).path))))
    with owned(folder), run_folder.discarded_if_unused(folder.path, [folder]):
        return _finish(folder, config, quiet, on_log=on_log)


@contextlib.contextmanager
def owned(folder: RunFolder) -> Iterator[None]:
    """The lock of the folder of a run, which process 0 holds for all.

    Raises:
        UsageError: another process is training there.
    """
    with contextlib.ExitStack() as stack:
        group.led(lambda: stack.enter_context(locked(folder.path)))
        yield


def run_seeds(
    config: RunConfig,
    seeds: int | Sequence[int],
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
) -> "Results":
    """`run` for several seeds: so many from that of the configuration on, or the given ones."""
    from metarl_jax.experiment.sweep.grid import Grid, numbered
    from metarl_jax.experiment.sweep.sweep import run_grid

    return run_grid(Grid(config, {}, numbered(seeds, config.run.seed)), out=out, quiet=quiet, on_log=on_log)


def check(config: RunConfig) -> None:
    """Raise a UsageError for what would stop a run only after it began."""
    check_installed(config.run.tracker)
    check_tasks(config)
    if group.count() > 1:
        devices.task_mesh(config.algorithm.tasks, config.recipe.update.parts)
    check_overrides(config)
    if config.run.evaluation_tasks:
        memory.check_evaluation(config, "evaluation_tasks", config.run.evaluation_tasks)


def resume(
    path: str | Path,
    *,
    meta_steps: int | None = None,
    quiet: bool = False,
    on_log: OnLog | None = None,
    distributed: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    heartbeat: int = HEARTBEAT,
    **options: Any,
) -> Result:
    """Continue a run from its newest usable checkpoint, bit for bit; `meta_steps` extends it; `on_log` as in `train`.

    Options that are annealed over the whole run are then annealed over the extended run. `options` of the algorithm and
    of the run may change, such as `meta_lr`; `run.json` then lists the old and the new values, and from which step on.
    In a run of several processes each of them can read its folder, and calls this with `distributed` as in `train`;
    their number may be another than before.

    Raises:
        UsageError: the folder is not a run, another process is training it, its configuration was edited, `meta_steps`
            is less than planned, or an option may not change in a run.
        UnusableRun: it was saved, but no checkpoint is usable.
    """
    join(Group(distributed, processes, process, heartbeat))
    if meta_steps is not None:
        options["meta_steps"] = meta_steps
    with owned(group.together(lambda: run_folder.existing(path))):  # before it is read: its holder may extend it
        folder, before = group.together(lambda: run_folder.open_run(path))
        return go_on(folder, before, changed(before, **options), quiet=quiet, on_log=on_log)


def go_on(
    folder: RunFolder, before: RunConfig, config: RunConfig, *, quiet: bool = False, on_log: OnLog | None = None
) -> Result:
    """`resume` a locked run whose configuration was `before` with `config`."""
    devices.prepare()
    planned, length = before.run.meta_steps, config.run.meta_steps
    require(length >= planned, "meta_steps", length, f"at least {planned}, the planned length of the run")
    if config != before:
        _check_changes(before, config)
        group.together(lambda: check(config))
    return _finish(folder, config, quiet, altered=config != before, on_log=on_log)


def _check_changes(before: RunConfig, config: RunConfig) -> None:
    """Raise a UsageError unless a run may go on with another configuration: its state must keep its shapes."""
    for name, (old, new) in run_folder.differences(before.to_json(), config.to_json()).items():
        fixed = name == "seed" or getattr(config.environment, name, None) != getattr(before.environment, name, None)
        require(not fixed, name, new, f"{old}, as from the start of the run: start another run")
    if config.algorithm == before.algorithm:
        return
    key = key_of(0)
    old, new = (jax.eval_shape(each.learner().init, key) for each in (before, config))
    names = ", ".join(run_folder.differences(before.to_json(), config.to_json()))
    rule = "options that keep the shape of the training state, such as meta_lr: start another run"
    require(bool(old == new), "what changes in this run", names, rule)


def load(path: str | Path, *, trust: bool = False) -> Result:
    """A run at its newest usable checkpoint; or an export, whose programs are used only with `trust`.

    Raises:
        UsageError: the folder is neither, it was edited or damaged, or the run has no checkpoint.
        UnusableRun: it was saved, but no checkpoint is usable.
    """
    if (Path(path) / rule_file.CARD).exists() and not RunFolder(Path(path)).description.exists():
        from metarl_jax.experiment.agents import export

        return export.read(path, trust)
    folder, config = run_folder.open_run(path)
    devices.prepare()
    restored = training.restore(folder, config.learner(), training.run_keys(config.run.seed))
    if restored is None:
        raise UsageError(f"{path} has no checkpoint yet; continue it with `metarl resume {path}`")
    return result_of(folder, config, *restored)


def load_rule(path: str | Path) -> Rule:
    """The rule that a run has learned, or was given; or the rule in a folder.

    Raises:
        UsageError: there is none, or a file of it is damaged.
    """
    if not RunFolder(Path(path)).description.is_file():
        return rule_file.read(Path(path))
    folder, config = run_folder.open_run(path)
    if folder.rule.exists():
        return rule_file.read(folder.rule)
    devices.prepare()
    if is_rule(config.recipe):
        raise UsageError(f"{path} has no rule yet: it is written at the end; finish it with `metarl resume {path}`")
    nothing = f"the φ of {config.algorithm.name} is the agent itself, or empty"
    raise UsageError(f"{path} learned no rule: {nothing}; apply it with `metarl_jax.adapt` or `metarl evaluate`")


def given_rule(rule: Rule | str | Path | None) -> Rule | None:
    """A rule, or that of a folder."""
    return load_rule(rule) if isinstance(rule, str | Path) else rule


def result_of(folder: RunFolder, config: RunConfig, step: int, state: Any, lines: list[Line] | None = None) -> Result:
    """The result of a run at `step`, with the `lines` of its metrics, which otherwise are read."""
    lines = metrics_until(folder.metrics, step) if lines is None else lines
    names = dict.fromkeys(name for line in lines for name in line)
    metrics = {name: np.array([line.get(name, np.nan) for line in lines], np.float64) for name in names}
    # On the default device, but not committed to it.
    meta_params = jax.tree.map(jnp.asarray, jax.device_get(state.meta_params))
    return Result(folder.path, config, step, meta_params, metrics)


def build(
    config: RunConfig | str | None = None,
    /,  # an option may have the name of the algorithm's
    environment: str | None = None,
    *,
    rule: Rule | str | Path | None = None,
    **options: Any,
) -> "MetaLearner":
    """The pure meta-learner of a configuration, or of an algorithm, an environment and a rule as in `train`.

    Its `init(key)` and `step(state, key)` can be jitted, vmapped over seeds and scanned. Float options of the algorithm
    may be arrays, also traced ones: `jax.vmap` over them trains a grid in one program.

    Raises:
        UsageError: a name, type or value is wrong, or an option other than a float of the algorithm is an array.
    """
    devices.prepare()
    if isinstance(config, RunConfig):
        return config.learner()
    arrays: dict[str, Any] = {name: value for name, value in options.items() if isinstance(value, jax.Array)}
    plain = {name: x for name, x in options.items() if name not in arrays}
    resolved = resolve(config, environment, rule=given_rule(rule), **plain)
    check_overrides(resolved)
    hints = get_type_hints(type(resolved.algorithm))
    for name in arrays:
        rule = f"static: only float options of {resolved.algorithm.name} may be arrays{nearest(name, hints)}"
        require(hints.get(name) is float, name, "an array", rule)
    try:
        algorithm = dataclasses.replace(resolved.annealed(), **arrays)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return learner_of(algorithm, resolved.environment, resolved.rule)


def adapt(
    run: Result | str | Path, task: Any, *, adaptations: int | None = None, episodes: int | None = None, seed: int = 0
) -> Adapted:
    """Let a trained learner live in one given task, a dict of task numbers or a `Task`.

    It adapts `adaptations` times (by default as in training). Before and after each adaptation it plays `episodes`
    episodes (by default a trial of the environment), from which its parameters do not learn. A learner that never
    adapts learns in its memory during the trial. The returned agent continues from there.

    Raises:
        UsageError: the task lacks a number or has an illegal one, or a count is out of range.
    """
    result = run if isinstance(run, Result) else load(run)
    environment = result.config.environment
    try:
        checked = environment.check_task(task)
    except ValueError as error:
        raise UsageError(str(error)) from error
    world = result.config.world
    turns = result.config.recipe.turns if adaptations is None else whole("adaptations", adaptations)
    quota = environment.trial_episodes if episodes is None else whole("episodes", episodes, least=1)
    check_adapts(result.config, turns)
    key = key_of(whole("seed", seed, most=MOST_SEED))
    agent, scene, curve = one_life(world, turns, quota)(result.meta_params, checked, key)
    grown = acting.grown(result, agent, scene, checked, jax.random.fold_in(key, 1))
    return Adapted(grown, *(np.asarray(field) for field in curve))


def compare(
    *runs: "Result | Results | str | Path", split: Split = "test", tasks: int = 200, seed: int = 0
) -> results.Table:
    """The returns of several runs in the same held-out tasks, and their differences to the first; see `compared`.

    Runs of several seeds, or their folder, stand for each of their runs.

    Raises:
        UsageError: fewer than two runs, a run is not usable, or they live in different environments.
    """
    tasks, seed = check_request(split, tasks, seed)
    loaded = [each for run in runs for each in members(run)]
    parts = {str(result.path): (result.config, result.meta_params) for result in loaded}
    return compared(parts, split=split, tasks=tasks, seed=seed)


def members(run: "Result | Results | str | Path") -> Sequence[Result]:
    """The run, or all runs of several seeds or of a sweep.

    Raises:
        UsageError: the folder is neither, or not finished.
    """
    from metarl_jax.experiment.sweep.results import Results
    from metarl_jax.experiment.sweep.sweep import is_sweep, load_sweep

    if isinstance(run, Result):
        return [run]
    if isinstance(run, Results):
        return run.runs
    return load_sweep(run).runs if is_sweep(run) else [load(run)]


def _finish(
    folder: RunFolder, config: RunConfig, quiet: bool, altered: bool = False, on_log: OnLog | None = None
) -> Result:
    """Train a locked run to the end, save a learned rule, evaluate, draw."""
    group.led(folder.clear_drafts)
    step, state = training.advance(folder, config, quiet, altered, on_log)
    group.led(lambda: run_folder.delete_surplus(folder, config.run.keep))
    lines = group.led(lambda: metrics_until(folder.metrics, step))
    result = result_of(folder, config, step, state, lines)
    group.led(lambda: save_rule(folder, result))
    if config.run.evaluation_tasks:
        evaluation = result.evaluate(quiet=quiet or not group.leads())
        group.led(lambda: save_evaluation(folder, evaluation))
    return result


def save_rule(folder: RunFolder, result: Result) -> None:
    """Write the rule that a run has learned, if φ is one."""
    if result.config.rule is None and is_rule(result.config.recipe):
        rule_file.write(learned(result.config, result.meta_params, how_trained(folder, result)), folder.rule)


def how_trained(folder: RunFolder, result: Result) -> dict[str, Any]:
    """How a run was trained, for the cards of its rule and exports; the same whenever they are written."""
    steps, seconds = result.cost
    spent = {"meta_steps": result.step, "env_steps": steps, "wall_seconds": seconds}
    began = run_folder.described(folder)
    device = ", then ".join(run_folder.trained_on(folder))
    return {**spent, "device": device, "versions": began["versions"], "date": began["date"]}


def save_evaluation(folder: RunFolder, evaluation: Evaluation) -> None:
    """Write the table and the adaptation-curve figure of an evaluation into the run folder."""
    from metarl_jax.experiment.figures import write_figure

    evaluation.table.write(folder.evaluation)
    write_figure(evaluation.plot(), folder.figure)
