"""Files that are written whole, read up to a bound, and flushed to the disk."""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

DRAFT = re.compile(r"(?P<name>.+)\.[0-9a-f]{8}\.draft")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a reader, or a crash, finds the old or the new content, never a part.

    Several processes may write the same file; the last one wins.
    """
    draft = draft_of(path)
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(draft)
        draft.rename(path)
    except BaseException:
        discard(draft)  # a full disk needs the space
        raise
    sync(path.parent)


def draft_of(path: Path) -> Path:
    """A new name beside `path`, for what is renamed to it when it is complete."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.draft")


def drafted(name: str) -> str | None:
    """The name that a draft would have had; None for another file."""
    found = DRAFT.fullmatch(name)
    return None if found is None else found["name"]


def read(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; waits for no pipe and follows no link.

    Raises:
        OSError: there is no such file, it is of another sort, or it is larger; `strerror` says so.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, and may have at most {most} bytes", str(path))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(status.st_size)  # for which so much memory is allocated
    finally:
        os.close(descriptor)


def parsed(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def set_aside(path: Path, name: str) -> None:
    """Rename what is at `path`, if anything is, to the first free `<name>-<n>` beside it."""
    if os.path.lexists(path):
        number = 1
        while os.path.lexists(aside := path.with_name(f"{name}-{number}")):
            number += 1
        path.rename(aside)


def discard(path: Path) -> None:
    """Delete a file, or a folder with everything in it, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for inner in path.rglob("*"):
        sync(inner)
    sync(path)
