"""Which scripts make tables, what they say of themselves, and what a committed table took."""

from pathlib import Path

import pytest

from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.reproduction import scripts
from metarl_jax.experiment.reproduction.scripts import chosen, seconds_of, table_scripts
from metarl_jax.experiment.results import Table


def test_a_script_with_a_table_is_found_and_read_without_running_it(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "published.py").write_text('"""Shared."""\n')
    (folder / "arms.py").write_text('"""Two arms.\n\nMore."""\n\nTABLE = "bandits"\nCOSTS = ("regret",)\n1 / 0\n')
    (script,) = table_scripts(folder).values()
    assert (script.name, script.summary, script.table) == ("arms", "Two arms.", "bandits")
    assert script.committed_path == tmp_path.resolve() / "benchmarks" / "results" / "bandits.json"
    assert script.committed is None
    assert script.costs_in("regret,easy")
    assert not script.costs_in("return")


def test_a_folder_without_the_scripts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"has no published.py.* name scripts/ of a checkout"):
        table_scripts(tmp_path)
    monkeypatch.setattr(scripts.metarl_jax, "__file__", str(tmp_path / "site" / "metarl_jax" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"installed without them; run this in a checkout, or .* --scripts"):
        table_scripts()


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'maze'"):
        chosen(["mase"], table_scripts())
    assert [script.name for script in chosen(["maze", "maze"], table_scripts())] == ["maze"]


def test_a_table_took_the_training_of_all_seeds_once_a_recipe_and_its_whole_programs() -> None:
    table = Table("maze", seeds=[0], tasks=5)
    assert seconds_of(table) is None
    for column in ("a", "b"):
        table.add("rl2", column, 1.0, note="trained 8e+06 env steps, 100 s a seed", made={"seeds": [0, 1]})
    assert seconds_of(table) == 200
    table.add("other", "a", 1.0, made={"wall_seconds": 7.0})
    assert seconds_of(table) == 207
