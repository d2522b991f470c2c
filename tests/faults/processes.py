"""The command line in a process of its own, or in several that train one run, with the toys among the algorithms."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from shell_toy import SHORT

TESTS = pathlib.Path(__file__).parents[1]
CODE = f"""import signal, sys; sys.path.insert(0, {str(TESTS)!r})
usual = signal.signal(signal.SIGINT, signal.SIG_DFL)  # the command has not begun
from shell_toy import ALGORITHMS, Divided, Toy
signal.signal(signal.SIGINT, usual)
ALGORITHMS["toy"], ALGORITHMS["divided"] = Toy, Divided
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


def training(out: pathlib.Path, meta_steps: int = FOREVER, *flags: str, name: str = "toy") -> list[str]:
    """The words of `metarl train toy bandit`."""
    return ["train", name, "bandit", f"--out={out}", f"--meta-steps={meta_steps}", *FLAGS, *flags]


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


@contextlib.contextmanager
def group(
    words: Sequence[str], count: int = 2, devices: int = 2, heartbeat: int = 10
) -> Iterator[list[subprocess.Popen[str]]]:
    """`metarl` with these words in so many processes of this machine, which train one run; none of them is left."""
    address = f"--distributed=127.0.0.1:{free_port()}"
    environment = surroundings() | {"JAX_NUM_CPU_DEVICES": str(devices)}
    flags = [[address, f"--processes={count}", f"--process={i}", f"--heartbeat={heartbeat}"] for i in range(count)]
    processes = [started([*words, *mine], environment) for mine in flags]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ended(processes: Sequence[subprocess.Popen[str]], seconds: float = 120) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process of a group."""
    texts = [process.communicate(timeout=seconds) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def await_file(path: pathlib.Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written something into a file."""
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.02)
