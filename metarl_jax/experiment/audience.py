"""Whoever is told of runs that train together: the trackers of each run, the progress display, the user's callback."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metarl_jax.experiment import group
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.metrics import Line
from metarl_jax.experiment.progress import BOOKKEEPING, Training, screen
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.tracking import Callback, Tracker, trackers

OnLog = Callable[[Line], object]


class Audience(NamedTuple):
    """The listeners of M runs."""

    names: tuple[str, ...]  # [M] of the runs
    trackers: tuple[Sequence[Tracker], ...]  # [M] of each run; none of them raises an error
    progress: Tracker  # is told the means over the runs
    callback: Tracker  # the user's, which may raise

    def tell(self, lines: Mapping[int, Line]) -> BaseException | None:
        """Tell all of the lines of some of the runs, by number, and return the first error of the user's callback."""
        for run, line in lines.items():
            for tracker in self.trackers[run]:
                tracker.log(line)
        self.progress.log(averaged(list(lines.values())))
        try:
            for run, line in lines.items():
                self.callback.log({"run": self.names[run], **line})
        except BaseException as error:
            return error
        return None


@contextlib.contextmanager
def audience(
    folders: Sequence[RunFolder], configs: Sequence[RunConfig], start: int, quiet: bool, on_log: OnLog | None
) -> Iterator[Audience]:
    """The listeners of runs that go on from `start`. All are told that a run ends, however it does.

    A process that does not lead has none.
    """
    leads, pairs = group.leads(), zip(folders, configs, strict=True)
    told = tuple(trackers(folder, config.run.tracker) if leads else [] for folder, config in pairs)
    with screen(quiet or not leads) as shown, contextlib.ExitStack() as stack:
        progress = Training(shown, start, configs[0].run.meta_steps)
        callback = Callback(on_log if on_log and leads else lambda line: None)
        for config, mine in zip(configs, told, strict=True):
            for tracker in mine:
                stack.callback(tracker.end)
                tracker.begin(config.to_json())
        progress.begin(configs[0].to_json())
        yield Audience(tuple(folder.path.name for folder in folders), told, progress, callback)


def averaged(lines: Sequence[Line]) -> Line:
    """The line of a run; of several, with the means of the numbers that are known."""
    if len(lines) == 1:
        return lines[0]
    known = {name: [x for line in lines if not np.isnan(x := line[name])] for name in lines[0]}
    means = {name: float(np.mean(xs)) if xs else np.nan for name, xs in known.items() if name not in BOOKKEEPING}
    return lines[0] | means
