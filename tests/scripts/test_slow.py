"""What `.ci/slow` notes of its parts."""

import json
import pathlib
import runpy

NOTE = runpy.run_path(str(pathlib.Path(__file__).parents[2] / ".ci" / "note_slow.py"))
REPORT = """<testsuites><testsuite time="61.4">
<testcase classname="laws" name="one"/>
<testcase classname="laws" name="two"><failure/></testcase>
<testcase classname="laws" name="three"><error/></testcase>
<testcase classname="laws" name="four"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_part_is_counted_and_replaces_its_own_entry_alone(tmp_path: pathlib.Path) -> None:
    report, results = tmp_path / "report.xml", tmp_path / "slow.json"
    report.write_text(REPORT)
    laws, rest = NOTE["entry"]("laws", report, 124), NOTE["entry"]("rest", report, 1)
    assert (rest["passed"], rest["failed"], rest["skipped"], rest["seconds"]) == (1, 2, 1, 61)
    assert (laws["passed"], laws["failed"], laws["skipped"]) == (1, 2, 0)  # the last was interrupted
    assert laws["failures"] == ["laws.two", "laws.three"]
    assert (laws["whole"], rest["whole"]) == (False, True)
    for found in (rest, laws, laws | {"passed": 7}):
        NOTE["note"](found, results)
    assert [(line["part"], line["passed"]) for line in json.loads(results.read_text())] == [("laws", 7), ("rest", 1)]
