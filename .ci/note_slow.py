"""Note in benchmarks/results/slow.json what a part of the slow tests came to; `.ci/slow` calls it.

python .ci/note_slow.py PART REPORT CODE
python .ci/note_slow.py PART not-run "a reason"
"""

import collections
import datetime
import json
import pathlib
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "slow.json"


def outcome(case: Any) -> str:
    """What became of a test: passed, skipped or failed."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def entry(part: str, report: pathlib.Path, code: int) -> dict[str, Any]:
    """The counts of a part and the tests that failed; `whole` if all were run."""
    suite = next(ElementTree.parse(report).iter("testsuite"))
    cases = list(suite.iter("testcase"))
    # pytest also ends with 1 where it is interrupted while it stops: then, too, nothing need have failed.
    whole = code == 0 or (code == 1 and "failed" in map(outcome, cases))
    cases = cases if whole else cases[:-1]  # the last was interrupted
    counts = collections.Counter(map(outcome, cases))
    failures = [f"{case.get('classname')}.{case.get('name')}" for case in cases if outcome(case) == "failed"]
    return {
        "part": part,
        **{name: counts[name] for name in ("passed", "failed", "skipped")},
        "failures": failures,
        "whole": whole,
        "seconds": round(float(suite.get("time", "nan"))),
    }


def provenance() -> dict[str, Any]:
    """Versions, device, date, and the date of the commit that was tested."""
    from metarl_jax.experiment import devices

    command = ["git", "log", "-1", "--format=%cI"]
    committed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    date = datetime.date.today().isoformat()
    return {"versions": devices.versions(), "device": devices.describe(), "date": date, "committed": committed}


def note(found: dict[str, Any], path: pathlib.Path) -> None:
    """Write the entry of a part in the place of its old one."""
    old = json.loads(path.read_text()) if path.exists() else []
    entries = {line["part"]: line for line in [*old, found]}
    path.write_text(json.dumps([entries[part] for part in sorted(entries)], indent=1) + "\n")


def main(part: str, report: pathlib.Path, code: int) -> int:
    """Note what a part came to; its exit status."""
    if not report.stat().st_size:
        print(f"{part} ended with {code} and without a report: {RESULTS} is as it was", file=sys.stderr)
        return 1
    found = entry(part, report, code)
    note(found | provenance(), RESULTS)
    print(f"{part}: {found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped")
    return int(code != 0)


if __name__ == "__main__":
    part, report, last = sys.argv[1:]
    if report == "not-run":
        note({"part": part, "not_run": last} | provenance(), RESULTS)
    else:
        sys.exit(main(part, pathlib.Path(report), int(last)))
