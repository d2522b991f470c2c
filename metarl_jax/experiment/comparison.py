"""Runs side by side: the returns of their agents in the same held-out tasks, and the differences with intervals."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from metarl_jax.core.environment import Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Split, Tree
from metarl_jax.experiment import reliability
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.curves import adaptation_curve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import check_request, sample_tasks
from metarl_jax.experiment.results import Table, number
from metarl_jax.experiment.tables import heading

if TYPE_CHECKING:
    from rich.console import Group

Returns = Mapping[str, np.ndarray]  # by run, [N, episodes]
ABSENT = "–"  # of an option that a run does not have
NARROW = 70  # columns of a terminal, below which some of the table are left out
DIGEST = 8  # letters by which a rule is known


def compared(
    runs: Mapping[str, tuple[RunConfig, Tree]], *, split: Split = "test", tasks: int = 200, seed: int = 0
) -> Table:
    """The table of runs by name: configuration and φ; see `tabulated`.

    Raises:
        UsageError: fewer than two runs, or another environment than the first run's.
    """
    tasks, seed = check_request(split, tasks, seed)
    configs = {name: config for name, (config, _) in runs.items()}
    environment = shared_environment(configs)
    task_key, key = jax.random.split(key_of(seed), 5)[:2]  # the tasks and the lives of `evaluate_learner`
    sampled = sample_tasks(environment, split, tasks, task_key)
    returns = {}
    for name, (config, meta_params) in runs.items():
        curve = adaptation_curve(config.world, meta_params, sampled, key, config.recipe.reports)
        returns[name] = np.asarray(curve.returns)[:, -1]
    return tabulated(configs, returns, split)


def shared_environment(configs: Mapping[str, RunConfig]) -> Environment:
    """The environment of two or more runs.

    Raises:
        UsageError: fewer than two runs, or another environment than the first run's.
    """
    if len(configs) < 2:
        raise UsageError(f"a comparison needs two or more different runs, not {len(configs)}")
    first = next(iter(configs))
    environment = configs[first].environment
    for name, config in configs.items():
        if config.environment != environment:
            raise UsageError(f"{name} lives in {config.environment}, and {first} in {environment}; compare runs in one")
    return environment


def tabulated(configs: Mapping[str, RunConfig], returns: Returns, split: Split) -> Table:
    """A row for each method: a run, or the runs of one configuration, which differ in their seed.

    `episode=e` is the mean return after the last adaptation and `episode=e,difference` what it exceeds that of the
    first method by. As all runs live in the same tasks, differences are paired. `,iqm` are interquartile means, and
    `improvement` is how often a method has a higher return in the last episode of a task than the first method.
    `steps` are the environment steps from which an agent has learned by then.
    """
    methods = gathered(configs, returns)
    first = next(iter(methods.values()))
    environment = next(iter(configs.values())).environment
    seeds = [config.run.seed for config in configs.values()]
    table = Table(f"comparison-{environment.name}-{split}", seeds, tasks=first.shape[1])
    for (name, values), runs in zip(methods.items(), members(configs).values(), strict=True):
        table.add_columns(name, "episode", values if len(values) > 1 else values[0])
        for episode, scores in enumerate(np.moveaxis(values, 2, 0), start=1):
            low, high = reliability.interval(reliability.iqm_score, scores)
            table.add(name, f"episode={episode},iqm", float(reliability.iqm_score(scores)), (low, high))
        if values is not first:
            _add_differences(table, name, values, first)
        table.add(name, "steps", _experience(configs[runs[0]]))
    return table


def members(configs: Mapping[str, RunConfig]) -> dict[str, list[str]]:
    """The names of the runs of each method, by its name.

    Runs that differ only in their seed are one method; if there are no others, every run is one.
    """
    groups: dict[Any, list[str]] = collections.defaultdict(list)
    for name, config in configs.items():
        groups[config.algorithm, config.environment, config.rule, config.run.meta_steps].append(name)
    if len(groups) < 2 or len(groups) == len(configs):
        return {name: [name] for name in configs}
    firsts = {names[0]: configs[names[0]] for names in groups.values()}
    return {_called(names, firsts): names for names in groups.values()}


def gathered(configs: Mapping[str, RunConfig], returns: Returns) -> dict[str, np.ndarray]:
    """The returns of each method, [seeds, N, episodes]."""
    return {name: np.stack([returns[run] for run in runs]) for name, runs in members(configs).items()}


def differing(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """The options that differ between configurations, with the value of each; those of the run except its seed."""
    flat = [
        {"algorithm" if name == "name" else name: value for name, value in config.to_json()["algorithm"].items()}
        | {"meta_steps": config.run.meta_steps, "rule": (config.to_json()["rule"] or ABSENT)[:DIGEST]}
        for config in configs
    ]
    names = dict.fromkeys(name for options in flat for name in options)
    values = {name: [options.get(name, ABSENT) for options in flat] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def verdicts(table: Table) -> list[str]:
    """What a comparison shows in the last episode, a sentence for each method after the first.

    A difference is shown if its 95 % interval excludes zero.
    """
    first, *others = table.methods()
    short = briefly(table.methods())
    return [_verdict(table, name, first, short, alone=len(others) == 1) for name in others]


def briefly(names: Iterable[str]) -> dict[str, str]:
    """The last part of each path, where that tells them apart."""
    last = {name: Path(name).name or name for name in names}
    counts = collections.Counter(last.values())
    return {name: short if counts[short] == 1 else name for name, short in last.items()}


def to_rich(table: Table, width: int) -> "Group":
    """The comparison for a terminal of `width` columns: a line for each method, with fewer columns if it is narrow."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = _columns(table, narrow=width < NARROW)
    drawn = RichTable(box=None, pad_edge=False)
    drawn.add_column("", overflow="fold")
    for head in columns:
        drawn.add_column(head, justify="right", no_wrap=True)
    for name, short in briefly(table.methods()).items():
        drawn.add_row(Text(short), *(texts.get(name, "") for texts in columns.values()))
    caption = Text("differences to the first, with 95 % intervals", style="italic")
    return Group(Text(heading(table), style="bold"), drawn, caption)


