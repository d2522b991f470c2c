"""The library agrees with the golden numbers, which are PyTorch's."""

import numpy as np
import pytest

from peers import maml, rl2
from peers.golden import golden, named, restored

CLOSE = {"rtol": 1e-7, "atol": 1e-12}


@pytest.mark.parametrize("case", maml.CASES)
def test_the_meta_gradient_of_maml_is_golden(case: str) -> None:
    stored, like = golden("maml", case), maml.shapes(case)
    loss, gradient = maml.loss_and_gradient(
        case, *(restored(*pair) for pair in zip(like, (stored["phi"], stored["seen"]), strict=True))
    )
    np.testing.assert_allclose(loss, stored["loss"][""], **CLOSE)
    assert named(gradient).keys() == stored["gradient"].keys()
    for name, values in named(gradient).items():
        np.testing.assert_allclose(values, stored["gradient"][name], **CLOSE, err_msg=name)


@pytest.mark.parametrize("case", rl2.WORLDS)
def test_the_loss_of_ppo_over_trials_is_golden(case: str) -> None:
    stored, like = golden("rl2", case), rl2.shapes(case)
    loss, gradient = rl2.loss_and_gradient(
        case, *(restored(*pair) for pair in zip(like, (stored["params"], stored["record"]), strict=True))
    )
    np.testing.assert_allclose(loss, stored["loss"][""], **CLOSE)
    for part, values in rl2.theirs(gradient).items():
        shared = rl2.comparable(part)
        np.testing.assert_allclose(values[shared], stored["gradient"][part][shared], **CLOSE, err_msg=part)
