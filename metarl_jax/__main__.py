"""`python -m metarl_jax` is the command `metarl`."""

import sys

from metarl_jax.experiment.cli import main

sys.exit(main())
