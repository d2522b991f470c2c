"""User-defined algorithms and environments, named by their module: `my_module:my_rule`."""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, get_type_hints

from metarl_jax.algorithms.base import Algorithm, Recipe
from metarl_jax.core.checks import nearest
from metarl_jax.core.environment import Environment
from metarl_jax.experiment.errors import UsageError


def is_plugin(name: str) -> bool:
    """Whether a name has the form `module:name`."""
    return ":" in name


def own_algorithm(name: str) -> type[Algorithm]:
    """The algorithm `module:name`: a subclass of `Algorithm`, or a function (environment, *, options) -> recipe.

    Raises:
        UsageError: there is no such module or name, or it is neither of the two.
    """
    found = _found(name)
    if inspect.isclass(found) and issubclass(found, Algorithm):
        return found
    if inspect.isfunction(found):
        return from_function(found)
    raise UsageError(f"{name} is {found!r}; it must be a function from an environment to a Recipe, or an Algorithm")


def own_environment(name: str) -> type[Environment]:
    """The environment `module:name`, a subclass of `Environment`.

    Raises:
        UsageError: there is no such module or name, or it is not such a class.
    """
    found = _found(name)
    if inspect.isclass(found) and issubclass(found, Environment):
        return found
    raise UsageError(f"{name} is {found!r}; it must be a subclass of Environment")


def find_plugin(part: str, name: str) -> None:
    """Raise a UsageError unless there is a user-defined algorithm or environment of that name."""
    (own_algorithm if part == "algorithm" else own_environment)(name)


def check_lies_elsewhere(name: str, folder: Path) -> None:
    """Raise a UsageError if the module of a name would be imported from `folder`, which may come from elsewhere."""
    place = name.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(place) if place.isidentifier() and place not in sys.modules else None
    origins = [] if found is None else [found.origin, *(found.submodule_search_locations or ())]
    if any(origin and Path(origin).resolve().is_relative_to(folder.resolve()) for origin in origins):
        rule = "a run does not bring its own code: move the module out of that folder if you trust it"
        raise UsageError(f"{folder} needs {name}, and the module lies in that folder; {rule}")


def spelled(part: Algorithm | Environment, known: dict[str, Any]) -> str:
    """The name under which a part of a configuration can be found."""
    kind = type(part)
    return part.name if known.get(part.name) is kind else f"{kind.__module__}:{kind.__qualname__}"


@functools.cache
def from_function(rule: Callable[..., Recipe]) -> type[Algorithm]:
    """The algorithm of a function (environment, *, options) -> recipe, with its keywords as options.

    Raises:
        UsageError: an option has no annotation or no default.
    """
    hints = get_type_hints(rule, include_extras=True)
    options = list(inspect.signature(rule).parameters.values())[1:]
    for option in options:
        if option.name not in hints or option.default is option.empty:
            rule_of = "an annotation and a default, as in `inner_lr: float = 0.1`"
            raise UsageError(f"option {option.name!r} of {rule.__qualname__} needs {rule_of}")
    names = [option.name for option in options]

    def recipe(self: Algorithm, environment: Environment) -> Recipe:
        return rule(environment, **{name: getattr(self, name) for name in names})

    fields = [(option.name, hints[option.name], dataclasses.field(default=option.default)) for option in options]
    members: dict[str, Any] = {
        "name": rule.__name__,
        "summary": (inspect.getdoc(rule) or "").split("\n")[0],
        "recipe": recipe,
        "__doc__": inspect.getdoc(rule) or rule.__qualname__,
        "__module__": rule.__module__,
        "__qualname__": rule.__qualname__,
        "__annotations__": {"name": ClassVar[str], "summary": ClassVar[str]},
    }
    bases = (Algorithm,)
    return dataclasses.make_dataclass(rule.__name__, fields, bases=bases, namespace=members, frozen=True, kw_only=True)


def _found(name: str) -> Any:
    place, _, attribute = name.partition(":")
    module = _imported(place)
    if not hasattr(module, attribute):
        raise UsageError(f"{place} has no {attribute!r}{nearest(attribute, vars(module))}")
    return getattr(module, attribute)


def _imported(place: str) -> ModuleType:
    try:
        if not all(part.isidentifier() for part in place.split(".")):
            raise ModuleNotFoundError(name=place)
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place.split(".")[0] and error.name != place:
            raise
        remedy = "run in its folder, or install it"
        raise UsageError(f"there is no module {place!r} to import; {remedy}") from error
