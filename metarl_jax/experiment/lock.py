"""The lock of a folder in which a process trains; the file `holder.json` says which process that is."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from metarl_jax.experiment import files
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.sealed import are_words

HOLDER = "holder.json"
MOST_BYTES = 2**12


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Prevent all other processes from training in a folder. The lock of a process that has died is free.

    Raises:
        UsageError: another process is training there; or it is no folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{folder} cannot be opened: {error.strerror}; name the folder of a run") from None
    try:
        _take(descriptor, folder)
        with _named(folder / HOLDER):
            yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which ends with the process, however that ends
    except BlockingIOError:
        raise UsageError(f"{folder} is being trained by {_holder(folder)}; wait for it or stop it") from None


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in a file who holds the lock, as far as the disk allows."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        files.write_whole(path, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since}))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _holder(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        holder = files.parsed(files.read(folder / HOLDER, MOST_BYTES))
        process, host, since = str(holder["process"]), holder["host"], holder["since"]
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
    return f"process {process} on {host} since {since}" if are_words(process, host, since) else "another process"
