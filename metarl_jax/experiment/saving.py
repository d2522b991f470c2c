"""What training writes between two chunks of meta-steps. A write that fails is a warning, and is tried again later.

Of several processes only process 0 writes.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_jax.experiment import checkpoint, group, run_folder
from metarl_jax.experiment.errors import Unsaved
from metarl_jax.experiment.files import sync
from metarl_jax.experiment.metrics import Line, append_metrics
from metarl_jax.experiment.run_folder import RunFolder

log = logging.getLogger("metarl_jax")


class Record:
    """`metrics.jsonl` of a run. Lines that cannot be written wait for the next try."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.waiting: list[Line] = []

    def add(self, line: Line) -> None:
        """Write a line, and those that wait."""
        if not group.leads():
            return
        self.waiting.append(line)
        try:
            self.write()
        except OSError as error:
            if len(self.waiting) == 1:
                log.warning("metrics wait until they can be written; training goes on: %s", said(error))

    def write(self) -> None:
        """Write what waits.

        Raises:
            OSError: a line could not be written; no part of it was.
        """
        while self.waiting:
            metrics = self.folder.metrics
            before = metrics.stat().st_size if metrics.exists() else 0
            try:
                append_metrics(metrics, self.waiting[0])
            except OSError:
                if metrics.exists():
                    os.truncate(metrics, before)
                raise
            del self.waiting[0]


class Saver:
    """The metrics and checkpoints of runs that train together, whose folder is `path`."""

    def __init__(self, path: Path, folders: Sequence[RunFolder], checkpoints: Path, identity: str, keep: int) -> None:
        self.path, self.checkpoints, self.identity, self.keep = path, checkpoints, identity, keep
        self.records = [Record(folder) for folder in folders]
        self.failure: Unsaved | None = None  # of the last save

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint, after the metrics up to it. A failure is noted, and older checkpoints are kept."""
        if not group.leads():
            return
        try:
            for record in self.records:
                record.write()
                sync(record.folder.metrics)
            checkpoint.save(self.checkpoints, self.identity, step, state, self.keep)
            for record in self.records:
                run_folder.note_saved(record.folder, step)
        except Exception as error:  # whatever the disk, or a library above it, raises
            self.failure = Unsaved(step, said(error), checkpoint.found(self.checkpoints), self.path)
            log.warning("meta-step %d could not be saved; training goes on: %s", step, said(error))
        else:
            self.failure = None

    def check(self) -> None:
        """Raise the failure of the last save, if it failed."""
        if self.failure is not None:
            raise self.failure


def said(error: Exception) -> str:
    """The kind of an error, and the first line of what it says."""
    words = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {words[:200]}"
