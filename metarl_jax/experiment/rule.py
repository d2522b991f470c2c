"""Learned rules: φ of runs whose agents are born without it, so that fresh agents learn by it elsewhere."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jax.extend.core import Var

from metarl_jax.algorithms.base import Algorithm, Recipe
from metarl_jax.core.environment import Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.learner import Learner
from metarl_jax.core.once import once
from metarl_jax.core.types import Tree
from metarl_jax.experiment.config import RunConfig, construct, digest, field_names, learner_of, require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.leaves import leaf_form, leaf_name
from metarl_jax.experiment.plugins import is_plugin
from metarl_jax.experiment.sealed import spoken

FORMAT = 1
LICENCE = "Apache-2.0"  # that of this package


@dataclasses.dataclass(frozen=True)
class Rule:
    """A learned rule: a loss, a reward, a drift, an optimiser or hyper-parameters."""

    digest: str
    """SHA-256 of the card, which holds that of the tensors."""
    card: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    """What the rule is: its algorithm with options, what it reads, its leaves, how it was trained, its licence."""
    tensors: bytes = dataclasses.field(compare=False, repr=False)
    """φ in the format of safetensors."""

    @functools.cached_property
    def leaves(self) -> dict[str, np.ndarray]:
        """φ by the names of its leaves."""
        return dict(safetensors.numpy.load(self.tensors))

    @property
    def options(self) -> dict[str, Any]:
        """The options of the algorithm that learned it."""
        return {name: value for name, value in self.card["algorithm"].items() if name != "name"}

    def algorithm(self, named: str | None = None) -> str:
        """The name of the algorithm that learned it.

        Raises:
            UsageError: another one was `named`; or none, although it is the user's own and its module would be run.
        """
        name = str(self.card["algorithm"]["name"])
        if named is not None and named != name:
            raise UsageError(f"the rule was learned by {name}, not by {named}; leave {named} out")
        if named is None and is_plugin(name):
            raise UsageError(f"the rule was learned by {name}; name it before the environment to run its module")
        return name

    def fit(self, recipe: Recipe, algorithm: Algorithm) -> Tree:
        """φ as the meta-parameters of that recipe.

        Raises:
            UsageError: a leaf is missing, superfluous, or has another shape or dtype.
        """
        template, structure = jax.tree_util.tree_flatten_with_path(meta_shapes(recipe))
        own, here = self.card["leaves"], {leaf_name(keys): leaf_form(leaf) for keys, leaf in template}
        for name in sorted(here.keys() | own.keys()):
            if not _fits(own.get(name), here.get(name)):
                where, home = recipe.window.world.environment.name, self.card["environment"]["name"]
                raise UsageError(
                    f"the rule of {algorithm.name} does not fit {where}: {name} is {spoken(own.get(name))} in the rule "
                    f"and {spoken(here.get(name))} here; it reads {self.card['reads']}, with the sizes of {home}: "
                    "choose an environment with the same sizes, and leave the sizes of networks as they are"
                )
        return jax.tree.unflatten(structure, [self.leaves[leaf_name(keys)] for keys, _ in template])


def _fits(own: dict[str, Any] | None, here: dict[str, Any] | None) -> bool:
    """Whether a leaf is as it is here, or in float32 what is in float64 here."""
    widened = own is not None and own["dtype"] == "float32" and here == own | {"dtype": "float64"}
    return own == here or widened


def learned(config: RunConfig, meta_params: Tree, training: Mapping[str, Any]) -> Rule:
    """The rule φ of a run, with a card that says how it was trained."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(meta_params)
    arrays = {leaf_name(keys): np.asarray(leaf, order="C") for keys, leaf in leaves}
    tensors, data = safetensors.numpy.save(arrays), config.to_json()
    card = {
        "format": FORMAT,
        "algorithm": data["algorithm"],
        "reads": config.algorithm.rule_reads or f"what its algorithm says: {config.algorithm.summary}",
        "environment": data["environment"],
        "training": {"preset": config.preset, "seed": config.run.seed, **training},
        "licence": LICENCE,
        "leaves": {name: leaf_form(array) for name, array in arrays.items()},
        "sha256": hashlib.sha256(tensors).hexdigest(),
    }
    return Rule(digest(card), card, tensors)


def is_rule(recipe: Recipe) -> bool:
    """Whether φ is a rule: not empty, and newborn agents do not depend on it."""
    return bool(jax.tree.leaves(meta_shapes(recipe))) and not _inherits(recipe.world.learner)


def meta_shapes(recipe: Recipe) -> Tree:
    """The shapes and dtypes of φ."""
    return jax.eval_shape(recipe.window.world.learner.meta_init, key_of(0))


def check_overrides(config: RunConfig) -> None:
    """Raise a UsageError for an option that was changed from the rule's but matters only while φ is learned."""
    if config.rule is None:
        return
    before = construct(type(config.algorithm), config.rule.options)
    for name in field_names(before):
        now = getattr(config.algorithm, name)
        if now != getattr(before, name):
            rule = f"left at {getattr(before, name)} with this rule: it matters only while φ is learned"
            require(_counts(config, name, getattr(before, name)), name, now, rule)


def _counts(config: RunConfig, option: str, other: Any) -> bool:
    """Whether the lives of agents would differ with another value of the option."""
    program = lambda algorithm: _program(algorithm, config.environment, config.rule)  # noqa: E731
    try:
        changed = dataclasses.replace(config.algorithm, **{option: other})
        return program(config.algorithm) != program(changed)
    except ValueError:  # it belongs to another option that was changed, or to the shape of φ
        return True


@once
def _program(algorithm: Algorithm, environment: Environment, rule: Rule) -> str:
    """The text of a meta-step's program."""
    learner, key = learner_of(algorithm, environment, rule), key_of(0)
    return jax.jit(learner.step).lower(jax.eval_shape(learner.init, key), key).as_text()


def _inherits(learner: Learner) -> bool:
    """Whether newborn agents depend on φ, by the flow of data through `birth`."""
    key = key_of(0)
    meta_params = jax.eval_shape(learner.meta_init, key)
    program = jax.make_jaxpr(learner.birth)(meta_params, key).jaxpr
    reached = set(program.invars[: len(jax.tree.leaves(meta_params))])
    for equation in program.eqns:
        if any(isinstance(x, Var) and x in reached for x in equation.invars):
            reached |= set(equation.outvars)
    return any(isinstance(x, Var) and x in reached for x in program.outvars)
