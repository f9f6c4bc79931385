"""Hydra's errors in one line, and configurations composed outside a `hydra.main`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ncrun.errors import UserError, nearest

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
    """Add every key of configs/dataset/X.yaml to a typed dataset=X, so that it wins over that of an experiment's scale.

    They stand in front, so that a typed dataset.size=16 wins over them in turn.

    (Hydra does not let a group that is chosen by interpolation, as the scale is, override another group.)
    """
    added = []
    for name in (o.removeprefix("dataset=") for o in overrides if o.startswith("dataset=")):
        if name in group_options("dataset"):  # else Hydra is to say what there is
            added += _keys_of_dataset(name)
    return [*added, *overrides]


def _keys_of_dataset(name: str) -> list[str]:
    from omegaconf import OmegaConf

    from ncrun.cli import config_directory

    keys = OmegaConf.load(config_directory() / "dataset" / f"{name}.yaml")
    return [f"dataset.{key!s}={'null' if value is None else value}" for key, value in keys.items()]


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

    composing: nothing but composing has happened yet, so that a ValueError is Hydra's word on an override, too, or on
    a file's bytes, YAMLError on its text, and RecursionError on a list that holds itself.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from ncrun.config import known_keys

    ours = isinstance(error, HydraException | OmegaConfBaseException)
    if not ours and not (composing and isinstance(error, ValueError | YAMLError | RecursionError)):
        return error
    if isinstance(error, RecursionError):
        return UserError("the configuration refers to itself, or is nested too deeply")
    message = str(error)
    if match := re.search(r"Could not override '([^']+)'", message):
        key = match[1].rstrip(".")
        if key in known_keys():
            group = key.split(".")[0]
            return UserError(f"{key}: the chosen {group} has no such key")
        return UserError(f"{key}: no such key{nearest(key, known_keys())}")
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", message):
        group, name = match[1], match[2]
        if group == "scale" and "/" in name:  # what an experiment changes at a scale
            experiment, name = name.rsplit("/", 1)
            if name in group_options("scale"):
                return UserError(f"scale={name}: {experiment} has none, only {', '.join(own_scales(experiment))}")
        options = group_options(group)
        return UserError(f"{group}={name}: not one of {', '.join(options)}{nearest(name, options)}")
    cause, key = error.__cause__, getattr(error, "full_key", None)
    if key:
        return UserError(f"{key}: {message.splitlines()[0]}")
    detail = f" ({cause})" if cause is not None and str(cause) not in message else ""
    return UserError(f"{message}{detail}")


def own_scales(experiment: str) -> list[str]:
    """The scales at which an experiment differs from what it is otherwise; none if it is small enough for any."""
    from ncrun.cli import config_directory

    return sorted(file.stem for file in (config_directory() / "scale" / experiment).glob("*.yaml"))


def group_options(group: str) -> list[str]:
    """The choices of a config group, those in its sub-folders by their path: dang2023/mlp-imbalanced."""
    from ncrun.cli import config_directory

    folder = config_directory() / group
    depth_one = group == "scale"  # its sub-folders hold what an experiment changes at each scale
    files = folder.glob("*.yaml") if depth_one else folder.rglob("*.yaml")
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in files)
