"""The intended errors of the shell, each with the exit code of a command."""

from collections.abc import Sequence
from pathlib import Path


class UsageError(ValueError):
    """An illegal request; the message names value, rule and remedy. Nothing was run or written."""

    exit_code = 2


class TooLarge(UsageError):
    """A request that needs more memory than there is. None of it was taken."""


class TrainingDiverged(RuntimeError):
    """The training state is no longer finite. The checkpoints on disk are the last good ones."""

    exit_code = 3


class UnusableRun(RuntimeError):
    """A run has checkpoints, but none of them is usable. Nothing was overwritten."""

    exit_code = 4


class Unsaved(RuntimeError):
    """Training went as far as it was asked to, but could not be saved there. Earlier checkpoints are as they were."""

    exit_code = 1

    def __init__(self, step: int, reason: str, kept: Sequence[Path], path: Path) -> None:
        there = f"the newest checkpoint is {kept[-1]}" if kept else "there is no checkpoint"
        remedy = f"once the folder can be written, continue with: metarl resume {path}"
        super().__init__(f"meta-step {step} could not be saved ({reason}); {there}; {remedy}")
        self.step = step


class StoppedElsewhere(RuntimeError):
    """Another process of a distributed run stopped it, and says why; the run was saved and can be resumed."""

    exit_code = 1

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(f"another process stopped {path} at meta-step {step}; its own message says why")


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived during training; the run was saved and can be resumed."""

    def __init__(self, path: Path, signal_number: int, step: int) -> None:
        super().__init__(f"stopped at meta-step {step} and saved; continue with: metarl resume {path}")
        self.path = path
        self.step = step
        self.exit_code = 128 + signal_number
