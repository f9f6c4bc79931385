"""Configurations that Hydra composes from overrides."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ncrun.config.explain import explain
from ncrun.config.folders import config_directory
from ncrun.errors import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def read_flags(arguments: Sequence[str]) -> "Namespace":
    """Flags and overrides as Hydra's parser reads them; raises UserError for an unknown flag, without a usage text."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(arguments))


def compose(overrides: Sequence[str]) -> "DictConfig":
    """The configuration of these overrides, its `hydra` node included. Raises UserError."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from ncrun.config.store import store_choices

    store_choices()
    # Inside a sweep Hydra is initialised already, and it holds one configuration at a time.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
            return hydra.compose("train", list(overrides), return_hydra_config=True)
    except Exception as error:
        raise explain(error, composing=True) from error
    finally:
        GlobalHydra.instance().hydra = outer


def parse(overrides: Sequence[str]) -> "list[Override]":
    """Overrides, parsed by Hydra's grammar. Raises UserError for anything else."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except Exception as error:
        raise explain(error, composing=True) from error


def refuse_sweeps(typed: Sequence[str], what: str) -> None:
    """Raises UserError if a key has several values. what: the caller, which trains one run."""
    for each in parse(typed):
        if each.is_sweep_override():
            raise UserError(f"{each.input_line}: several values make a sweep, but {what} trains one run")
