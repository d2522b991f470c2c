"""Files of weights: read as they are, and refused by name where they are not what the rule needs."""

import hashlib
from typing import Any

import numpy as np
import pytest
from rule_files import tensors

from metarl_jax.algorithms.disco.weights import LAYERS, SHAPES, read


def written(path: Any, names: dict[str, Any]) -> str:
    np.savez(path, **names)
    return str(path)


def test_the_shapes_are_those_published() -> None:
    """42 tensors of 754,778 numbers, as the published file has."""
    assert len(SHAPES) == 42
    assert sum(int(np.prod(shape)) for shape in SHAPES.values()) == 754_778


def test_weights_are_read_as_they_are(tmp_path: Any) -> None:
    given = tensors()
    rule = read(written(tmp_path / "rule.npz", given), "")
    for group, layers in LAYERS.items():
        for layer, (name, _) in layers.items():
            np.testing.assert_array_equal(
                rule[group][layer]["w"], given[f"{name}/w"].reshape(-1, len(given[f"{name}/b"]))
            )
            np.testing.assert_array_equal(rule[group][layer]["b"], given[f"{name}/b"])


def test_the_checksum_is_of_the_whole_file(tmp_path: Any) -> None:
    path = written(tmp_path / "rule.npz", tensors())
    checksum = hashlib.sha256((tmp_path / "rule.npz").read_bytes()).hexdigest()
    read(path, checksum.upper())
    with pytest.raises(ValueError, match=f"SHA-256 {checksum}, not 00"):
        read(path, "00")


NAME = "lstm/linear_2/w"  # [256, 600]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({NAME: None}, f"lacks the tensor '{NAME}'"),
        ({"lstm/linear_9/w": np.zeros(1, np.float32)}, "has a tensor 'lstm/linear_9/w' that the rule does not know"),
        (
            {NAME: np.zeros((600, 256), np.float32)},
            rf"'{NAME}' as float32 \(600, 256\); it must be float32 \(256, 600\)",
        ),
        ({NAME: np.zeros((256, 600))}, f"'{NAME}' as float64"),
        ({NAME: np.full((256, 600), np.nan, np.float32)}, f"'{NAME}' that are not finite"),
        ({NAME: np.array([{}], object)}, f"a pickled object as '{NAME}', which is not loaded"),
    ],
)
def test_other_tensors_are_refused_by_name(change: dict[str, Any], said: str, tmp_path: Any) -> None:
    names = {name: tensor for name, tensor in (tensors() | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=said):
        read(written(tmp_path / "rule.npz", names), "")


def test_other_files_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read(str(tmp_path / "none.npz"), "")
    (tmp_path / "text.npz").write_text("no weights")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.save(tmp_path / "pickled.npy", np.array([{}], object))
    for name in ("text.npz", "pickled.npy"):
        with pytest.raises(ValueError, match=r"is no \.npz archive"):
            read(str(tmp_path / name), "")
    with pytest.raises(ValueError, match="lacks the tensor"):
        read(str(tmp_path / "one.npy"), "")
