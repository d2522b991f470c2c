"""docs/api.md shows every public name as its docstring describes it now."""

import pathlib
import runpy

import metarl_jax

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "api.py"))


def test_the_page_is_fresh_and_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text()
    assert page == SCRIPT["page"](), "run `python scripts/api.py`"
    assert [name for name in metarl_jax.__all__ if f"### `{name}`" not in page] == ["__version__"]


def test_every_public_name_is_described():
    for name in metarl_jax.__all__[:-1]:
        assert SCRIPT["described"](getattr(metarl_jax, name), name, f"metarl_jax.{metarl_jax._HOMES[name]}").strip(), (
            name
        )
