"""How a lifetime is differentiated: one record, shared by learners and by the exact oracle.

It is no part of what a life is: lives are lived alike under all of them.
"""

from typing import NamedTuple

from metarl_jax.core.types import Array


class Estimator(NamedTuple):
    """An estimator of the meta-gradient; docs/estimators.md says which to choose."""

    curvature: Array | float | None = 0.0  # of the inner surrogate, see core/losses.py
    baseline: bool = True  # whether a baseline is subtracted from the returns that weigh the inner surrogate
    depth: int | None = None  # adaptations, from the last, whose inner gradients are differentiated; None for all
    hindsight: bool = False  # whether actions before an adaptation are credited with the gain from it
    remat: bool = False  # recompute each turn in the backward pass: memory grows with T, not with K T


ESTIMATORS = {
    "lvc": Estimator(),  # Rothfuss et al. 2019, arXiv:1810.06784
    "naive": Estimator(curvature=None),  # log π: what MAML's first implementations differentiate
    "e_maml": Estimator(curvature=None, hindsight=True),  # Stadie et al. 2018, arXiv:1803.01118
    "dice": Estimator(curvature=1.0, baseline=False),  # Foerster et al. 2018, arXiv:1802.05098
    "control_variates": Estimator(curvature=1.0),  # Mao et al. 2019; Liu et al. 2019
    "loaded_dice": Estimator(curvature=0.9),  # Farquhar et al. 2019, arXiv:1909.10549
    "truncated": Estimator(depth=1),
    "first_order": Estimator(depth=0),  # Finn et al. 2017, arXiv:1703.03400, §5.2
}
