"""The generated parts of docs/ are fresh, every algorithm has its page, and the site has every page."""

import pathlib
import re
import runpy
import tomllib
from typing import Any

import pytest

from metarl_jax.algorithms import ALGORITHMS

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
OPTIONS = runpy.run_path(str(ROOT / "scripts" / "options.py"))
CHOOSE = runpy.run_path(str(ROOT / "scripts" / "choose.py"))
SECTIONS = ("Try it", "Options that matter", "Pitfalls", "All options")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_page_of_an_algorithm_is_fresh_and_whole(algorithm: str) -> None:
    page = (DOCS / "algorithms" / f"{algorithm}.md").read_text()
    assert page == OPTIONS["render"](algorithm, page), "run `python scripts/options.py`"
    assert page.startswith(f"# {algorithm}\n")
    assert tuple(re.findall("^## (.+)$", page, re.MULTILINE)) == SECTIONS
    assert f"metarl train {algorithm} " in page
    assert "**The curve.**" in page
    assert re.search(r"^Sources?: ", page, re.MULTILINE)
    assert re.search(r"^    \S", page, re.MULTILINE), "no formula"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_flags_that_a_page_names_exist(algorithm: str) -> None:
    page = (DOCS / "algorithms" / f"{algorithm}.md").read_text()
    known = {flag for name in ALGORITHMS for flag in re.findall(r"`(--\S+)`", OPTIONS["tables"](name))}
    known |= {f"--no-{flag[2:]}" for flag in known} | {"--preset", "--meta-steps", "--rule", "--json"}
    named = {flag for flag in re.findall(r"(--[a-z][a-z-]*)(?![\w.])", page) if not flag.startswith("--env")}
    assert named <= known


def test_every_option_is_described() -> None:
    for name in ALGORITHMS:
        assert all(OPTIONS["described"](ALGORITHMS[name]).values())


def test_the_tables_of_the_choice_are_those_of_the_results() -> None:
    page = (DOCS / "choose.md").read_text()
    assert page == CHOOSE["render"](page), "run `python scripts/choose.py`"
    assert re.findall(r"<!-- choose: (\w+) -->", page) == list(CHOOSE["SETTINGS"])


def test_a_number_of_the_choice_that_was_changed_by_hand_is_put_right() -> None:
    page = (DOCS / "choose.md").read_text()
    assert CHOOSE["render"](page.replace("| 6.646", "| 6.66 ")) == page


def test_the_site_has_every_page() -> None:
    def pages(nav: Any) -> list[str]:
        return [nav] if isinstance(nav, str) else [page for entry in nav for page in pages(next(iter(entry.values())))]

    listed = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