def _columns(table: Table, narrow: bool) -> dict[str, dict[str, str]]:
    """The texts of the table by head and method."""
    first, *others = table.methods()
    last = table.curve(first, "episode")[-1][0]
    shown = [last] if narrow or last == 1 else [1, last]
    columns = {
        f"episode {episode}": {name: _value(table, name, f"episode={episode}") for name in table.methods()}
        for episode in shown
    }
    between = "\n" if narrow else " "
    columns["difference"] = {name: _with_interval(table, name, last, between) for name in others}
    return columns if narrow else columns | {"better in": {name: _percent(table, name) for name in others}}


def _add_differences(table: Table, name: str, values: np.ndarray, others: np.ndarray) -> None:
    """The differences of a method [seeds, N, episodes] to another, and how often it is better in the last episode."""
    for episode in range(values.shape[2]):
        scores = values[..., episode], others[..., episode]
        found, ends = float(reliability.difference(*scores)), reliability.difference_interval(*scores)
        table.add(name, f"episode={episode + 1},difference", found, ends)
    low, high = reliability.interval(reliability.improvement, *scores)
    table.add(name, "improvement", float(reliability.improvement(*scores)), (low, high))


def _called(names: Sequence[str], firsts: Mapping[str, RunConfig]) -> str:
    """The name of a method: that of its run, or its algorithm with the options that tell it from others."""
    first = names[0]
    if len(names) == 1:
        return first
    own = firsts[first].algorithm.name
    alike = [name for name in firsts if firsts[name].algorithm.name == own]
    apart = differing([firsts[name] for name in alike])
    words = [own, *(f"{option}={values[alike.index(first)]}" for option, values in apart.items())]
    return f"{' '.join(words)} ({len(names)} seeds)"


def _experience(config: RunConfig) -> int:
    reports, stride = config.recipe.reports
    return int(reports * stride * config.world.envs * config.world.steps)


def _verdict(table: Table, name: str, first: str, short: Mapping[str, str], alone: bool) -> str:
    last = table.curve(name, "episode")[-1][0]
    cell = table.cell(name, f"episode={last},difference")
    if cell.value is None or cell.interval is None or cell.interval[0] <= 0 <= cell.interval[1]:
        between = "" if alone else f" between {short[name]} and {short[first]}"
        return f"No difference{between} is shown: {_with_interval(table, name, last)}."
    better, worse = (name, first) if cell.value > 0 else (first, name)
    low, high = sorted(abs(end) for end in cell.interval)
    than = "" if alone else f" than {short[worse]}"
    return f"{short[better]} is better{than} by {number(abs(cell.value), 3)} [{number(low, 3)}, {number(high, 3)}]."


def _value(table: Table, name: str, column: str) -> str:
    value = table.cell(name, column).value
    return "" if value is None else number(value, 3)


def _with_interval(table: Table, name: str, episode: int, between: str = " ") -> str:
    cell = table.cell(name, f"episode={episode},difference")
    ends = "" if cell.interval is None else f"{between}[{number(cell.interval[0], 3)}, {number(cell.interval[1], 3)}]"
    return _value(table, name, cell.column) + ends


def _percent(table: Table, name: str) -> str:
    value = table.cell(name, "improvement").value
    return "" if value is None else f"{100 * value:.0f} %"
