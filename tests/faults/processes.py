"""The command line in a process of its own, with the toy among the algorithms."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from shell_toy import SHORT

TESTS = pathlib.Path(__file__).parents[1]
CODE = f"""import signal, sys; sys.path.insert(0, {str(TESTS)!r})
usual = signal.signal(signal.SIGINT, signal.SIG_DFL)  # the command has not begun
from shell_toy import ALGORITHMS, Toy
signal.signal(signal.SIGINT, usual)
ALGORITHMS["toy"] = Toy
from metarl_jax.experiment.cli import main
sys.exit(main(sys.argv[1:]))"""
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items() if name != "quiet"]
FOREVER = 100_000_000  # meta-steps
SAME = ("jax_disable_most_optimizations", "jax_num_cpu_devices")  # the same compiler as here, or the last bits differ


def surroundings(**changed: Any) -> dict[str, str]:
    """The environment of this process with the settings of its JAX, and with other variables; None leaves one out."""
    settings = {name.upper(): str(jax.config.values[name]) for name in SAME}
    found = os.environ | settings | {name: value for name, value in changed.items() if value is not None}
    return {name: value for name, value in found.items() if changed.get(name, "") is not None}


def training(out: pathlib.Path, meta_steps: int = FOREVER, *flags: str) -> list[str]:
    """The words of `metarl train toy bandit`."""
    return ["train", "toy", "bandit", f"--out={out}", f"--meta-steps={meta_steps}", *FLAGS, *flags]


def command(words: Sequence[str]) -> list[str]:
    """`metarl` with these words."""
    return [sys.executable, "-c", CODE, *words]


def started(words: Sequence[str], environment: Mapping[str, str] | None = None, **how: Any) -> subprocess.Popen[str]:
    """`metarl` with these words in a new process."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(command(words), text=True, env=environment or surroundings(), **how)


def ran(words: Sequence[str], environment: Mapping[str, str] | None = None, **how: Any) -> tuple[int, str, str]:
    """Exit code, output and errors of `metarl` with these words."""
    with started(words, environment, **how) as process:
        out, err = process.communicate(timeout=500)
    return process.returncode, out or "", err or ""


def await_file(path: pathlib.Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written something into a file."""
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.02)
