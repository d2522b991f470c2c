"""A learned rule on disk: a `.safetensors` file and a JSON card, which are checked as experiment/sealed.py says."""

import shutil
from pathlib import Path

from metarl_jax.experiment import sealed
from metarl_jax.experiment.files import sync
from metarl_jax.experiment.rule import FORMAT, Rule
from metarl_jax.experiment.sealed import CARD, Card

TENSORS = "meta_params.safetensors"
KIND = sealed.Kind("a learned rule", f"{CARD} and {TENSORS}", "metarl train", "metarl resume", FORMAT)


def write(rule: Rule, folder: Path) -> None:
    """Write card and tensors into `folder`, which replaces an earlier rule as a whole."""
    draft = sealed.draft(folder, {TENSORS: rule.tensors, CARD: sealed.written(rule.card)})
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync(folder.parent)


def read(folder: Path) -> Rule:
    """The rule in a folder that `write` made.

    Raises:
        UsageError: a file is missing, too large or damaged, or a number is not finite.
    """
    card = sealed.read_card(folder / CARD, KIND, _is_sound)
    tensors = sealed.read_tensors(folder / TENSORS, KIND, card["leaves"], card["sha256"])
    return Rule(card.pop("digest"), card, tensors)


def _is_sound(card: Card) -> bool:
    words = card["sha256"], card["reads"], card["algorithm"]["name"], card["environment"]["name"]
    return sealed.are_words(*words) and sealed.are_forms(card["leaves"])
