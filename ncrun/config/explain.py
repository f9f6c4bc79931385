"""Turns Hydra's and OmegaConf's exceptions into one line."""

import re

from ncrun.config.folders import experiments
from ncrun.errors import UserError, nearest


def explain(error: Exception, composing: bool) -> Exception:
    """A UserError with one line for an exception of Hydra or OmegaConf; any other exception is returned unchanged.

    composing: only composing has happened so far. Then a ValueError, too, is about an override or a file's bytes, a
    YAMLError about its text, and a RecursionError about a list that contains itself.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from ncrun.config.schema import known_keys

    if isinstance(error, UserError):
        return error
    ours = isinstance(error, HydraException | OmegaConfBaseException)
    if not ours and not (composing and isinstance(error, ValueError | YAMLError | RecursionError)):
        return error
    if isinstance(error, RecursionError):
        return UserError("the configuration refers to itself, or is nested too deeply")
    message = str(error)
    if match := re.search(r"Could not override '([^']+)'", message):
        key = match[1].rstrip(".")
        if key in known_keys() or key.startswith("model.args."):
            return UserError(f"{key}: the chosen {key.split('.')[0]} has no such key")
        return UserError(f"{key}: no such key{nearest(key, known_keys())}")
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", message):
        group, name = match[1], match[2]
        options = _options(group)
        return UserError(f"{group}={name}: not one of {', '.join(options)}{nearest(name, options)}")
    cause, key = error.__cause__, getattr(error, "full_key", None)
    if key:
        return UserError(f"{key}: {message.splitlines()[0]}")
    detail = f" ({cause})" if cause is not None and str(cause) not in message else ""
    return UserError(f"{message}{detail}")


def _options(group: str) -> list[str]:
    """The names that a group can take."""
    from hydra.core.config_store import ConfigStore

    if group == "experiment":
        return experiments()
    try:
        return sorted(name.removesuffix(".yaml") for name in ConfigStore.instance().list(group))
    except OSError:
        return []
