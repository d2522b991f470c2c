"""The page: contents become one HTML file, in which all text is escaped and nothing is loaded from elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metarl_jax.experiment.report.comparison_section import ComparisonSection
    from metarl_jax.experiment.report.run_section import RunSection

PACKAGE = "metarl_jax.experiment.report"


def page(title: str, runs: Sequence["RunSection"], comparison: "ComparisonSection | None" = None) -> str:
    """The HTML of a report."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(PACKAGE, ".")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "sort_keys": False}
    contents = {"title": title, "runs": runs, "comparison": comparison}
    return templates.get_template("page.html.j2").render(contents)
