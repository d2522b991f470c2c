"""gymnax's environments as distributions of tasks, and ours as environments of gymnax and Gymnasium.

Nothing else in the package imports gymnax or Gymnasium. The imports take seconds, so they are inside functions.
"""

from metarl_jax.envs.adapter.adapted import ADAPTED, Adapted, from_gymnax
from metarl_jax.envs.adapter.outward import to_gymnasium, to_gymnax

__all__ = ["ADAPTED", "Adapted", "from_gymnax", "to_gymnasium", "to_gymnax"]
