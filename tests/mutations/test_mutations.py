"""The patches of the mutations fit the code; `run.py` shows that tests fail under each of them."""

import shutil

import pytest

from mutations.run import MUTATIONS, ROOT, Mutation, apply


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies_and_names_tests(mutation: Mutation) -> None:
    assert mutation.breaks.endswith(".")
    assert mutation.tests
    for test in mutation.tests:
        path, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text()
    if shutil.which("git"):
        assert apply(mutation.patch, ROOT, "--check") == ""
