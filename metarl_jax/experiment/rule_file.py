"""A learned rule on disk: a `.safetensors` file and a JSON card.

A file from elsewhere is not trusted: its size is bounded before it is read, nothing in it is executed, and only finite
tensors that the card lists, with the checksum that the card states, are used.
"""

import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from metarl_jax.experiment.checkpoint import leaf_form, sync, sync_tree
from metarl_jax.experiment.config import digest, require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.rule import FORMAT, Rule, spoken

CARD, TENSORS = "card.json", "meta_params.safetensors"
CARD_BYTES, HEADER_BYTES, TENSOR_BYTES = 2**20, 2**20, 2**28  # at most
AXES = 8  # at most
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")


def write(rule: Rule, folder: Path) -> None:
    """Write card and tensors into `folder`, which replaces an earlier rule as a whole."""
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / TENSORS).write_bytes(rule.tensors)
    (draft / CARD).write_text(json.dumps({**rule.card, "digest": rule.digest}, indent=1) + "\n")
    sync_tree(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync(folder.parent)


def read(folder: Path) -> Rule:
    """The rule in a folder that `write` made.

    Raises:
        UsageError: a file is missing, too large or damaged, or a number is not finite.
    """
    card = _read_card(folder / CARD)
    tensors = _content(folder / TENSORS, TENSOR_BYTES)
    try:
        _check_tensors(tensors, card)
    except (ValueError, safetensors.SafetensorError) as error:
        raise UsageError(f"{folder / TENSORS} is not what its card describes: {error}") from error
    return Rule(card.pop("digest"), card, tensors)


def _read_card(path: Path) -> dict[str, Any]:
    content = _content(path, CARD_BYTES)
    try:
        card = dict(json.loads(content))
        known = card["format"] == FORMAT
        whole = card["digest"] == digest({name: card[name] for name in card if name != "digest"})
        words = [card["sha256"], card["reads"], card["algorithm"]["name"], card["environment"]["name"], *card["leaves"]]
        sound = all(isinstance(word, str) and word.isprintable() for word in words)  # they are printed in errors
        sound = sound and all(map(_is_form, card["leaves"].values()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{path} is not the card of a learned rule; `metarl train` writes one") from None
    require(known, f"the format of {path}", card["format"], f"{FORMAT}, that of this version")
    if not (whole and sound):
        raise UsageError(f"{path} was edited or damaged; restore it, or write it again with `metarl resume`")
    return card


def _is_form(form: Any) -> bool:
    """Whether this describes a leaf: {"shape": [...], "dtype": "..."}."""
    sizes = form["shape"]
    counted = isinstance(sizes, list) and all(type(size) is int and 0 <= size <= TENSOR_BYTES for size in sizes)
    return counted and len(sizes) <= AXES and form["dtype"] in DTYPES and len(form) == 2


def _check_tensors(tensors: bytes, card: Mapping[str, Any]) -> None:
    """Raise ValueError unless the bytes are the tensors of the card."""
    header, forms = int.from_bytes(tensors[:8], "little"), card["leaves"]
    if not 0 < header <= min(HEADER_BYTES, len(tensors) - 8):
        raise ValueError("it is no safetensors file, or its header is cut off or too long")
    size = 8 + header + sum(math.prod(form["shape"]) * np.dtype(form["dtype"]).itemsize for form in forms.values())
    if len(tensors) != size:
        raise ValueError(f"it has {len(tensors)} bytes, and the tensors of the card need {size}")
    if hashlib.sha256(tensors).hexdigest() != card["sha256"]:
        raise ValueError("it has another SHA-256, so it was damaged or exchanged")
    try:
        leaves = safetensors.numpy.load(tensors)
    except KeyError as error:
        raise ValueError(f"a tensor has the type {error}, which no rule has") from None
    for name in sorted(forms.keys() | leaves.keys()):
        own = leaf_form(leaves[name]) if name in leaves else None
        if own != forms.get(name):
            raise ValueError(f"{name} is {spoken(own)} in it and {spoken(forms.get(name))} on the card")
        if not np.all(np.isfinite(leaves[name])):
            raise ValueError(f"{name} is not finite")


def _content(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        UsageError: there is no such file, it is of another kind, or it is larger.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # waits for no pipe, follows no link
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; a learned rule is {CARD} and {TENSORS}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # before Python opens it, which refuses folders in its own way
        os.close(descriptor)
        raise UsageError(f"{path} is not a regular file; a learned rule is {CARD} and {TENSORS}")
    with os.fdopen(descriptor, "rb") as file:
        require(status.st_size <= most, f"the size of {path}", f"{status.st_size} bytes", f"at most {most} bytes")
        return file.read(most)
