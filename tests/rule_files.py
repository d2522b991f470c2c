"""Files of weights in the shapes of Disco103, drawn at random: for tests alone, since the package has none."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.algorithms.disco.weights import SHAPES

FOLDER = tempfile.TemporaryDirectory()  # removed when the process ends


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights by their published names, each layer on the scale of its number of inputs."""
    generator = np.random.default_rng(seed)
    scales = {name: 0.1 if len(shape) == 1 else shape[-2] ** -0.5 for name, shape in SHAPES.items()}
    return {name: (scales[name] * generator.normal(size=SHAPES[name])).astype(np.float32) for name in SHAPES}


@functools.cache
def needed(algorithm: str) -> dict[str, Any]:
    """The options without which an algorithm is refused everywhere."""
    if algorithm != "disco":
        return {}
    path = Path(FOLDER.name) / "rule.npz"
    np.savez(path, **tensors())
    return {"weights": str(path), "checksum": ""}
