"""The public names of the package."""

import pytest

import metarl_jax


def test_every_public_name_exists() -> None:
    for name in metarl_jax.__all__:
        assert getattr(metarl_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        metarl_jax.learn  # noqa: B018
