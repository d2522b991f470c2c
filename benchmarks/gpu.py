"""Everything that a GPU is asked, in at most eight minutes, and one JSON of it.

    scripts/gpu.sh [--dry] [--only PART ...] [--minutes M] [--out FILE]

Speed of every workload at the task counts of a GPU in float32 and in TF32, the linear memory against the GRU over
trials of 100, 400 and 1,600 pulls, and three quick tables. The most important parts come first. What fails, takes too
long or is not begun in time is named in the JSON, which is written anew after each part. `--dry` has so few tasks that
a CPU goes through the same parts in some minutes.
"""

import argparse
import concurrent.futures
import datetime
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

BENCHMARKS = pathlib.Path(__file__).parent
TASKS = {"rl2-bandit": 16384, "rl2-maze": 4096, "maml-navigation": 1000, "maml-cartpole": 1000, "rule-grid": 1024}
PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32"}
MEMORIES, LENGTHS = ("gru", "linear"), (100, 400, 1600)
TABLES = ("maml_tables", "bandits", "corners")
DRY_TASKS = 16
SECONDS, DRY_SECONDS = 3.0, 0.2  # of measurement
DRY_PULLS = 6400  # in a meta-step: of the longest trials as many as there are minibatches
MINUTES, DRY_MINUTES = 8.0, 40.0
SHARE = 5  # of the time is the most that a part may take
DESCRIBE = "from metarl_jax.experiment import devices; devices.prepare(); print(devices.describe())"


class Part(NamedTuple):
    """A command, the names and values that its environment has, and where its lines of JSON come from."""

    name: str
    command: list[str]
    environment: tuple[tuple[str, str], ...] = ()
    timed: bool = True  # what is not runs beside others of its kind


def parts(dry: bool) -> Iterator[Part]:
    """All parts, the most important ones first."""
    yield from speeds("float32", dry)
    yield from tables()
    yield from memories(dry)
    yield from speeds("tf32", dry)


def speeds(precision: str, dry: bool) -> Iterator[Part]:
    """The speed of every workload in one precision of products."""
    seconds = ["--seconds", str(DRY_SECONDS if dry else SECONDS), "--here"]
    for name, tasks in TASKS.items():
        words = [str(BENCHMARKS / "speed.py"), name, "--tasks", str(DRY_TASKS if dry else tasks), *seconds]
        yield Part(f"{name}-{precision}", words, (("JAX_DEFAULT_MATMUL_PRECISION", PRECISIONS[precision]),))


def memories(dry: bool) -> Iterator[Part]:
    """The speed of two memories over trials of several lengths."""
    more = ["--seconds", str(DRY_SECONDS), "--pulls", str(DRY_PULLS)] if dry else ["--seconds", str(SECONDS)]
    for length in LENGTHS:
        for memory in MEMORIES:
            what = ["--memories", memory, "--lengths", str(length), "--meta-steps", "0", "--here"]
            yield Part(f"{memory}-{length}", [str(BENCHMARKS / "memories.py"), *what, *more])


def tables() -> Iterator[Part]:
    """Quick tables."""
    for name in TABLES:
        words = ["-m", "metarl_jax", "reproduce", name, "--quick", "--json"]
        yield Part(name, words, (("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),), timed=False)


def done(part: Part, limit: float) -> dict[str, Any]:
    """What became of a part: its JSON, the seconds that it took, and the last words of a failure."""
    environment, start = os.environ | dict(part.environment), time.monotonic()
    try:
        ran = subprocess.run(
            [sys.executable, *part.command], env=environment, capture_output=True, text=True, timeout=limit
        )
        code, out, said = ran.returncode, ran.stdout, ran.stderr
    except subprocess.TimeoutExpired:
        code, out, said = None, "", f"took more than {limit:.0f} s"
    found = {"part": part.name, "seconds": round(time.monotonic() - start, 1), "code": code}
    return found | ({"result": json.loads(out)} if code == 0 else {"error": said[-2000:]})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="few tasks, for a CPU")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some parts")
    parser.add_argument("--minutes", type=float, help=f"in all; by default {MINUTES:.0f}, {DRY_MINUTES:.0f} if dry")
    parser.add_argument("--out", type=pathlib.Path, help="by default benchmarks/results/gpu.json; none for a dry run")
    arguments = parser.parse_args()
    chosen = list(parts(arguments.dry))
    names = [part.name for part in chosen]
    for name in arguments.only or ():
        if name not in names:
            parser.error(f"unknown part {name!r}; choose some of {', '.join(names)}")
    chosen = [part for part in chosen if arguments.only is None or part.name in arguments.only]
    minutes = arguments.minutes or (DRY_MINUTES if arguments.dry else MINUTES)
    out = arguments.out or (None if arguments.dry else BENCHMARKS / "results" / "gpu.json")
    return run(chosen, minutes, out, {"dry": arguments.dry})


def run(chosen: list[Part], minutes: float, out: pathlib.Path | None, facts: dict[str, Any]) -> int:
    """Run parts until the time is up, and write what they came to after each; 1 if one failed or was left out."""
    limit, end = 60 * minutes / SHARE, time.monotonic() + 60 * minutes
    device = subprocess.run([sys.executable, "-c", DESCRIBE], check=True, capture_output=True, text=True).stdout.strip()
    print(device, flush=True)
    found: list[dict[str, Any]] = []
    for entry in entries(chosen, limit, end):
        found.append(entry)
        said = entry.get("error", "ok").strip()[-300:]
        print(f"{entry['part']:24} {entry.get('seconds', 0):6.1f} s  {said}", flush=True)
        if out is not None:
            date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            out.write_text(json.dumps({"device": device, "date": date, **facts, "parts": found}, indent=1) + "\n")
    return int(any(entry["code"] != 0 for entry in found))


def entries(chosen: list[Part], limit: float, end: float) -> Iterator[dict[str, Any]]:
    """What becomes of parts that begin before the end and take no more than `limit` seconds."""

    def one(part: Part) -> dict[str, Any]:
        left = end - time.monotonic()
        return done(part, min(left, limit)) if left > 1 else {"part": part.name, "code": None, "error": "no time"}

    for timed, some in itertools.groupby(chosen, key=lambda part: part.timed):
        with concurrent.futures.ThreadPoolExecutor(1 if timed else len(TABLES)) as pool:
            yield from pool.map(one, some)


if __name__ == "__main__":
    sys.exit(main())
