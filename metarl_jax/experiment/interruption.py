"""SIGINT, SIGTERM and SIGHUP as requests to stop between two chunks of meta-steps; a second one ends the process."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME = 0.25  # seconds in which a second signal is the same request: `timeout` and many schedulers send it twice
STDERR = 2
SHOW_CURSOR = b"\x1b[?25h\n"  # which a bar of progress hides


class Interruption:
    """The signal that asked the run to stop, or None."""

    def __init__(self) -> None:
        self.signal_number: int | None = None


@contextlib.contextmanager
def listening() -> Iterator[Interruption]:
    """Record the first signal instead of stopping at once. A second one ends the process, also during a compilation.

    In an interactive session a second signal has its usual effect instead.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield interruption
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    if usual[signal.SIGHUP] is signal.SIG_IGN:  # by nohup
        del usual[signal.SIGHUP]

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal_number = interruption.signal_number or number
        if interactive:
            restore()

    interactive = hasattr(sys, "ps1")
    with contextlib.nullcontext() if interactive else _ending_at_the_second(set(usual)):
        for number in usual:
            signal.signal(number, note)
        try:
            yield interruption
        finally:
            restore()


@contextlib.contextmanager
def _ending_at_the_second(signals: set[int]) -> Iterator[None]:
    """End the process at the second signal, from a thread of its own: handlers wait until a compilation is over."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, signals), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()


def _watch(reader: socket.socket, signals: set[int]) -> None:
    first = None
    with reader:
        while arrived := reader.recv(1):  # empty when the writer is closed
            number, now = arrived[0], time.monotonic()
            if number in signals and first is not None and now - first > SAME:
                _end(number)
            if number in signals and first is None:
                first = now


def _end(number: int) -> None:
    """End the process without cleaning up: what is on the disk is complete, or has the name of a draft."""
    if os.isatty(STDERR):
        os.write(STDERR, SHOW_CURSOR)
    os._exit(128 + number)
