"""Whether the tests notice: a mutation is a patch that breaks one thing, and the tests that it names have to fail.

python tests/mutations/run.py                each mutation against the tests that it names
python tests/mutations/run.py quota entropy  only those whose names hold one of these words
python tests/mutations/run.py --whole        each against the whole default suite, which takes hours

The same tests must pass without a mutation. A patch that no longer applies is made anew: break the code again, and put
`git diff -U1` under the sentence and the tests that the old patch begins with.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "mutations.json"


class Mutation(NamedTuple):
    """A fault that the tests have to notice."""

    name: str
    breaks: str  # a sentence
    tests: list[str]  # that have to fail
    patch: pathlib.Path


class Outcome(NamedTuple):
    """What a run of pytest came to."""

    code: int  # exit status: 0 all passed, 1 some failed
    failed: list[str]  # names of tests
    seconds: float
    output: str


def read(patch: pathlib.Path) -> Mutation:
    """The mutation of a patch, which begins with a sentence and the tests."""
    head = patch.read_text().split("diff --git")[0]
    breaks, _, tests = head.partition("Caught by:")
    return Mutation(patch.stem.partition("_")[2], breaks.strip(), tests.split(), patch)


MUTATIONS = [read(patch) for patch in sorted(pathlib.Path(__file__).parent.glob("*.patch"))]


def copy_tree(folder: pathlib.Path) -> None:
    """Copy what git tracks or would track."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def apply(patch: pathlib.Path, folder: pathlib.Path, *how: str) -> str:
    """Apply a patch to a tree; what git says against it, or nothing."""
    done = subprocess.run(["git", "apply", *how, str(patch)], cwd=folder, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def tested(folder: pathlib.Path, tests: list[str], *how: str) -> Outcome:
    """Run tests of a tree; without names all of the default suite, except whether patches apply, which they have."""
    report, start = folder / "report.xml", time.monotonic()
    chosen = [*tests, "--numprocesses=0"] if tests else ["--ignore=tests/mutations"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *how, *chosen]
    paths = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True)
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
    broken = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    failed = [f"{case.get('classname')}.{case.get('name')}" for case in broken]
    return Outcome(done.returncode, failed, round(time.monotonic() - start, 1), done.stdout + done.stderr)


def judged(mutation: Mutation, whole: bool) -> dict[str, Any]:
    """A row of the table: the test that failed first, or why there is none."""
    row = {"mutation": mutation.name, "breaks": mutation.breaks, "caught_by": None, "seconds": None}
    with tempfile.TemporaryDirectory() as name:
        copy_tree(folder := pathlib.Path(name))
        if refusal := apply(mutation.patch, folder):
            return row | {"note": f"the patch no longer applies: {refusal}"}
        found = tested(folder, [] if whole else mutation.tests, "--exitfirst")
    row["seconds"] = found.seconds
    if found.code == 1 and found.failed:
        return row | {"caught_by": found.failed[0]}
    if found.code == 0:
        return row | {"note": "every test passed"}
    return row | {"note": f"pytest ended with {found.code}: {found.output[-400:]}"}


def unbroken(mutations: Iterable[Mutation], whole: bool) -> dict[str, Any]:
    """Run the same tests without a mutation.

    Raises:
        SystemExit: one of them fails.
    """
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    with tempfile.TemporaryDirectory() as name:
        copy_tree(folder := pathlib.Path(name))
        found = tested(folder, [] if whole else tests)
    if found.code:
        sys.exit(f"tests fail without a mutation:\n{found.output[-4000:]}")
    return {"tests": "the default suite" if whole else len(tests), "seconds": found.seconds}


def write(row: dict[str, Any], before: dict[str, Any], path: pathlib.Path) -> int:
    """Write a row in the place of its old one; how many of all mutations are caught."""
    from metarl_jax.experiment import devices

    old = json.loads(path.read_text())["mutations"] if path.exists() else []
    known = {line["mutation"]: line for line in [*old, row]}
    rows = [known[mutation.name] for mutation in MUTATIONS if mutation.name in known]
    made = {"versions": devices.versions(), "device": devices.describe(), "date": datetime.date.today().isoformat()}
    caught = sum(line["caught_by"] is not None for line in rows)
    data = {"caught": caught, "of": len(MUTATIONS), "mutations": rows, "without": before, **made}
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return caught


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of the names of mutations; all by default")
    parser.add_argument("--whole", action="store_true", help="run the whole default suite")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if not options.words or any(word in m.name for word in options.words)]
    if not chosen:
        parser.error(
            f"no mutation has {' or '.join(options.words)} in its name: {', '.join(m.name for m in MUTATIONS)}"
        )
    before, caught = unbroken(chosen, options.whole), 0
    for mutation in chosen:
        row = judged(mutation, options.whole)
        caught = write(row, before, options.out)
        print(f"{mutation.name:<28}  {row['caught_by'] or 'NOT CAUGHT: ' + row['note']}", flush=True)
    print(f"{caught} of {len(MUTATIONS)}")
    return int(caught < len(MUTATIONS))


if __name__ == "__main__":
    sys.exit(main())
