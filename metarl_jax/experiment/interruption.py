"""SIGINT and SIGTERM as requests to stop between two chunks of meta-steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The signal that asked the run to stop, or None."""

    def __init__(self) -> None:
        self.signal_number: int | None = None


@contextlib.contextmanager
def listening() -> Iterator[Interruption]:
    """Record the first signal instead of stopping at once; a second one has its usual effect."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield interruption
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal_number = number
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield interruption
    finally:
        restore()
