"""An experiment is one YAML in configs/experiment: the authors' setting, its grid, and under `recipe` one line about
what it shows, its scales, its figures, its caption, and the experiments that must be finished before it.

A scale is a list of overrides. Overrides on the command line win over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from ncrun.config.compose import compose, parse
from ncrun.config.doors import check_overrides
from ncrun.config.folders import experiment_files
from ncrun.errors import UserError, nearest

SCALES = ("cpu", "real", "paper")


@dataclass(frozen=True)
class Recipe:
    """grid: values of each swept key, as after -m. cases: lists of overrides, for runs that are not a product of
    values; each case is trained on the whole grid. scales: by name, the overrides of each; its `grid` changes the grid,
    its `cases` are added. figures: keys of drawings, the main one first. caption: its words, and how the setting at
    scale paper relates to the paper. core: its place in the core set, which is drawn without names; None if it is not
    in it.
    """

    name: str
    grid: Mapping[str, Any]
    scales: Mapping[str, Mapping[str, Any]]
    figures: tuple[str, ...] = ()
    caption: Mapping[str, str] | None = None
    needs: tuple[str, ...] = ()
    core: int | None = None
    cases: tuple[Mapping[str, Any], ...] = ({},)

    def scale(self, wanted: str) -> str:
        """The scale by its name; an experiment without scales is small and the same at each.

        Raises UserError for a scale that this experiment does not have.
        """
        choices = list(self.scales) or list(SCALES)
        if wanted in choices:
            return wanted if self.scales else "paper"
        if wanted in SCALES:
            raise UserError(f"scale={wanted}: {self.name} has only {', '.join(sorted(choices))}")
        raise UserError(f"scale={wanted}: not one of {', '.join(choices)}{nearest(wanted, choices)}")

    def grids_at(self, scale: str) -> list[list[str]]:
        """The grid at a scale as overrides, once for each case."""
        grid = {**self.grid, **(self.scales.get(scale, {}).get("grid") or {})}
        typed = [f"{key}={values}" for key, values in grid.items()]
        cases = [*self.cases, *(self.scales.get(scale, {}).get("cases") or [])]
        return [[*typed, *as_typed(case)] for case in cases]


@cache
def recipe(experiment: str) -> Recipe:
    """Raises UserError for an unknown experiment or an invalid recipe."""
    composed = compose([f"experiment={experiment}"])
    grid = composed.hydra.sweeper.params or {}
    found = OmegaConf.to_container(composed.recipe) if isinstance(composed.recipe, DictConfig) else {}
    assert isinstance(found, dict)
    parts: dict[str, Any] = {str(key): value for key, value in found.items()}
    known = ("shows", "scales", "figures", "caption", "needs", "core", "cases")
    for key in parts:
        if key not in known:
            raise UserError(
                f"experiment={experiment}: recipe.{key}: not one of {', '.join(known)}{nearest(key, known)}"
            )
    scales = parts.get("scales") or {}
    if not isinstance(scales, dict) or not all(isinstance(each, dict | None) for each in scales.values()):
        raise UserError(f"experiment={experiment}: recipe.scales: must map the name of each scale to its overrides")
    cases = parts.get("cases") or [{}]
    in_scales = {
        f"scales.{name}.cases": changes["cases"] for name, changes in scales.items() if "cases" in (changes or {})
    }
    for key, each in {"cases": cases, **in_scales}.items():
        if not isinstance(each, list) or not all(isinstance(case, dict) for case in each):
            raise UserError(f"experiment={experiment}: recipe.{key}: must map keys to values")
    return Recipe(
        experiment,
        {str(key): values for key, values in grid.items()},
        {name: changes for name, changes in scales.items() if changes is not None},
        tuple(parts.get("figures") or ()),
        parts.get("caption"),
        tuple(parts.get("needs") or ()),
        parts.get("core"),
        tuple(cases),
    )


def own_recipes() -> dict[str, dict[str, Any]]:
    """The `recipe` of each experiment's own file, without inherited entries: fast for all of them.

    Files that are not valid YAML are skipped; composing them reports the error."""
    found: dict[str, dict[str, Any]] = {}
    for name, path in experiment_files().items():
        try:
            tree = yaml.safe_load(path.read_bytes())
        except (OSError, ValueError, yaml.YAMLError):
            continue
        own = tree.get("recipe") if isinstance(tree, dict) else None
        found[name] = own if isinstance(own, dict) else {}
    return found


def with_scale(typed: Sequence[str]) -> list[str]:
    """The overrides of the given experiment's scale, followed by those of the command line. Raises UserError.

    A data set on the command line replaces the scale's with all its keys.
    """
    check_overrides(typed)
    chosen = last_values(typed, ("experiment", "scale", "dataset"))
    if chosen.get("experiment") in (None, "null"):
        return list(typed)
    found = recipe(chosen["experiment"])
    changes = found.scales.get(found.scale(chosen.get("scale", "paper")), {})
    if "dataset" in chosen:
        changes = {key: value for key, value in changes.items() if key.split(".")[0] != "dataset"}
    added = as_typed({key: value for key, value in changes.items() if key not in ("grid", "cases")})
    check_overrides(added)
    return [*added, *typed]


def last_values(typed: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """The last given value of each of some keys."""
    relevant = [each for each in typed if each.lstrip("+").split("=", 1)[0] in keys]
    return {override.key_or_group: override.get_value_element_as_str() for override in parse(relevant)}


def as_typed(overrides: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_typed(value)}" for key, value in overrides.items()]


def _typed(value: Any) -> str:
    """A value as an override writes it."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)
