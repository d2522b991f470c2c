"""The standard streams of a command: they are open, take every character, and end no run when they fail."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class Forgiving:
    """A stream that is silent after its first failure: its reader has gone, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _silent_on_failure(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _silent_on_failure(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def standard() -> Iterator[None]:
    """Give a command streams to rely on. A failure of standard output is an OSError; one of standard error is ignored.

    A reader of standard output that closes it has seen what it wanted: that ends the command without an error.
    """
    _open_missing()
    before = sys.stderr
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # its encoding may lack characters of ours, or of a path
    sys.stderr = Forgiving(before)
    try:
        yield
    except BrokenPipeError:
        pass
    finally:
        Forgiving(sys.stdout).flush()
        sys.stderr = before


def console(stderr: bool = False) -> "Console":
    """A console of rich's whose failures are errors like any other: its own answer to a closed pipe is to exit."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError("the reader has gone")

    return Plain(stderr=stderr)


def say(text: str) -> None:
    """Print a line on standard error, where there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _open_missing() -> None:
    """Open the streams that the caller closed; otherwise the next file would have their numbers and get their text."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


@contextlib.contextmanager
def _silent_on_failure(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):  # also what is still buffered would fail, at the end of the process
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
