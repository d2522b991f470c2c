"""Write docs/api.md anew: every public name with its signature and docstring, in the order of the formula.

python scripts/api.py
"""

import importlib
import inspect
import pathlib
import re
from typing import Any

import metarl_jax

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "api.md"
SECTION = re.compile(r"^    # (.+)$|^    \"(\w+)\": \"([\w.]+)\",$", re.MULTILINE)
HEAD = """# Public names

Every name that `import metarl_jax` offers, in the order of the formula. `python scripts/api.py` writes this page from
the docstrings.
"""


def page() -> str:
    """The page."""
    source = inspect.getsource(metarl_jax)
    parts = [HEAD]
    for heading, name, _ in SECTION.findall(source.split("_HOMES = {")[1].split("\n}")[0]):
        parts.append(f"\n## {heading[0].upper() + heading[1:]}\n" if heading else entry(name))
    return "\n".join(parts)


def entry(name: str) -> str:
    """A name, where it lives, its signature and its docstring."""
    value = getattr(metarl_jax, name)
    home = f"metarl_jax.{metarl_jax._HOMES[name]}"
    text = inspect.cleandoc(described(value, name, home)).strip()
    return f"### `{name}`\n\n`{home}`\n{signature(value)}\n```text\n{text}\n```\n"


def signature(value: Any) -> str:
    """The signature as a block of code; nothing for what is not called, and for plain containers."""
    if not callable(value) or not (inspect.isfunction(value) or inspect.isclass(value)):
        return ""
    parameters = [plain(parameter) for parameter in inspect.signature(value).parameters.values()]
    return f"\n```text\n{value.__name__}{inspect.Signature(parameters)}\n```\n"


def plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter without its annotation, and with dots for a default that is a function."""
    if callable(parameter.default) and parameter.default is not inspect.Parameter.empty:
        parameter = parameter.replace(default=Dots())
    return parameter.replace(annotation=inspect.Parameter.empty)


class Dots:
    """A default that is not worth reading."""

    def __repr__(self) -> str:
        return "..."


def described(value: Any, name: str, home: str) -> str:
    """The docstring of a function or class; for a table of names, what it holds."""
    if inspect.isfunction(value) or inspect.isclass(value):
        return value.__doc__ or ""
    if isinstance(value, dict) or hasattr(value, "keys"):
        return ", ".join(value)
    return importlib.import_module(home).__doc__ or name


if __name__ == "__main__":
    PAGE.write_text(page())
