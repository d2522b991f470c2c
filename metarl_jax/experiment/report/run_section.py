"""What a report says of one run: how it adapts to held-out tasks, how it learned, and at what cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl_jax.core.types import Split
from metarl_jax.experiment import run_folder
from metarl_jax.experiment.api import Result
from metarl_jax.experiment.curves import SCRATCH
from metarl_jax.experiment.evaluation import Evaluation
from metarl_jax.experiment.figures import X_LABELS, Y_LABEL
from metarl_jax.experiment.progress import BOOKKEEPING
from metarl_jax.experiment.report.charts import (
    Chart,
    Dot,
    Estimate,
    Line,
    Numbers,
    engineering,
    interval_chart,
    line_chart,
    plain,
    scatter_chart,
)
from metarl_jax.experiment.results import RANDOM, REFERENCE, Table
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.statistics import confidence_interval
from metarl_jax.experiment.tables import heading
from metarl_jax.experiment.verdict import verdict

STEPS = "environment steps"


class Judged(NamedTuple):
    """A run, its evaluation in tasks of a split, and films of it."""

    name: str
    result: Result
    split: Split
    evaluation: Evaluation
    films: list[dict[str, Any]]
    rewards: np.ndarray | None = None  # [N, T] by step of the trial, where all trials are one episode of T steps

    @property
    def agent(self) -> str:
        """The name of the trained agent in the evaluation."""
        return self.result.config.algorithm.name


class RunSection(NamedTuple):
    """The contents of a section."""

    name: str
    setting: str
    sentence: str
    adaptation: list[Chart]
    learning: list[Chart]
    diagnostics: list[Chart]
    options: dict[str, dict[str, Any]]
    cost: list[tuple[str, str]]
    films: list[dict[str, Any]]
    reference: str | None  # who the reference agent is


def run_section(judged: Judged) -> RunSection:
    """What is said of one run."""
    table, config, metrics = judged.evaluation.table, judged.result.config, judged.result.metrics
    plain_config = config.to_json()
    options = {part: plain_config[part] for part in ("algorithm", "environment", "run")}
    return RunSection(
        name=judged.name,
        setting=heading(table),
        sentence=verdict(table),
        adaptation=[*adaptation_charts(table, judged.agent), *step_charts(judged), scatter(judged)],
        learning=learning_charts(metrics),
        diagnostics=diagnostic_charts(metrics),
        options=options,
        cost=cost(judged.result),
        films=judged.films,
        reference=config.environment.reference,
    )


def adaptation_charts(table: Table, agent: str) -> list[Chart]:
    """The returns of all methods as they adapt, and the same as shares of the way from random to the reference."""
    kind = table.axis(agent)
    places = [x for x, _ in table.curve(agent, kind)]
    if len(places) < 2:
        return [interval_chart("Return", Y_LABEL, _estimates(table, agent))]
    lines = [_curve(table, method, kind, places, agent) for method in table.methods()]
    leading = (agent, REFERENCE)
    charts = [line_chart("Adaptation", X_LABELS[kind], Y_LABEL, lines, whole=True, leading=leading)]
    if REFERENCE in table.methods():
        charts += _share_chart(lines, kind, agent)
    return charts


def step_charts(judged: Judged) -> list[Chart]:
    """The mean reward of each step of a trial that is one episode, beside the means of the other agents."""
    if judged.rewards is None or judged.rewards.shape[1] < 2:
        return []
    table, rewards = judged.evaluation.table, judged.rewards
    steps = np.arange(1, rewards.shape[1] + 1)
    low, high = np.transpose([confidence_interval(values) for values in rewards.T])
    lines = [Line(judged.agent, steps, rewards.mean(axis=0), low, high)]
    for method in (RANDOM, REFERENCE):
        if method in table.methods():
            level = (table.level(method, "episode") or 0.0) / len(steps)
            lines.append(Line(method, steps[[0, -1]], [level, level], role=method, dashed=True))
    return [line_chart("Reward by step", "step in the task", "mean reward of a step", lines, whole=True)]


def scatter(judged: Judged) -> Chart:
    """A dot for each task: its return before and after adaptation, or that of a random and of the trained agent."""
    curves = judged.evaluation.curves
    returns = np.asarray(curves[judged.agent].returns)  # [N, P, episodes]
    said = "gained", "lost"
    if returns.shape[1] > 1:
        before, after = returns[:, 0].mean(axis=1), returns[:, -1].mean(axis=1)
        names = "return before adaptation", "return after adaptation"
    elif returns.shape[2] > 1:
        before, after = returns[:, -1, 0], returns[:, -1, -1]
        names = "return of the first episode", "return of the last episode"
    else:
        before, after = np.asarray(curves[RANDOM].returns).mean(axis=(1, 2)), returns[:, -1, -1]
        names, said = ("return of a random agent", f"return of {judged.agent}"), ("better than random", "worse")
    dots = [
        Dot(x, y, f"task {i + 1}: {plain(x)} → {plain(y)}") for i, (x, y) in enumerate(zip(before, after, strict=True))
    ]
    return scatter_chart("Each task", *names, dots, said)


def learning_charts(metrics: dict[str, np.ndarray]) -> list[Chart]:
    """The returns of the tasks in training, before and after adaptation; none for a single line of metrics."""
    names = [name for name in ("return", "return_before") if name in metrics]
    if len(names) == 2 and np.allclose(metrics["return"], metrics["return_before"], equal_nan=True):
        names = names[:1]
    said = {"return": "after" if len(names) > 1 else "", "return_before": "before"}
    roles = {"return": "agent", "return_before": "random"}
    lines = [Line(said[name], metrics["env_steps"], metrics[name], role=roles[name]) for name in names]
    if not _drawable(metrics, names):
        return []
    title = "Learning, before and after adaptation" if len(names) > 1 else "Learning"
    return [line_chart(title, STEPS, "mean return in training", lines)]


def diagnostic_charts(metrics: dict[str, np.ndarray]) -> list[Chart]:
    """A small chart for every other diagnostic."""
    names = [name for name in metrics if name not in (*BOOKKEEPING, "return", "return_before")]
    return [
        line_chart(name.replace("_", " ").capitalize(), STEPS, "", [Line("", metrics["env_steps"], metrics[name])])
        for name in names
        if _drawable(metrics, [name])
    ]


def cost(result: Result) -> list[tuple[str, str]]:
    """What the training took: names and values with their units."""
    folder = RunFolder(result.path)
    described, spent = run_folder.described(folder), {name: x[-1] for name, x in result.metrics.items() if len(x)}
    seconds, steps = spent.get("wall_seconds", np.nan), spent.get("env_steps", np.nan)
    versions = ", ".join(f"{name} {version}" for name, version in described.get("versions", {}).items())
    facts = {
        "Meta-steps": str(result.step),
        "Environment steps": engineering(steps),
        "Time": f"{seconds:.1f} s",
        "Speed": f"{engineering(steps / seconds)} environment steps a second" if seconds > 0 else "",
        "Device": ", then ".join(run_folder.trained_on(folder)),
        "Precision": str(described.get("precision", "")),
        "Started": str(described.get("date", "")),
        "Versions": versions,
    }
    return [(name, value) for name, value in facts.items() if value]


def _estimates(table: Table, agent: str) -> list[Estimate]:
    cells = {method: cell for method in table.methods() for _, cell in table.curve(method, "episode")}
    looks = {method: _look(method, agent) for method in cells}
    return [
        Estimate(looks[method][0], cell.value, cell.interval, looks[method][1])
        for method, cell in cells.items()
        if cell.value is not None
    ]


def _curve(table: Table, method: str, kind: str, places: Sequence[int], agent: str) -> Line:
    """The curve of a method, or a dashed level where it does not adapt."""
    label, role, dashed = _look(method, agent)
    cells = table.curve(method, kind)
    if [x for x, _ in cells] != list(places):
        level = table.level(method, kind) or 0.0
        return Line(label, places, [level] * len(places), role=role, dashed=True)
    ends = [row.interval for _, row in cells]
    known = [interval for interval in ends if interval is not None]
    low, high = zip(*known, strict=True) if len(known) == len(ends) else ((), ())
    return Line(label, places, [row.value for _, row in cells if row.value is not None], low, high, role, dashed)


def _share_chart(lines: Sequence[Line], kind: str, agent: str) -> list[Chart]:
    """The curves as shares of the way from random to the reference; none where that is no way."""
    random, best = (_at(lines, label) for label in (RANDOM, REFERENCE))
    way = best - random
    if np.any(way <= 1e-6 * np.abs(best)):
        return []

    def share(values: Numbers) -> Numbers:
        return 100 * (np.asarray(values) - random) / way if len(values) else ()

    scaled = [line._replace(ys=share(line.ys), low=share(line.low), high=share(line.high)) for line in lines]
    own = [line for line in scaled if line.label != RANDOM]
    title = "Adaptation, from random (0 %) to the reference (100 %)"
    return [line_chart(title, X_LABELS[kind], "% of the way", own, whole=True, guide=0.0, leading=(agent, REFERENCE))]


def _at(lines: Sequence[Line], label: str) -> np.ndarray:
    return np.asarray(next(line.ys for line in lines if line.label == label), np.float64)


def _look(method: str, agent: str) -> tuple[str, str, bool]:
    """The name, the colour and whether the line of a method is dashed."""
    looks = {
        f"{agent}-greedy": ("greedy", "greedy", False),
        SCRATCH: ("from scratch", "scratch", False),
        RANDOM: (RANDOM, "random", True),
        REFERENCE: (REFERENCE, "reference", True),
        agent: (agent, "agent", False),
    }
    return looks.get(method, (method, "ink", False))


def _drawable(metrics: dict[str, np.ndarray], names: Sequence[str]) -> bool:
    """Whether there is more than one number to draw."""
    return any(np.isfinite(metrics[name]).sum() > 1 for name in names)
