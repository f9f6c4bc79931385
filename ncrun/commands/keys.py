"""What keys mean, for `ncrun train --help KEY` and `--cfg job`."""

from collections.abc import Sequence

from ncrun.config import extensions, resolve
from ncrun.config.compose import compose
from ncrun.config.experiments import with_scale
from ncrun.config.meanings import explained, help_of
from ncrun.config.schema import choices


def asked_for(arguments: Sequence[str]) -> list[str]:
    """The keys whose help is asked for; none without --help, or where it is asked for the command."""
    if not any(word in ("-h", "--help") for word in arguments):
        return []
    return [word for word in arguments if not word.startswith("-") and "=" not in word]


def print_help(keys: Sequence[str], arguments: Sequence[str]) -> int:
    """What each key means, its default, and of a group its choices; returns the exit status. Raises UserError."""
    extensions.extended([word for word in arguments if word.lstrip("+").startswith("extend=")])
    print("\n".join(map(help_of, keys)))
    return 0


def print_configuration(typed: Sequence[str]) -> int:
    """Every key with the value that a run has, what was left out filled in, and what it means, as YAML; returns the
    exit status. Raises UserError for a configuration that cannot be trained."""
    config = resolve(compose(with_scale(typed)), typed).config
    chosen = {group: of[config[group]["name"]] for group, of in choices().items() if config[group] is not None}
    print(explained(config, chosen), end="")
    return 0
