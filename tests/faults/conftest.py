"""The fault suite: what may go wrong around a run, a line a fault.

A module names its fault, `pytestmark = pytest.mark.fault(3)`; a test that tries many cases says how many it tried and
how many were lost, `tally(rounds=50, lost=0)`. `pytest tests/faults` prints the table; `--faults-json FILE` also writes
what each test came to, with the versions and the machine. The long form takes hours, so it may be run by parts: cases
that were not run before add to the line of their test, a case that is run again replaces it, and the lines of another
machine or other versions are dropped.
"""

import collections
import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from metarl_jax.experiment import devices

FAULTS = {
    1: "kill -9, also inside a save",
    2: "SIGTERM and SIGINT, twice, also during compilation",
    3: "one bit flipped in a checkpoint",
    4: "truncated, empty or missing files",
    5: "disk full, read-only folder, file-size limit",
    6: "NaN or inf in a task's reward or observation",
    7: "a non-finite meta-gradient, once and repeatedly",
    8: "a zero inner gradient",
    9: "resume equals the unbroken run",
    10: "bad configuration",
    11: "tasks at random and at the edges",
    12: "a wrong gradient",
    13: "a hostile run folder or artefact",
    14: "a process of a distributed run dies",
    15: "a tracker that fails, two runs in a folder, a stale lock",
    16: "silent regressions between formats",
    17: "the machine around it",
    18: "more than fits",
}


@dataclasses.dataclass
class Tally:
    """What the cases of a test came to, and which they were, "" for the test itself."""

    cases: list[str] = dataclasses.field(default_factory=list)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    rounds: int = 0
    lost: int = 0


COUNTS = ("passed", "failed", "skipped", "rounds", "lost")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-json", type=pathlib.Path, help="where to write the table of faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the number of each test's fault with its report, which may come from another process."""
    for item in items:
        if marker := item.get_closest_marker("fault"):
            item.user_properties.append(("fault", marker.args[0]))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Says how many rounds a test tried and how many of them lost something; fails the test if any did."""

    def said(rounds: int, lost: int) -> None:
        # not by `record_property`, which warns, and so fails, beside --junitxml
        request.node.user_properties += [("rounds", rounds), ("lost", lost)]
        assert lost == 0, f"{lost} of {rounds} rounds lost something"

    return said


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print a line a fault, and write what each test came to where `--faults-json` asks for it."""
    tests = tallies(terminalreporter.stats)
    if not tests:
        return
    terminalreporter.section("faults")
    for number, name in FAULTS.items():
        found = [tally for (fault, _), tally in tests.items() if fault == number]
        terminalreporter.write_line(f"{number:>3}  {name:<56}  {described(found) if found else 'no test ran'}")
    path = config.getoption("faults_json", None)
    if path:
        write(path, tests)


def write(path: pathlib.Path, tests: dict[tuple[int, str], Tally]) -> None:
    """Write what each test came to, beside what the others came to under the same versions on the same machine."""
    provenance = {"versions": devices.versions(), "device": devices.describe()}
    before = json.loads(path.read_text()) if path.exists() else {}
    kept = before["tests"] if before.items() >= provenance.items() else []
    lines = {(line["fault"], line["test"]): line for line in kept}
    today = datetime.date.today().isoformat()
    for (fault, test), tally in tests.items():
        line = {"fault": fault, "test": test, **dataclasses.asdict(tally), "date": today}
        lines[fault, test] = joined(lines.get((fault, test), line), line)
    table = {**provenance, "date": today, "faults": FAULTS, "tests": [lines[key] for key in sorted(lines)]}
    path.write_text(json.dumps(table, indent=1) + "\n")


def joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The line of both runs of a test where no case was run twice; else that of the later run."""
    if set(before["cases"]) & set(after["cases"]):
        return after
    return after | {field: before[field] + after[field] for field in ("cases", *COUNTS)}


def tallies(stats: dict[str, list[Any]]) -> dict[tuple[int, str], Tally]:
    """The tally of each test, all its cases together, by fault and name."""
    found: dict[tuple[int, str], Tally] = collections.defaultdict(Tally)
    for outcome, field in (("passed", "passed"), ("failed", "failed"), ("error", "failed"), ("skipped", "skipped")):
        for report in stats.get(outcome, []):
            said = dict(getattr(report, "user_properties", []))
            if "fault" not in said:
                continue
            test, _, case = report.nodeid.partition("[")
            tally = found[said["fault"], test.rpartition("/")[2]]
            tally.cases.append(case.removesuffix("]"))
            setattr(tally, field, getattr(tally, field) + 1)
            tally.rounds += said.get("rounds", 0)
            tally.lost += said.get("lost", 0)
    return dict(found)


def described(found: list[Tally]) -> str:
    """What the tests of a fault came to, in words."""
    total = {field: sum(getattr(tally, field) for tally in found) for field in COUNTS}
    words = [f"{total['passed']} passed"]
    words += [f"{total['failed']} failed"] if total["failed"] else []
    words += [f"{total['skipped']} skipped"] if total["skipped"] else []
    words += [f"{total['lost']} of {total['rounds']} rounds lost"] if total["rounds"] else []
    return ", ".join(words)
