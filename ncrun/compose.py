"""Hydra's errors in one line, and configurations composed outside a `hydra.main`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ncrun.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_flags(arguments: Sequence[str]) -> None:
    """Let Hydra's own parser read the flags; raises UserError for an unknown one, without argparse's usage text."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(list(arguments))


def typed_dataset_wins(overrides: Sequence[str]) -> list[str]:
    """Add dataset.name=X behind dataset=X, so that a typed data set wins over the one that an experiment's scale names.

    (Hydra does not let a group that is chosen by interpolation, as the scale is, override another group.)
    """
    typed = [f"dataset.name={o.removeprefix('dataset=')}" for o in overrides if o.startswith("dataset=")]
    return [*overrides, *typed]


def compose_run(overrides: Sequence[str]) -> "DictConfig":
    """The configuration of these overrides, its `hydra` node included. Raises UserError."""
    from hydra import compose, initialize_config_dir

    from ncrun.cli import config_directory

    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return compose("train", typed_dataset_wins(overrides), return_hydra_config=True)
    except Exception as error:
        raise explain(error, composing=True) from error


def explain(error: Exception, composing: bool) -> Exception:
    """A UserError that tells a Hydra or OmegaConf exception in one line; any other exception is handed back as it is.

    composing: nothing but composing has happened yet, so that a bare ValueError is Hydra's word on an override, too.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ncrun.config import known_keys, nearest

    ours = isinstance(error, HydraException | OmegaConfBaseException)
    if not ours and not (composing and type(error) is ValueError):
        return error
    message = str(error)
    if match := re.search(r"Could not override '([^']+)'", message):
        key = match[1].rstrip(".")
        if key in known_keys():
            group = key.split(".")[0]
            return UserError(f"{key}: the chosen {group} has no such key")
        return UserError(f"{key}: no such key{nearest(key, known_keys())}")
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", message):
        group, name = match[1], match[2]
        options = group_options(group)
        return UserError(f"{group}={name}: not one of {', '.join(options)}{nearest(name, options)}")
    cause, key = error.__cause__, getattr(error, "full_key", None)
    if key:
        return UserError(f"{key}: {message.splitlines()[0]}")
    detail = f" ({cause})" if cause is not None and str(cause) not in message else ""
    return UserError(f"{message}{detail}")


def has_own_scales(experiment: str) -> bool:
    """Whether an experiment differs between scales."""
    from ncrun.cli import config_directory

    return (config_directory() / "scale" / experiment).is_dir()


def group_options(group: str) -> list[str]:
    """The choices of a config group, those in its sub-folders by their path: dang2023/mlp-imbalanced."""
    from ncrun.cli import config_directory

    folder = config_directory() / group
    depth_one = group == "scale"  # its sub-folders hold what an experiment changes at each scale
    files = folder.glob("*.yaml") if depth_one else folder.rglob("*.yaml")
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in files)
