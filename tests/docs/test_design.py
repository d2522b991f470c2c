"""docs/design.md holds: imports run one way, and the core has no circle and no outside."""

import ast
import pathlib

import pytest

import metarl_jax

PACKAGE = pathlib.Path(metarl_jax.__file__).parent
FLOORS = {"core": 0, "envs": 1, "algorithms": 1, "oracles": 2, "experiment": 3}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imported(path: pathlib.Path) -> set[str]:
    """The modules of this package that a file imports, as `core.life`; those for type checkers only included."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    inside = [node for node in nodes if node.module and node.module.split(".")[0] == "metarl_jax"]
    full = [f"{node.module}.{alias.name}" for node in inside for alias in node.names]
    return {".".join(name.split(".")[1:3]) for name in full}


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_downwards(floor: str) -> None:
    for path in (PACKAGE / floor).rglob("*.py"):
        for module in imported(path):
            below = module.split(".")[0]
            assert below == floor or FLOORS.get(below, 9) < FLOORS[floor], f"{path.name} imports {module}"


def test_the_core_has_no_circle() -> None:
    files = {path.stem: path for path in (PACKAGE / "core").glob("*.py")}
    above = {name: {m.split(".")[1] for m in imported(path)} & set(files) for name, path in files.items()}
    while above:
        free = [name for name, needed in above.items() if not needed - {name}]
        assert free, f"a circle among {sorted(above)}"
        above = {name: needed - set(free) for name, needed in above.items() if name not in free}


def test_the_design_names_every_file_of_the_core() -> None:
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    names = {path.stem for path in (PACKAGE / "core").glob("*.py")} - {"__init__"}
    assert {name for name in names if f"`{name}`" not in page} == set()
