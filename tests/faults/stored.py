"""What the tests of storage share: toy runs, the same run, damage."""

import json
import shutil

import numpy as np
import safetensors.numpy
from shell_toy import SHORT

from metarl_jax.experiment import api, checkpoint
from metarl_jax.experiment.run_folder import RunFolder

TOY = ("toy", "bandit")
OPTIONS = SHORT | {"meta_steps": 22}  # saved at 8, 16 and 22


def trained(path, **options):
    return api.train(*TOY, out=path, **OPTIONS | options)


def copied(run, path):
    return shutil.copytree(getattr(run, "path", run), path, symlinks=True)


def steps(path):
    """The steps of the checkpoints of a run."""
    return [int(found.name[5:]) for found in checkpoint.found(RunFolder(path).checkpoints)]


def newest(path):
    return checkpoint.found(RunFolder(path).checkpoints)[-1]


def content(path):
    """All files of a folder with what is in them."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def timeless(path):
    """The lines of metrics, except for what depends on the time."""
    lines = [json.loads(line) for line in RunFolder(path).metrics.read_text().splitlines()]
    return [{name: x for name, x in line.items() if name not in ("wall_seconds", "check")} for line in lines]


def same(path, other):
    """Whether two runs have the same last state (φ, optimiser, lives, keys) and metrics, bit for bit."""
    arrays = [(newest(run) / checkpoint.ARRAYS).read_bytes() for run in (path, other)]
    return newest(path).name == newest(other).name and arrays[0] == arrays[1] and timeless(path) == timeless(other)


def assert_close(path, other):
    """That two runs have the same last state and metrics to 1e-5, and the same keys and tasks bit for bit."""
    mine, theirs = (safetensors.numpy.load((newest(run) / checkpoint.ARRAYS).read_bytes()) for run in (path, other))
    assert (newest(path).name, mine.keys()) == (newest(other).name, theirs.keys())
    for name, array in mine.items():
        if name.startswith("lives") and (name == "lives" or "key" in name or "task" in name):
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
        else:
            np.testing.assert_allclose(array, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)
    for line, same in zip(timeless(path), timeless(other), strict=True):
        values = ([x[name] if x[name] is not None else np.nan for name in line] for x in (line, same))
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)


def flip(file, rng):
    """Flip one bit of a file; its place."""
    bytes_ = bytearray(file.read_bytes())
    place = rng.randrange(8 * len(bytes_))
    bytes_[place // 8] ^= 1 << place % 8
    file.write_bytes(bytes_)
    return place
