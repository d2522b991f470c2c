"""Checkpoints that are used only if they are complete and correct.

Orbax stores the arrays, but it would load a flipped bit, another dtype or a NaN without an error. So a manifest with
the SHA-256 of every file and the shape and dtype of every leaf is written last, everything is flushed to the disk, and
the folder is renamed into place: a folder with the final name is a complete checkpoint. Every load checks all of it.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metarl_jax.experiment.config import digest
from metarl_jax.experiment.errors import UnusableRun

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays"
log = logging.getLogger("metarl_jax")


class DamagedCheckpoint(Exception):
    """A checkpoint that must not be used; the message gives the reason."""


def save(folder: Path, step: int, state: Any, keep: int) -> Path:
    """Write `state` as the checkpoint of `step`, then delete all except the `keep` newest up to it."""
    folder.mkdir(parents=True, exist_ok=True)
    draft, final = folder / f"draft-{step:08d}", folder / f"step-{step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    leaves = _pack(state)
    _write_arrays(draft / ARRAYS, leaves)
    _write_manifest(draft, step, leaves)
    sync_tree(draft)
    if final.exists():  # only a damaged one is written again; keep it for inspection
        final.rename(_free_name(folder / f"damaged-{step:08d}"))
    draft.rename(final)
    sync(folder)
    for old in [path for path in found(folder) if _step(path) <= step][:-keep]:
        shutil.rmtree(old)
    return final


def newest(folder: Path, like: Any) -> tuple[int, Any] | None:
    """Step and state of the newest usable checkpoint; None if there is none. Damaged ones are logged.

    `like` is the abstract state, `jax.eval_shape(learner.init, key)`.

    Raises:
        UnusableRun: there are checkpoints, but none is usable.
    """
    paths = found(folder)
    reasons = []
    for path in reversed(paths):
        try:
            return load(path, like)
        except DamagedCheckpoint as damage:
            reasons.append(f"{path.name}: {damage}")
            log.warning("skipped checkpoint %s", reasons[-1])
    if paths:
        raise UnusableRun(f"none of the {len(paths)} checkpoints in {folder} can be used ({'; '.join(reasons)})")
    return None


def load(path: Path, like: Any) -> tuple[int, Any]:
    """Step and state of one checkpoint, as arrays on the default device.

    Raises:
        DamagedCheckpoint: a file or leaf is missing, changed, has another shape or dtype, or is not finite.
    """
    manifest = _read_manifest(path)
    _check_files(path, manifest["files"])
    template, structure = jax.tree_util.tree_flatten_with_path(like)
    _check_leaves(manifest["leaves"], {leaf_name(keys): leaf_form(leaf) for keys, leaf in template})
    arrays = _read_arrays(path / ARRAYS, manifest["leaves"])
    leaves = [_unpack(leaf_name(keys), arrays[leaf_name(keys)], leaf) for keys, leaf in template]
    return manifest["step"], jax.tree.unflatten(structure, leaves)


def found(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, sorted by number rather than by name."""
    return sorted((path for path in folder.glob("step-*") if path.name[5:].isdecimal()), key=_step)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pack(state: Any) -> dict[str, np.ndarray]:
    """The leaves by path, with typed keys as their data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {leaf_name(keys): np.asarray(jax.random.key_data(x) if _is_key(x) else x) for keys, x in leaves}


def _unpack(name: str, array: np.ndarray, like: Any) -> jax.Array:
    if _is_key(like):
        kind = jax.random.key_impl(jax.numpy.zeros((), like.dtype))
        return jax.random.wrap_key_data(jax.numpy.array(array), impl=kind)
    if not np.all(np.isfinite(array)):
        raise DamagedCheckpoint(f"{name} is not finite")
    return jax.numpy.array(array)


def leaf_form(leaf: Any) -> dict[str, Any]:
    """The stored shape and dtype of a leaf."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def leaf_name(keys: tuple[Any, ...]) -> str:
    """The name of a leaf by its path: `params.0.w`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def _write_arrays(path: Path, leaves: dict[str, np.ndarray]) -> None:
    with _checkpointer() as checkpointer:
        checkpointer.save(path.absolute(), {name: array for name, array in leaves.items() if array.size})


def _read_arrays(path: Path, described: dict[str, Any]) -> dict[str, np.ndarray]:
    """The leaves by name; Orbax does not store empty ones, so these come from their description."""
    from orbax.checkpoint import RestoreArgs

    empty = {name: np.zeros(leaf["shape"], leaf["dtype"]) for name, leaf in described.items() if 0 in leaf["shape"]}
    stored = {name: RestoreArgs(restore_type=np.ndarray) for name in described if name not in empty}
    with _checkpointer() as checkpointer:
        arrays = checkpointer.restore(path.absolute(), restore_args=stored)
    _check_leaves(described, {name: leaf_form(array) for name, array in (arrays | empty).items()})
    return arrays | empty


def _checkpointer() -> Any:
    from orbax.checkpoint import PyTreeCheckpointer

    return contextlib.closing(PyTreeCheckpointer())


def _write_manifest(path: Path, step: int, leaves: dict[str, np.ndarray]) -> None:
    files = sorted(file for file in (path / ARRAYS).rglob("*") if file.is_file())
    body = {
        "format": FORMAT,
        "step": step,
        "leaves": {name: leaf_form(array) for name, array in leaves.items()},
        "files": {str(file.relative_to(path)): _file_digest(file) for file in files},
    }
    (path / MANIFEST).write_text(json.dumps(body | {"digest": digest(body)}, indent=1))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        body = json.loads((path / MANIFEST).read_bytes())
        written = body.pop("digest")
    except FileNotFoundError:
        raise DamagedCheckpoint("it has no manifest") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedCheckpoint("its manifest cannot be read") from None
    if written != digest(body):
        raise DamagedCheckpoint("its manifest was changed")
    if body["format"] != FORMAT or path.name != f"step-{body['step']:08d}":
        raise DamagedCheckpoint(f"it is of format {body['format']}, step {body['step']}")
    return body


def _check_files(path: Path, digests: dict[str, str]) -> None:
    for name, written in digests.items():
        if not (path / name).is_file():
            raise DamagedCheckpoint(f"{name} is missing")
        if _file_digest(path / name) != written:
            raise DamagedCheckpoint(f"{name} was changed")


def _check_leaves(stored: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in sorted(stored.keys() | expected.keys()):
        if stored.get(name) != expected.get(name):
            raise DamagedCheckpoint(f"{name} is {stored.get(name)} and should be {expected.get(name)}")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(path: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for inner in path.rglob("*"):
        sync(inner)
    sync(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _free_name(path: Path) -> Path:
    candidates = (path.with_name(f"{path.name}-{number}") for number in range(1, 10_000))
    return next(candidate for candidate in candidates if not candidate.exists())
