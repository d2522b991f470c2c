"""Films of a trained learner: its episodes before and after adaptation in given or held-out tasks."""

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.drawing import Drawing, Episode, Film, Take, around
from metarl_jax.core.environment import Environment
from metarl_jax.core.evaluation import lived, played
from metarl_jax.core.keys import key_of
from metarl_jax.core.life import Life, World
from metarl_jax.core.once import once
from metarl_jax.core.types import Key, Split, Tree
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import check_request, sample_tasks

if TYPE_CHECKING:
    from metarl_jax.experiment.api import Result

MOST_FRAMES = 100  # of an episode, after the first; longer episodes of a film are shown in one stride
CALLED = {"train": "training task", "test": "held-out task", "extrapolation": "task outside the training range"}


class Tape(NamedTuple):
    """What a trial of T steps is drawn from."""

    state: Tree  # [T, ...] before each step
    next_state: Tree  # [T, ...] after it, and before any reset
    observation: Any  # [T, O]
    next_observation: Any  # [T, O]
    action: Any  # [T, ...]
    reward: Any  # [T]
    over: Any  # [T] bool: the episode ended


def films(result: "Result", split: Split = "test", tasks: int | Sequence[Any] = 3, seed: int = 0) -> list[Film]:
    """A film for each task: the first `tasks` ones of an evaluation with that split and seed, or the given ones.

    The film of a learner that adapts shows an episode before and after every adaptation (or every tenth of its life);
    that of a learner in memory the episodes of a trial. Returns equal those of the evaluation.

    Raises:
        UsageError: the split is unknown, or a task lacks a number or has an illegal one.
    """
    config = result.config
    given = list(tasks) if isinstance(tasks, Sequence) else []
    count, seed = check_request(split, len(given) if isinstance(tasks, Sequence) else tasks, seed)
    task_key, life_key, *_ = jax.random.split(key_of(seed), 5)  # as in `evaluate_learner`
    if not given:
        chosen = sample_tasks(config.environment, split, count, task_key)
    else:
        chosen = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(checked(config, task) for task in given))
    names, episodes = parts(config)
    program = _recorded(config.world, config.recipe.reports, episodes)
    tapes, played_in = jax.device_get((program(result.meta_params, chosen, life_key), chosen))
    kind = "task" if given else CALLED[split]
    return [
        film(
            config.environment,
            _at(played_in, index),
            dict(zip(names, cut(_at(tapes, index), episodes), strict=True)),
            f"{config.algorithm.name} in {config.environment.name}, {kind} {index + 1}",
        )
        for index in range(count)
    ]


def parts(config: RunConfig) -> tuple[list[str], int]:
    """The names of the episodes of a film, and how many there are in each trial."""
    reports, stride = config.recipe.reports
    if reports == 0:
        episodes = config.environment.trial_episodes
        return [f"episode {number}" for number in range(1, episodes + 1)], episodes
    counts = [stride * number for number in range(1, reports + 1)]
    return ["before adaptation", *(f"after {n} adaptation{'s' * (n > 1)}" for n in counts)], 1


def film(environment: Environment, task: Tree, episodes: dict[str, Episode], title: str) -> Film:
    """The film of named episodes in one task, all of them NumPy arrays."""
    drawings = {name: environment.draw(task, episode) for name, episode in episodes.items()}
    bounds = around(drawing.bounds for drawing in drawings.values())
    stride = -(-max(len(episode.reward) for episode in episodes.values()) // MOST_FRAMES)
    takes = [take(name, episodes[name], drawing, stride) for name, drawing in drawings.items()]
    return Film(title, numbers(task), bounds, next(iter(drawings.values())).background, takes)


def take(name: str, episode: Episode, drawing: Drawing, stride: int) -> Take:
    """One episode with its captions: every `stride`-th frame, and the last."""
    steps = len(episode.reward)
    returns = np.concatenate([[0.0], np.cumsum(episode.reward)])
    shown = [*range(0, steps, stride), steps]
    captions = [f"step {step}, return {returns[step]:.2f}" for step in shown]
    return Take(name, float(returns[-1]), [drawing.frames[step] for step in shown], captions)


def cut(tapes: Tape, episodes: int) -> list[Episode]:
    """The first `episodes` episodes of every report [P, T, ...], in order."""
    reports = [_at(tapes, index) for index in range(len(tapes.reward))]
    return [episode for tape in reports for episode in _episodes(tape, episodes)]


def numbers(task: Tree) -> dict[str, Any]:
    """The numbers of a task by name, as Python numbers or nested lists of them."""
    return {name: (1 * np.asarray(value)).tolist() for name, value in task._asdict().items() if value is not None}


def checked(config: RunConfig, task: Any) -> Tree:
    """A user's task as arrays.

    Raises:
        UsageError: a number is missing, unknown or illegal.
    """
    try:
        return config.environment.check_task(task)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parsed(text: str) -> dict[str, Any]:
    """A task written as `name=value,...` or as a JSON object; values are JSON, as in `goal=[0.3,-0.2]`.

    Raises:
        UsageError: it is neither.
    """
    try:
        if text.lstrip().startswith("{"):
            return dict(json.loads(text))
        pairs = [entry.partition("=") for entry in re.split(r",(?=\s*\w+=)", text)]
        return {name.strip(): json.loads(value) for name, _, value in pairs}
    except ValueError:
        rule = "name=value,... such as gravity=9.8 or goal=[0.3,-0.2], or a JSON object"
        raise UsageError(f"task is {text!r}; it must be {rule}") from None


@once
def _recorded(world: World, schedule: tuple[int, int], episodes: int) -> Callable[[Tree, Tree, Key], Tape]:
    """The program (φ, tasks [N, ...], key) -> tapes [N, P, T, ...] of a trial before and after each stride."""
    reports, stride = schedule

    def report(life: Life) -> Tape:
        seen = played(world, life, episodes, states=True)[1]
        over = seen.terminated | seen.truncated
        observed = seen.timestep.observation, seen.next_observation
        tape = Tape(seen.state, seen.next_state, *observed, seen.action, seen.reward, over)
        return jax.tree.map(lambda leaf: leaf[:, 0], tape)  # E = 1

    def record(meta_params: Tree, tasks: Tree, key: Key) -> Tape:
        tapes: Tape = lived(world, meta_params, tasks, key, report, reports, stride)
        return tapes

    return jax.jit(record)


def _episodes(tape: Tape, count: int) -> list[Episode]:
    """The first `count` episodes of a tape [T, ...]."""
    ends = np.flatnonzero(tape.over)[:count] + 1
    return [_episode(tape, start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _episode(tape: Tape, start: int, end: int) -> Episode:
    def whole(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.concatenate([before[start:end], after[end - 1 : end]])

    states = jax.tree.map(whole, tape.state, tape.next_state)
    return Episode(
        states, whole(tape.observation, tape.next_observation), tape.action[start:end], tape.reward[start:end]
    )


def _at(tree: Tree, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)
