"""Learned rules on disk: what was written is read, and nothing else is."""

import hashlib
import json
import os
import pickle
import time

import numpy as np
import pytest
import safetensors.numpy

from metarl_jax.experiment import rule_file
from metarl_jax.experiment.config import digest, resolve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.rule import learned
from metarl_jax.experiment.rule_file import CARD, TENSORS

META_PARAMS = {"net": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "rate": np.float32(0.5)}


@pytest.fixture
def folder(tmp_path):
    rule = learned(resolve("meta_gradient", "catch"), META_PARAMS, {"meta_steps": 3})
    rule_file.write(rule, tmp_path / "rule")
    return tmp_path / "rule"


def described(folder, tensors, **changes):
    """Write the tensors, with a card that states their checksum, as a forger would."""
    card = json.loads((folder / CARD).read_text()) | changes
    card["sha256"] = hashlib.sha256(tensors).hexdigest()
    body = {name: card[name] for name in card if name != "digest"}
    (folder / TENSORS).write_bytes(tensors)
    (folder / CARD).write_text(json.dumps(body | {"digest": digest(body)}))


def test_a_rule_is_read_as_it_was_written(folder):
    rule = rule_file.read(folder)
    np.testing.assert_array_equal(rule.leaves["net.w"], META_PARAMS["net"]["w"])
    np.testing.assert_array_equal(rule.leaves["rate"], META_PARAMS["rate"])
    assert rule.card["leaves"]["net.w"] == {"shape": [2, 3], "dtype": "float32"}
    assert rule.card["leaves"]["rate"] == {"shape": [], "dtype": "float32"}
    assert rule == learned(resolve("meta_gradient", "catch"), META_PARAMS, {"meta_steps": 3})
    assert rule != learned(resolve("meta_gradient", "catch"), META_PARAMS, {"meta_steps": 4})
    assert set(safetensors.numpy.load_file(folder / TENSORS)) == {"net.w", "rate"}


def test_a_rule_replaces_an_earlier_one_as_a_whole(folder):
    (folder / "stray").touch()
    rule_file.write(rule_file.read(folder), folder)
    assert {path.name for path in folder.iterdir()} == {CARD, TENSORS}
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("byte", [0, 9, -1])
def test_a_flipped_bit_is_found(folder, byte):
    content = bytearray((folder / TENSORS).read_bytes())
    content[byte] ^= 1
    (folder / TENSORS).write_bytes(content)
    with pytest.raises(UsageError, match=r"SHA-256|header|bytes"):
        rule_file.read(folder)


@pytest.mark.parametrize("length", [0, 7, 40, -1])
def test_a_file_that_was_cut_off_is_refused(folder, length):
    described(folder, (folder / TENSORS).read_bytes()[:length])
    with pytest.raises(UsageError, match=r"header|bytes"):
        rule_file.read(folder)


def hostile():
    """Contents of the tensors' file that a forger described correctly."""
    whole = {"net.w": META_PARAMS["net"]["w"], "rate": META_PARAMS["rate"]}
    save = lambda leaves: safetensors.numpy.save({name: np.asarray(leaf) for name, leaf in leaves.items()})  # noqa: E731
    padded = save(whole)
    return {
        "pickle": (pickle.dumps(whole), "no safetensors file"),
        "endless header": ((2**62).to_bytes(8, "little") + padded[8:], "header"),
        "no json": (padded[:8] + b"[" * (len(padded) - 8), "not what its card describes"),
        "not finite": (save(whole | {"rate": np.float32(np.nan)}), "rate is not finite"),
        "another name": (save({"net.w": whole["net.w"], "tare": whole["rate"]}), "rate is missing in it"),
        "another shape": (save(whole | {"net.w": whole["net.w"].T.copy()}), r"\[3, 2\] in it and .* \[2, 3\] on"),
        "another type": (save(whole | {"rate": np.int32(1)}), "rate is int32"),
        "one more": (save(whole | {"more": np.zeros(2, np.float32)}), "bytes"),
        "an empty one more": (save(whole | {"more": np.zeros(0, np.float32)}), "more is float32"),
        "a type of its own": (padded.replace(b'"F32"', b'"I32"'), "net.w is int32"),
    }


@pytest.mark.parametrize("kind", hostile())
def test_tensors_of_a_forger_are_refused_at_once(folder, kind):
    tensors, words = hostile()[kind]
    described(folder, tensors)
    start = time.monotonic()
    with pytest.raises(UsageError, match=words):
        rule_file.read(folder)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not the card of a learned rule"),
        ("[" * 2**19, "is not the card of a learned rule"),
        ("7", "is not the card of a learned rule"),
        ("{}", "is not the card of a learned rule"),
        (" " * (2**20 + 1), "at most 1048576 bytes"),
    ],
    ids=["empty", "deep", "number", "nothing", "long"],
)
def test_another_file_in_place_of_the_card_is_refused(folder, text, words):
    (folder / CARD).write_text(text)
    with pytest.raises(UsageError, match=words):
        rule_file.read(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "is 2; it must be 1"),
        ({"leaves": {"rate": {"shape": [2**40], "dtype": "float32"}}}, "edited or damaged"),
        ({"leaves": {"rate": {"shape": [1] * 99, "dtype": "float32"}}}, "edited or damaged"),
        ({"leaves": {"rate": {"shape": [True], "dtype": "float32"}}}, "edited or damaged"),
        ({"leaves": {"rate": {"shape": [], "dtype": "object"}}}, "edited or damaged"),
        ({"leaves": {"rate": []}}, "is not the card"),
        ({"leaves": {"rate": {"shape": [2**28] * 8, "dtype": "float64"}}}, "bytes"),
        ({"algorithm": {"name": 7}}, "edited or damaged"),
        ({"reads": "\x1b[2J"}, "edited or damaged"),
        ({"reads": None}, "edited or damaged"),
    ],
)
def test_a_card_of_a_forger_is_refused(folder, changes, words):
    described(folder, (folder / TENSORS).read_bytes(), **changes)
    with pytest.raises(UsageError, match=words):
        rule_file.read(folder)


def test_an_edited_card_is_refused(folder):
    (folder / CARD).write_text((folder / CARD).read_text().replace("Apache-2.0", "none"))
    with pytest.raises(UsageError, match="edited or damaged"):
        rule_file.read(folder)


@pytest.mark.parametrize("name", [CARD, TENSORS])
@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_only_regular_files_are_read(folder, name, kind):
    (folder / name).rename(folder / "moved")
    make = {"folder": os.mkdir, "pipe": os.mkfifo, "link": lambda path: os.symlink(folder / "moved", path)}
    make.get(kind, lambda path: None)(folder / name)
    with pytest.raises(UsageError, match=rf"{name} (cannot be read|is not a regular file)"):
        rule_file.read(folder)


def test_a_file_larger_than_any_rule_is_not_read(folder):
    with (folder / TENSORS).open("r+b") as file:
        file.truncate(2**40)  # a hole, which takes no space
    start = time.monotonic()
    with pytest.raises(UsageError, match="at most 268435456 bytes"):
        rule_file.read(folder)
    assert time.monotonic() - start < 1
