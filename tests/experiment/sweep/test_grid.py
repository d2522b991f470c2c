"""Grids: what a file may ask for, and where an axis is logarithmic."""

from pathlib import Path

import pytest

import metarl_jax
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.sweep import grid


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([1e-4, 1e-3, 1e-2], True), ([1e-3, 1e-2], True), ([0.1, 0.2, 0.3], False), ([0.9, 0.99], False), ([0, 1], False)],
)
def test_an_axis_is_logarithmic_where_values_are_spaced_so(values: list[float], logarithmic: bool) -> None:
    assert grid.is_log_spaced(values) == logarithmic


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "must be a table"),
        ("{", "cannot be read"),
        ('{"sedes": 3}', "did you mean 'seeds'"),
        ('{"over": [1]}', "of type dict"),
        ('{"algorithm": "maml"}', "no environment was named"),
        ('{"algorithm": "maml", "environment": "maze", "over": {"gamma": 0.5}}', "a list of values"),
        ('{"algorithm": "maml", "environment": "maze", "over": {"gamma": ["0.5"]}}', "of type float"),
        ('{"algorithm": "maml", "environment": "maze", "seeds": [1, 1]}', "all different"),
        ('{"algorithm": "maml", "environment": "maze", "seeds": [1.5]}', "of type int"),
        ('{"algorithm": "maml", "environment": "maze", "over": {"size": [4], "env.size": [5]}}', "one name an option"),
        (
            '{"algorithm": "maml", "environment": "maze", "options": {"gamma": 1.0}, "over": {"gamma": [1]}}',
            "leave that",
        ),
    ],
)
def test_a_wrong_file_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        metarl_jax.sweep(str(tmp_path / "asked.json"))
