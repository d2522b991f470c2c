"""Checkpoints that are used only if they are complete, correct, and of the run that asks for them.

A checkpoint is a folder `step-00000100` of two files: the leaves of the training state, and a manifest with the run to
which it belongs, the step, the SHA-256 of the leaves, and the shape and dtype of each. It is written beside its place,
flushed to the disk, renamed into place and read back, before older ones are deleted. Every load checks all of it. What
is not exactly a checkpoint of the run is neither counted, nor deleted, nor in the way of another.
"""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from metarl_jax.experiment import files, sealed
from metarl_jax.experiment.errors import UnusableRun, UsageError
from metarl_jax.experiment.leaves import Form, forms, leaf_form, packed, unpacked
from metarl_jax.experiment.sealed import Card

FORMAT = 2  # 1, by Orbax, was never released
MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"
KIND = sealed.Kind("a checkpoint", f"{MANIFEST} and {ARRAYS}", "metarl train", "metarl resume", FORMAT)
NAME = re.compile(r"step-([0-9]{8,10})")
FOREIGN = ("bfloat16", "complex64")  # to safetensors in NumPy, which has their bits
log = logging.getLogger("metarl_jax")


class DamagedCheckpoint(Exception):
    """A checkpoint that must not be used; the message gives the reason."""


def save(folder: Path, run: str, step: int, state: Any, keep: int) -> Path:
    """Write `state` as the checkpoint of `step` of a run, then delete all except its `keep` newest ones.

    What has the name of this or of a later step is renamed to `damaged-<step>-<n>`, since training would have gone on
    from it if it were usable.

    Raises:
        OSError: it could not be written, or was not read back as it was written; older ones are left as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_drafts(folder)
    leaves, final = packed(state), folder / name_of(step)
    draft = sealed.draft(final, _contents(run, step, leaves))
    for path in found(folder):
        if _step(path) >= step:
            _set_aside(path)
    draft.rename(final)
    files.sync(folder)
    _read_back(final, run, leaves)
    delete_old(folder, run, keep, final)
    return final


def newest(folder: Path, run: str, like: Any) -> tuple[int, Any] | None:
    """Step and state of the newest usable checkpoint of a run; None if there is none. Damaged ones are logged.

    `like` is the abstract state, `jax.eval_shape(learner.init, key)`. Another process may be training the run.

    Raises:
        UnusableRun: there are checkpoints, but none is usable; or the folder cannot be read.
    """
    paths = found(folder)
    reasons = []
    for path in reversed(paths):
        try:
            return load(path, run, like)
        except DamagedCheckpoint as damage:
            if not os.path.lexists(path):  # deleted since, after a newer one was written
                return newest(folder, run, like)
            reasons.append(f"{path.name}: {damage}")
            log.warning("skipped checkpoint %s", reasons[-1])
    if paths:
        raise UnusableRun(f"none of the {len(paths)} checkpoints in {folder} can be used ({'; '.join(reasons)})")
    return None


def load(path: Path, run: str, like: Any) -> tuple[int, Any]:
    """Step and state of one checkpoint of a run, as arrays on the default device.

    Raises:
        DamagedCheckpoint: a file or leaf is missing, superfluous or changed, has another shape or dtype, or is not
            finite; or it is of another run.
    """
    manifest = _manifest(path, run)
    _check_forms(manifest["leaves"], forms(like))
    return manifest["step"], unpacked(_arrays(path, manifest), like)


def found(folder: Path) -> list[Path]:
    """What has the name of a checkpoint in a folder, sorted by step.

    Raises:
        UnusableRun: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnusableRun(f"{folder} cannot be read: {error.strerror}") from None
    return sorted((folder / name for name in names if _is_name(name)), key=_step)


