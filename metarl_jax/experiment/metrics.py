"""The metrics of a run: `metrics.jsonl`, a line of JSON for each chunk of meta-steps, with the CRC-32 of the line."""

import json
import logging
import zlib
from pathlib import Path
from typing import Any

from metarl_jax.experiment import files
from metarl_jax.experiment.errors import UnusableRun
from metarl_jax.experiment.sealed import are_words

MOST_BYTES = 2**28
CHECK = "check"
Line = dict[str, Any]  # meta_step, env_steps, wall_seconds and the means of one chunk's diagnostics
log = logging.getLogger("metarl_jax")


def append_metrics(path: Path, line: Line) -> None:
    """Add one line; `null` stands for numbers that are not finite."""
    with path.open("a") as file:
        file.write(_written({name: value if abs(value) < float("inf") else None for name, value in line.items()}))


def read_metrics(path: Path) -> list[Line]:
    """The lines of `metrics.jsonl`, except an incomplete last line and, with a warning, those that were changed."""
    lines = _read(path)
    changed = [number for number, line in enumerate(lines, start=1) if line is None]
    if changed:
        places = ", ".join(map(str, changed[:10])) + (" ..." if len(changed) > 10 else "")
        log.warning("%s was damaged: %d lines are left out (%s)", path, len(changed), places)
    return [line for line in lines if line is not None]


def metrics_until(path: Path, step: int) -> list[Line]:
    """The lines up to a meta-step at which the run was saved, with a warning if that one is missing."""
    lines = [line for line in read_metrics(path) if line["meta_step"] <= step]
    if step and (not lines or lines[-1]["meta_step"] < step):
        end = lines[-1]["meta_step"] if lines else 0
        log.warning("%s ends at meta-step %d, and the run was saved at %d: metrics are missing", path, end, step)
    return lines


def cut_metrics(path: Path, step: int) -> list[Line]:
    """Drop the lines after meta-step `step`, which a resumed run repeats, and return the others.

    A damaged file is kept as `metrics.jsonl.damaged-<n>`.
    """
    lines = metrics_until(path, step)
    if None in _read(path):
        files.set_aside(path, f"{path.name}.damaged")
    files.write_whole(path, "".join(map(_written, lines)))
    return lines


def _read(path: Path) -> list[Line | None]:
    try:
        content = files.read(path, MOST_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnusableRun(f"{path} cannot be read: {error.strerror}") from None
    return [_checked(line) for line in content.split(b"\n")[:-1]]


def _written(line: Line) -> str:
    return json.dumps(line | {CHECK: _check(line)}, allow_nan=False) + "\n"


def _checked(text: bytes) -> Line | None:
    """The line that was written as this text; None if it was changed since, or is no such line."""
    try:
        line = files.parsed(text)
        check = line.pop(CHECK)
        return line if check == _check(line) and _is_sound(line) else None
    except (ValueError, LookupError, AttributeError, TypeError):
        return None


def _check(line: Line) -> str:
    return f"{zlib.crc32(json.dumps(line).encode()):08x}"


def _is_sound(line: Line) -> bool:
    numbers = all(value is None or type(value) in (int, float) for value in line.values())
    return numbers and are_words(*line) and type(line["meta_step"]) is int
