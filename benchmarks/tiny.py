"""What a tiny run takes: the tiny command of each page of docs/algorithms/, with its compilation and evaluation.

    python benchmarks/tiny.py [ALGORITHM ...] [--out FILE]

Each runs in a fresh process without a cache of compiled programs. Seconds are of the wall clock and of the processor,
where other programs run beside it. Lines of FILE on other algorithms stay.
"""

import argparse
import datetime
import json
import pathlib
import re
from typing import Any

from sweep import cores, measured, now

PAGES = pathlib.Path(__file__).parents[1] / "docs" / "algorithms"
COMMAND = re.compile(r"^metarl train (\w+) (\w+)( --preset tiny.*?) *(?:#.*)?$", re.MULTILINE)


def commands() -> dict[str, list[str]]:
    """The words of the first tiny command on each page, by algorithm."""
    found = {page.stem: COMMAND.search(page.read_text()) for page in sorted(PAGES.glob("*.md"))}
    return {name: " ".join(match.groups()).split() for name, match in found.items() if match}


def trained(words: list[str], folder: pathlib.Path) -> dict[str, Any]:
    """Seconds of the command, by the wall clock and of the processor."""
    from metarl_jax.experiment.cli import main

    start = now()
    if main(["train", *words, "--quiet", "--out", str(folder / "run")]):
        raise RuntimeError(f"metarl train {' '.join(words)} failed")
    return {"run": now() - start}


def line(name: str, words: list[str]) -> dict[str, Any]:
    """The measurement of an algorithm."""
    from metarl_jax.experiment import devices

    wall, processor = measured(trained, words)["run"].tolist()
    made = {"device": devices.describe(), "versions": devices.versions(), "date": datetime.date.today().isoformat()}
    seconds = {"wall_seconds": round(wall, 1), "cpu_seconds": round(processor, 1)}
    return {"workload": name, "command": f"metarl train {' '.join(words)}", "cores": cores(), **seconds, **made}


def main() -> None:
    known = commands()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithms", nargs="*", default=[], help=f"by default all: {', '.join(known)}")
    parser.add_argument("--out", type=pathlib.Path, help="such as benchmarks/results/tiny.json")
    given = parser.parse_args()
    from speed import keep  # whose imports would slow down the processes that are timed

    before = json.loads(given.out.read_text()) if given.out and given.out.exists() else []
    lines = {each["workload"]: json.dumps(each) for each in before}
    for name in given.algorithms or known:
        lines[name] = json.dumps(line(name, known[name]))
        print(lines[name], flush=True)
        keep([lines[each] for each in sorted(lines)], given.out)


if __name__ == "__main__":
    main()
