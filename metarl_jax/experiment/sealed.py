"""Folders of a JSON card and the files that it describes, which may come from elsewhere.

Such a folder is not trusted: the size of a file is bounded before it is read, links are not followed, nothing is
executed, and only finite tensors that the card lists, with the checksum that the card states, are used.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from metarl_jax.experiment import files
from metarl_jax.experiment.config import digest, require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.leaves import Form, leaf_form

CARD = "card.json"
CARD_BYTES, HEADER_BYTES, FILE_BYTES = 2**20, 2**20, 2**28  # at most
AXES = 8  # at most
DTYPES = (*(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "bool", "bfloat16", "complex64")
DTYPES += ("float16", "float32", "float64")
Card = dict[str, Any]


class Kind(NamedTuple):
    """What a folder holds, in the words of its errors."""

    name: str  # "a learned rule"
    files: str  # that it consists of
    maker: str  # the command that writes one
    again: str  # the command that writes it again
    format: int


def draft(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write the files beside `folder`, flushed to the disk; renaming the result makes the folder, as a whole."""
    path = files.draft_of(folder)
    try:
        path.mkdir(parents=True)
        for name, content in contents.items():
            (path / name).write_bytes(content)
        files.sync_tree(path)
    except BaseException:
        files.discard(path)  # a full disk needs the space
        raise
    return path


def seal(card: Mapping[str, Any]) -> str:
    """The digest of everything on a card except the digest itself."""
    return digest({name: card[name] for name in card if name != "digest"})


def written(card: Mapping[str, Any]) -> bytes:
    """The file of a card, sealed."""
    return (json.dumps({**card, "digest": seal(card)}, indent=1) + "\n").encode()


def read_card(
    path: Path, kind: Kind, sound: Callable[[Card], bool], edits: Callable[[Card], str] = lambda card: ""
) -> Card:
    """The card at a path, with its digest. A card that is not `sound`, or raises a LookupError there, is refused.

    `edits` says what was edited, as far as it knows.

    Raises:
        UsageError: it is missing, too large, damaged, of another format, or no such card.
    """
    content = read_file(path, kind, CARD_BYTES)
    try:
        card = dict(files.parsed(content))
        known, whole, fit = card["format"] == kind.format, card["digest"] == seal(card), sound(card)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UsageError(f"{path} is not the card of {kind.name}; `{kind.maker}` writes one") from None
    require(known, f"the format of {path}", reprlib.repr(card["format"]), f"{kind.format}, that of this version")
    if not (whole and fit):
        raise UsageError(
            f"{path} was edited or damaged{edits(card)}; restore it, or write it again with `{kind.again}`"
        )
    return card


def are_words(*words: Any) -> bool:
    """Whether all are printable strings, since they are printed in errors."""
    return all(isinstance(word, str) and word.isprintable() for word in words)


def are_forms(forms: Mapping[str, Any]) -> bool:
    """Whether these describe leaves by name: {"shape": [...], "dtype": "..."}."""
    return are_words(*forms) and all(map(_is_form, forms.values()))


def _is_form(form: Any) -> bool:
    sizes = form["shape"]
    counted = isinstance(sizes, list) and all(type(size) is int and 0 <= size <= FILE_BYTES for size in sizes)
    return counted and len(sizes) <= AXES and form["dtype"] in DTYPES and len(form) == 2


def size(form: Form) -> int:
    """The bytes of a leaf of this form."""
    return math.prod(form["shape"]) * np.dtype(form["dtype"]).itemsize


def read_tensors(path: Path, kind: Kind, forms: Mapping[str, Form], digest: str, most: int = FILE_BYTES) -> bytes:
    """The content of a `.safetensors` file, which holds exactly the leaves of these forms.

    Raises:
        UsageError: it is missing, too large or damaged, or a number is not finite.
    """
    content = read_file(path, kind, most)
    try:
        _check_tensors(content, forms, digest)
    except (ValueError, safetensors.SafetensorError) as error:
        raise UsageError(f"{path} is not what its card describes: {error}") from error
    return content


def _check_tensors(tensors: bytes, forms: Mapping[str, Form], digest: str) -> None:
    """Raise ValueError unless the bytes are the tensors of these forms."""
    header = int.from_bytes(tensors[:8], "little")
    if not 0 < header <= min(HEADER_BYTES, len(tensors) - 8):
        raise ValueError("it is no safetensors file, or its header is cut off or too long")
    described = 8 + header + sum(map(size, forms.values()))
    if len(tensors) != described:
        raise ValueError(f"it has {len(tensors)} bytes, and the tensors of the card need {described}")
    check_sha256(tensors, digest)
    try:
        leaves = safetensors.numpy.load(tensors)
    except KeyError as error:
        raise ValueError(f"a tensor has the type {error}, which none may have") from None
    for name in sorted(forms.keys() | leaves.keys()):
        own = leaf_form(leaves[name]) if name in leaves else None
        if own != forms.get(name):
            raise ValueError(f"{name} is {spoken(own)} in it and {spoken(forms.get(name))} on the card")
        if not np.all(np.isfinite(leaves[name])):
            raise ValueError(f"{name} is not finite")


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def check_sha256(content: bytes, written: str) -> None:
    """Raise ValueError unless the bytes have this SHA-256."""
    if sha256(content) != written:
        raise ValueError("it has another SHA-256, so it was damaged or exchanged")


def spoken(form: Form | None) -> str:
    """A leaf in words: `float32 [4, 8]`."""
    return "missing" if form is None else f"{form['dtype']} {form['shape']}"


def read_file(path: Path, kind: Kind, most: int = FILE_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        UsageError: there is no such file, it is of another sort, or it is larger.
    """
    try:
        return files.read(path, most)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; {kind.name} is {kind.files}") from None
