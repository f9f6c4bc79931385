"""Turns Hydra's and OmegaConf's exceptions into one line."""

import re
from dataclasses import fields

from ncrun.config.folders import experiments
from ncrun.config.mistakes import no_such_key, wrong_type
from ncrun.errors import UserError, nearest

# Characters of a part of a message.
LONGEST = 100


def explain(error: Exception, composing: bool) -> Exception:
    """A UserError with one line for an exception of Hydra or OmegaConf; any other exception is returned unchanged.

    composing: only composing has happened so far. Then a ValueError, too, is about an override or a file's bytes, a
    YAMLError about its text, and a RecursionError about a list that contains itself.
    """
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, UserError):
        return error
    ours = isinstance(error, HydraException | OmegaConfBaseException)
    if not ours and not (composing and isinstance(error, ValueError | YAMLError | RecursionError)):
        return error
    if isinstance(error, RecursionError):
        return UserError("the configuration refers to itself, or is nested too deeply")
    if isinstance(error, OverrideParseException):
        return UserError(_unreadable(error.override, error.message))
    message = str(error)
    if match := re.search(r"Could not override '([^']+)'", message):
        return UserError(_unknown(match[1].rstrip(".")))
    if match := re.search(r"Could not delete from config. '([^']+)'", message):
        return UserError(f"{match[1]}: a key can be set, not deleted")
    if match := re.search(r"Ambiguous value for argument '([^']+)'", message):
        return UserError(f"{match[1]}: has several values; -m makes a run of each, [...] makes them a list")
    if match := re.search(r"Could not find '([^'/]+)/([^']+)'", message):
        group, name = match[1], match[2]
        options = _options(group)
        return UserError(f"{group}={name}: not one of {', '.join(options)}{nearest(name, options)}")
    cause, key = error.__cause__, getattr(error, "full_key", None)
    if key:
        return UserError(wrong_type(key, error))
    detail = f" ({cause})" if cause is not None and str(cause) not in message else ""
    return UserError(f"{message}{detail}")


def _unreadable(override: str, message: str) -> str:
    """Words for an override that Hydra's grammar does not allow."""
    if "=" not in override:
        return f"{override[:LONGEST]}: must be KEY=VALUE"
    reason = next(line for line in message.splitlines() if not line.startswith("Error parsing override"))
    return (
        f"{override[:LONGEST]}: cannot be read ({reason[:LONGEST]}); a list needs [...], special characters need quotes"
    )


def _unknown(key: str) -> str:
    """Words for a key that the composed configuration does not have."""
    from ncrun.config.schema import choices, known_keys

    group, _, name = key.partition(".")
    first = name.partition(".")[0]
    having = [choice for choice, spec in choices().get(group, {}).items() if first in {f.name for f in fields(spec)}]
    if key in known_keys() or key.startswith("model.args."):
        return f"{key}: the chosen {group} has no such key; it is a key of {group}={', '.join(having)}"
    return no_such_key(key, known_keys())


def _options(group: str) -> list[str]:
    """The names that a group can take."""
    from hydra.core.config_store import ConfigStore

    if group == "experiment":
        return experiments()
    try:
        return sorted(name.removesuffix(".yaml") for name in ConfigStore.instance().list(group))
    except OSError:
        return []
