"""The rules for runs on targets, which are vectors of numbers instead of classes: keys about classes have no effect."""

from dataclasses import fields, replace
from typing import Any

from ncrun.config.schema import Settings
from ncrun.config.typed import Typed
from ncrun.data import SOURCES, Source
from ncrun.data.folder import data_folder
from ncrun.data.request import FreeTargets
from ncrun.errors import UserError
from ncrun.losses import LOSSES

ABOUT_CLASSES = ("imbalance", "imbalance_profile", "class_order", "counts", "classes", "subset")


def without_classes(given: Settings, typed: Typed, source: Source) -> Settings:
    """The settings without the keys about classes. Raises UserError if one is given, and for everything that needs
    classes."""
    held = f"{source.name} holds targets, not classes"
    for key in ABOUT_CLASSES:
        typed.refuse(key, held)
    loss = LOSSES[str(given.loss)]
    if not loss.takes_targets:
        taking = " or ".join(each.key for each in LOSSES if each.takes_targets)
        raise UserError(f"loss={loss.key}: needs classes, but {source.name} holds targets; use loss={taking}")
    for key, value in (
        ("taps", given.taps),
        ("path", given.path),
        ("head.relu", given.head.relu),
        ("head.frozen", given.head.frozen),
    ):
        if value:
            raise UserError(f"{key}={value}: needs classes, but {held}")
    nothing: dict[str, Any] = dict.fromkeys(ABOUT_CLASSES)
    return replace(given, **nothing)


def free_targets(given: Settings, typed: Typed) -> FreeTargets | None:
    """The targets of a data set, if free features are trained on them; None with class counts. Raises UserError."""
    source, name = given.dataset, given.model.name
    if source is None or not source.may_hold_targets:
        return None
    source.check()
    if source.facts.targets is None:
        return None
    unread = ("data_dir", "random_labels", "augment", *_keys_of_images())
    for key in unread:
        typed.refuse(key, f"model={name} uses only the targets of {source.name}")
    if given.loss != "mse":
        raise UserError(f"loss={given.loss}: free features on targets need loss=mse")
    return FreeTargets(source, data_folder(given.data_dir))


def _keys_of_images() -> list[str]:
    return sorted(
        {f"dataset.{f.name}" for source in SOURCES for f in fields(source)} - {"dataset.name", "dataset.path"}
    )
