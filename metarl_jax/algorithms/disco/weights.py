"""The published weights of Disco103, github.com/google-deepmind/disco_rl, update_rules/weights/disco_103.npz."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from metarl_jax.core.types import Tree

DISCO_103 = "dac840a15b81e8805326363458c33979626172618f620d9e6e170315388530aa"  # SHA-256 of the published file
PREDICTION = 600  # M, size of the vectors y and z
HIDDEN = 256  # of the recurrence over a rollout
LIFETIME = 128  # of the recurrence over updates
FEATURES = 27  # of a step
ACTION_FEATURES = 9  # of an action

Shape = tuple[int, ...]
Layer = tuple[str, Shape]  # its published name, and the shape of its matrix


def _readers(prefix: str) -> dict[str, Layer]:
    """The layers that read a record, of which both recurrences have their own."""
    return {
        "y_0": (f"{prefix}mlp/~/linear_0", (PREDICTION, 16)),
        "y_1": (f"{prefix}mlp/~/linear_1", (16, 1)),
        "z_0": (f"{prefix}mlp_1/~/linear_0", (PREDICTION, 16)),
        "z_1": (f"{prefix}mlp_1/~/linear_1", (16, 1)),
        "action_0": (f"{prefix}sequential/conv1_d", (1, 2 * ACTION_FEATURES, 16)),
        "action_1": (f"{prefix}sequential/conv1_d_1", (1, 2 * 16, 2)),
    }


LAYERS: dict[str, dict[str, Layer]] = {
    "rollout": {
        **_readers("lstm/"),
        "recurrence": ("lstm/lstm/linear", (FEATURES + HIDDEN, 4 * HIDDEN)),
        "gain": ("lstm/linear", (LIFETIME, HIDDEN)),
        "summary": ("lstm/linear_1", (HIDDEN, 1)),
        "y": ("lstm/linear_2", (HIDDEN, PREDICTION)),
        "z": ("lstm/linear_3", (HIDDEN, PREDICTION)),
        "policy_0": ("lstm/sequential_1/conv1_d", (1, 2 * (HIDDEN + 2), 16)),
        "policy_1": ("lstm/linear_4", (16, 1)),
    },
    "lifetime": {
        **_readers("lstm/~/meta_lstm/~unroll/"),
        "input": ("lstm/~/meta_lstm/~unroll/mlp_2/~/linear_0", (FEATURES + 2, 16)),
        "recurrence": ("lstm/~/meta_lstm/~unroll/lstm/linear", (16 + LIFETIME, 4 * LIFETIME)),
    },
}
SHAPES: dict[str, Shape] = {
    name: shape
    for group in LAYERS.values()
    for layer, matrix in group.values()
    for name, shape in ((f"{layer}/w", matrix), (f"{layer}/b", matrix[-1:]))
}


def read(path: str, checksum: str) -> Tree:
    """The weights φ in a file: {"rollout" | "lifetime": {layer: {"w": [I, O], "b": [O]}}}, float32 NumPy arrays.

    Raises:
        ValueError: there is no such file, its SHA-256 is another than `checksum` (unless that is empty), or it lacks a
            tensor, has one too many, or has one of another shape or type; nothing that is pickled is loaded.
    """
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"weights of disco: {path!r} cannot be read: {error.strerror}; name the .npz file") from error
    found = hashlib.sha256(content).hexdigest()
    if checksum and found != checksum.lower():
        remedy = "take the published file, or give the checksum of yours, or an empty one to accept any"
        raise ValueError(f"weights of disco: {path!r} has the SHA-256 {found}, not {checksum}; {remedy}")
    tensors = _tensors(path, content)
    return {
        group: {
            layer: {"w": tensors[f"{name}/w"].reshape(shape[-2:]), "b": tensors[f"{name}/b"]}
            for layer, (name, shape) in layers.items()
        }
        for group, layers in LAYERS.items()
    }


def _tensors(path: str, content: bytes) -> dict[str, np.ndarray]:
    """The tensors of an archive by their published names, checked."""
    what = f"weights of disco: {path!r}"
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{what} is no .npz archive; name the published file") from error
    names = set(getattr(archive, "files", ()))
    for name in sorted(SHAPES.keys() - names):
        raise ValueError(f"{what} lacks the tensor {name!r}; name the published file")
    for name in sorted(names - SHAPES.keys()):
        raise ValueError(f"{what} has a tensor {name!r} that the rule does not know; name the published file")
    return {name: _tensor(what, archive, name, shape) for name, shape in SHAPES.items()}


def _tensor(what: str, archive: np.lib.npyio.NpzFile, name: str, shape: Shape) -> np.ndarray:
    try:
        tensor: np.ndarray = archive[name]
    except ValueError as error:
        raise ValueError(f"{what} has a pickled object as {name!r}, which is not loaded; it must be float32") from error
    if tensor.shape != shape or tensor.dtype != np.float32:
        raise ValueError(f"{what} has {name!r} as {tensor.dtype} {tensor.shape}; it must be float32 {shape}")
    if not np.all(np.isfinite(tensor)):
        raise ValueError(f"{what} has numbers in {name!r} that are not finite; name the published file")
    return tensor
