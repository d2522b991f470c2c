"""Every trap that docs/faq.md describes is guarded by a test that exists, and that is not marked to be skipped."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faq.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in TESTS] == []


def test_every_trap_has_a_guard():
    traps = PAGE.split("\n## ")[1:]
    assert [trap.splitlines()[0] for trap in traps if "uarded by" not in trap and "tests/" not in trap] == []
