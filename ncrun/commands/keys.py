"""The meanings of keys, for `ncrun train --help KEY` and `--cfg job`."""

from collections.abc import Sequence

from ncrun.config import extensions, resolve
from ncrun.config.compose import compose
from ncrun.config.experiments import with_scale
from ncrun.config.meanings import explained, help_of
from ncrun.config.schema import choices


def asked_for(arguments: Sequence[str]) -> list[str]:
    """The keys that follow --help; none without --help or if no key follows."""
    if not any(word in ("-h", "--help") for word in arguments):
        return []
    return [word for word in arguments if not word.startswith("-") and "=" not in word]


def print_help(keys: Sequence[str], arguments: Sequence[str]) -> int:
    """Prints each key's meaning and default, and the choices of a group; returns the exit status. Raises UserError."""
    extensions.extended([word for word in arguments if word.lstrip("+").startswith("extend=")])
    print("\n".join(map(help_of, keys)))
    return 0


def print_configuration(typed: Sequence[str]) -> int:
    """Prints every key with its value in the run, defaults filled in, and its meaning, as YAML; returns the exit
    status. Raises UserError for a configuration that cannot be trained."""
    config = resolve(compose(with_scale(typed)), typed).config
    chosen = {group: of[config[group]["name"]] for group, of in choices().items() if config[group] is not None}
    print(explained(config, chosen), end="")
    return 0
