"""Trackers: whoever is told of a run as it trains. One protocol of three methods; a tracker that fails is dropped.

`metrics.csv` is always written. TensorBoard, Weights & Biases and trackio are told where a run asks for them by name.
Nothing is sent anywhere by default. Weights & Biases obeys WANDB_MODE=offline, and trackio is local unless its own
environment variables name a Space. `metrics.jsonl` is the run's own record, without which it stops.
"""

import csv
import functools
import importlib
import importlib.util
import io
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.files import write_whole
from metarl_jax.experiment.metrics import Line, read_metrics
from metarl_jax.experiment.run_folder import RunFolder, described

log = logging.getLogger("metarl_jax")
PROJECT = "metarl_jax"


class Tracker(Protocol):
    """Is told that a run begins, every line of its metrics, and that the run ends or stops."""

    def begin(self, config: dict[str, Any]) -> None:
        """The configuration, as in `run.json`."""

    def log(self, line: Line) -> None:
        """The means of a chunk of meta-steps, by name; NaN for what was not measured."""

    def end(self) -> None:
        """The run has ended, or was stopped."""


class Csv:
    """`metrics.csv`, the same lines as `metrics.jsonl`, for spreadsheets."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.failed = False  # to write the last line

    def begin(self, config: dict[str, Any]) -> None:
        self._write(read_metrics(self.folder.metrics))

    def log(self, line: Line) -> None:
        try:
            self._add(line)
        except OSError as error:
            if not self.failed:
                log.warning("%s is written anew once that is possible: %s", self.folder.spreadsheet, error)
            self.failed, self.names = True, []
        else:
            self.failed = False

    def end(self) -> None:
        pass

    def _add(self, line: Line) -> None:
        if set(line) - set(self.names):  # the first line, new diagnostics, or the disk was full
            earlier = [each for each in read_metrics(self.folder.metrics) if each["meta_step"] < line["meta_step"]]
            self._write([*earlier, line])
            return
        with self.folder.spreadsheet.open("a", newline="") as file:
            file.write(self._text([line]))

    def _write(self, lines: Sequence[Line]) -> None:
        self.names = list(dict.fromkeys(name for line in lines for name in line))
        head = [{name: name for name in self.names}] if lines else []
        write_whole(self.folder.spreadsheet, self._text([*head, *lines]))

    def _text(self, lines: Iterable[Line]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([[_finite(line.get(name)) for name in self.names] for line in lines])
        return text.getvalue()


class TensorBoard:
    """Events in the folder `tensorboard` of the run: tensorboard --logdir runs."""

    def __init__(self, folder: RunFolder) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder.path / "tensorboard"))

    def begin(self, config: dict[str, Any]) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(0, text_pb("config", f"```\n{json.dumps(config, indent=1)}\n```"))

    def log(self, line: Line) -> None:
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for name, value in _measured(line).items():
            self._add(int(line["meta_step"]), scalar_pb(name, value))
        self.writer.flush()

    def end(self) -> None:
        self.writer.close()

    def _add(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))


class Service:
    """A run of Weights & Biases or of trackio, which have the same functions; the environment names another project."""

    def __init__(self, folder: RunFolder, package: str) -> None:
        self.service = importlib.import_module(package)
        self.folder, self.package = folder, package
        self.run: Any = None

    def begin(self, config: dict[str, Any]) -> None:
        project = os.environ.get(f"{self.package.upper()}_PROJECT", PROJECT)
        how: dict[str, Any] = {"project": project, "config": config, "resume": "allow"}
        if self.package == "wandb":  # a resumed run goes on where it stopped
            how |= {"id": self._identity(), "name": self.folder.path.name, "dir": str(self.folder.path)}
            how |= {"reinit": "create_new"}  # beside other runs of one program
        else:
            how |= {"name": self._identity()}
        self.run = self.service.init(**how)

    def log(self, line: Line) -> None:
        self.run.log(_measured(line), step=int(line["meta_step"]))

    def end(self) -> None:
        self.run.finish()

    def _identity(self) -> str:
        """The folder and the time when the run began."""
        return re.sub(r"[^0-9A-Za-z]+", "-", f"{self.folder.path.name}-{described(self.folder)['date'][:19]}")


TRACKERS: dict[str, Callable[[RunFolder], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": lambda folder: Service(folder, "wandb"),
    "trackio": lambda folder: Service(folder, "trackio"),
}


class Guarded:
    """A tracker without which a run goes on: the first error is a warning, and nothing more is told to it."""

    def __init__(self, name: str, make: Callable[[], Tracker]) -> None:
        self.name, self.make = name, make
        self.tracker: Tracker | None = None

    def begin(self, config: dict[str, Any]) -> None:
        def start() -> None:
            self.tracker = self.make()
            self.tracker.begin(config)

        self._try(start)

    def log(self, line: Line) -> None:
        if self.tracker is not None:
            self._try(self.tracker.log, dict(line))

    def end(self) -> None:
        if self.tracker is not None:
            self._try(self.tracker.end)

    def _try(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except (Exception, SystemExit) as error:
            self.tracker = None
            log.warning("%s failed and is told no more; the run goes on: %s: %s", self.name, _kind(error), error)


class Callback:
    """A function of the user's that is called with every line of metrics, as a tracker."""

    def __init__(self, function: Callable[[Line], object]) -> None:
        self.function = function

    def begin(self, config: dict[str, Any]) -> None:
        pass

    def log(self, line: Line) -> None:
        self.function(dict(line))

    def end(self) -> None:
        pass


def trackers(folder: RunFolder, names: Iterable[str]) -> list[Tracker]:
    """The trackers of a run: `metrics.csv`, and those that it names."""
    named = [Guarded(f"the tracker {name}", functools.partial(TRACKERS[name], folder)) for name in names]
    return [Guarded(folder.spreadsheet.name, functools.partial(Csv, folder)), *named]


def check_installed(names: Iterable[str]) -> None:
    """Raise a UsageError unless the packages of the trackers are installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            remedy = f'install it with `pip install "metarl-jax[{name}]"`, or leave out the tracker'
            raise UsageError(f"tracker is {name}, and the package {name} is not installed; {remedy}")


def _measured(line: Line) -> Line:
    return {name: value for name, value in line.items() if _finite(value) is not None}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kind(error: BaseException) -> str:
    return type(error).__name__