def clear_drafts(folder: Path) -> None:
    """Delete what saves that were killed have left, as far as the folder can be read."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _is_name(files.drafted(name) or ""):
                files.discard(folder / name)


def delete_old(folder: Path, run: str, keep: int, new: Path | None = None) -> None:
    """Delete all checkpoints of a run except its `keep` newest ones, of which `new` is known to be usable.

    Raises:
        OSError: one could not be deleted.
    """
    for path in [path for path in found(folder) if path == new or _is_usable(path, run)][:-keep]:
        gone = path.rename(files.draft_of(path))  # at once, for whoever is reading the folder
        files.discard(gone)


def name_of(step: int) -> str:
    """The name of the checkpoint of a step."""
    return f"step-{step:08d}"


def _contents(run: str, step: int, leaves: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    tensors = safetensors.numpy.save({name: _plain(leaf) for name, leaf in leaves.items()})
    described = {name: leaf_form(leaf) for name, leaf in leaves.items()}
    card = {"format": FORMAT, "run": run, "step": step, "leaves": described, "sha256": sealed.sha256(tensors)}
    return {ARRAYS: tensors, MANIFEST: sealed.written(card)}


def _manifest(path: Path, run: str) -> Card:
    """The manifest of a checkpoint, which must be of the run and describe all that is there."""
    try:
        if path.is_symlink():
            raise DamagedCheckpoint("it is a link")
        names = set(os.listdir(path))
        if missing := {MANIFEST, ARRAYS} - names:
            raise DamagedCheckpoint(f"it has no {' and no '.join(sorted(missing))}")
        if more := names - {MANIFEST, ARRAYS}:
            raise DamagedCheckpoint(
                f"it holds {len(more)} files more than its manifest describes, such as {min(more)!r}"
            )
        manifest = sealed.read_card(path / MANIFEST, KIND, _is_sound)
    except OSError as error:
        raise DamagedCheckpoint(f"it cannot be read: {error.strerror}") from None
    except UsageError as error:
        raise DamagedCheckpoint(str(error)) from None
    if manifest["run"] != run:
        raise DamagedCheckpoint("it is of another run, with another configuration or seed")
    if path.name != name_of(manifest["step"]):
        raise DamagedCheckpoint(f"it is of step {manifest['step']}")
    return manifest


def _is_sound(manifest: Card) -> bool:
    words = manifest["run"], manifest["sha256"]
    return type(manifest["step"]) is int and sealed.are_words(*words) and sealed.are_forms(manifest["leaves"])


def _arrays(path: Path, manifest: Card) -> dict[str, np.ndarray]:
    """The leaves of a checkpoint, checked, by name."""
    described = manifest["leaves"]
    plain = {name: form | {"dtype": _plain_dtype(form["dtype"])} for name, form in described.items()}
    most = sealed.HEADER_BYTES + 8 + sum(map(sealed.size, plain.values()))
    try:
        tensors = sealed.read_tensors(path / ARRAYS, KIND, plain, manifest["sha256"], most)
    except UsageError as error:
        raise DamagedCheckpoint(str(error)) from None
    stored = safetensors.numpy.load(tensors)
    arrays = {name: leaf.view(np.dtype(described[name]["dtype"])) for name, leaf in stored.items()}
    for name, leaf in arrays.items():
        if not np.all(np.isfinite(leaf)):
            raise DamagedCheckpoint(f"{name} is not finite")
    return arrays


def _plain(leaf: np.ndarray) -> np.ndarray:
    """A leaf of a dtype that safetensors has in NumPy: the bits of any other."""
    return leaf.view(_plain_dtype(str(leaf.dtype)))


def _plain_dtype(name: str) -> str:
    return f"uint{8 * np.dtype(name).itemsize}" if name in FOREIGN else name


def _check_forms(stored: Mapping[str, Form], expected: Mapping[str, Form]) -> None:
    for name in sorted(stored.keys() | expected.keys()):
        own, here = (sealed.spoken(each.get(name)) for each in (stored, expected))
        if own != here:
            raise DamagedCheckpoint(f"{name} is {own} and should be {here}")


def _read_back(path: Path, run: str, leaves: Mapping[str, np.ndarray]) -> None:
    """Set a new checkpoint aside and raise an OSError unless it holds these leaves."""
    try:
        arrays = _arrays(path, _manifest(path, run))
        changed = [name for name, leaf in leaves.items() if arrays[name].tobytes() != leaf.tobytes()]
        if changed:
            raise DamagedCheckpoint(f"{changed[0]} is not what was written")
    except DamagedCheckpoint as damage:
        _set_aside(path)
        raise OSError(f"{path} was written but cannot be used: {damage}") from damage


def _is_usable(path: Path, run: str) -> bool:
    """Whether a checkpoint is one of the run; files that are as they were when last asked are not read again."""
    try:
        return _was_usable(path, run, tuple(_stamp(path / name) for name in (MANIFEST, ARRAYS)))
    except OSError:
        return False


@functools.lru_cache(maxsize=256)
def _was_usable(path: Path, run: str, stamps: tuple[Any, ...]) -> bool:
    """Whether a checkpoint whose files had these stamps is one of the run."""
    try:
        _arrays(path, _manifest(path, run))
    except DamagedCheckpoint:
        return False
    return True


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file."""
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _set_aside(path: Path) -> None:
    files.set_aside(path, path.name.replace("step", "damaged"))


def _is_name(name: str) -> bool:
    digits = NAME.fullmatch(name)
    return digits is not None and name == name_of(int(digits[1]))


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
