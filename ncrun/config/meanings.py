"""The meaning of every key, from the schema; for the keys of a choice, from its docstring."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import yaml
from omegaconf import OmegaConf

from ncrun.config.folders import config_directory
from ncrun.config.schema import DecaySettings, HeadSettings, ScheduleSettings, Settings, choices, known_keys
from ncrun.errors import UserError, nearest
from ncrun.trees import leaves

OPENED = {"head": HeadSettings, "decay": DecaySettings, "schedule": ScheduleSettings}


def meaning_of(key: str, choice: Any = None) -> str:
    """One line; "" if there is none, as a user's own key may have. choice: for the keys of a group, the chosen model,
    data set or optimiser."""
    group, dot, name = key.partition(".")
    if choice is None:
        cls, name = (OPENED[group], name) if dot else (Settings, key)
        return next(str(f.metadata.get("meaning", "")) for f in fields(cls) if f.name == name)
    if name == "name":
        return summary_of(choice)
    return next((text for cls in type(choice).__mro__ if (text := _entries(cls).get(name))), "")


def summary_of(choice: Any) -> str:
    """The first sentences of a choice's docstring."""
    return " ".join(inspect.cleandoc(type(choice).__doc__ or "").split("\n\n")[0].split())


def _entries(cls: type) -> dict[str, str]:
    """The entries `key: meaning` or `key, key: meaning` of a docstring. Each begins a line and ends before the next one
    or an empty line."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(cls.__dict__.get("__doc__") or "").splitlines():
        if start := re.match(r"(\w+(?:, \w+)*): (.*)", line):
            names = start[1].split(", ")
            found |= dict.fromkeys(names, start[2])
        elif not line:
            names = []
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def explained(config: dict[str, Any], choice_of: dict[str, Any]) -> str:
    """A configuration as YAML, with the meaning after every key. choice_of: the choice of each group."""
    return "".join(_lines(config, choice_of))


def _lines(config: dict[str, Any], choice_of: dict[str, Any], prefix: str = "") -> Iterator[str]:
    indent, choice = "  " * prefix.count("."), choice_of.get(prefix.partition(".")[0])
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:\n"
            yield from _lines(value, choice_of, f"{prefix}{key}.")
        else:
            words = meaning_of(prefix + key, choice)
            yield f"{indent}{key}: {in_yaml(value)}{f'  # {words}' if words else ''}\n"


def in_yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("\n").removesuffix("\n...")


def defaults() -> dict[str, Any]:
    """The dotted keys of every run, with their values in configs/train.yaml."""
    tree = OmegaConf.to_container(OmegaConf.load(config_directory() / "train.yaml"), resolve=False)
    assert isinstance(tree, dict)
    own = {str(key): value for key, value in tree.items() if key not in ("defaults", "hydra", "recipe")}
    return {"experiment": None, **dict(leaves(own))}


def help_of(word: str) -> str:
    """The text of `ncrun train --help WORD` for a key, or for a group with all its keys. Raises UserError for any other
    word."""
    groups, group = choices(), word.partition(".")[0]
    if word in OPENED:
        keys = [f"{word}.{f.name}" for f in fields(OPENED[word])]
        return "\n".join([f"{word}: {meaning_of(word)}", *map(help_of, keys)])
    if word in groups:
        lines = [f"{word}: {meaning_of(word)}"]
        for choice in groups[word].values():
            lines.append(f"  {word}={choice.name}: {summary_of(choice)}")
            names = [f.name for f in fields(choice) if f.name != "name"]
            lines += [f"    {_with_default(f'{word}.{name}', choice)}" for name in names]
        return "\n".join(lines)
    if group in groups:
        by_words: dict[str, list[str]] = {}
        for choice in groups[group].values():
            if word.partition(".")[2] in _names(choice):
                by_words.setdefault(_with_default(word, choice), []).append(choice.name)
        if by_words:
            return "\n".join(f"{group}={', '.join(names)}: {words}" for words, names in by_words.items())
    values = defaults()
    if word in values:
        return f"{word}: {_beside(meaning_of(word), values[word])}"
    known = dict.fromkeys([*values, *OPENED, *groups, *known_keys()])
    raise UserError(f"{word}: no such key{nearest(word, known)}")


def _names(choice: Any) -> list[str]:
    return [f.name for f in fields(choice)]


def _with_default(key: str, choice: Any) -> str:
    return f"{key}: {_beside(meaning_of(key, choice), getattr(choice, key.partition('.')[2]))}"


def _beside(words: str, default: Any) -> str:
    """The default, unless the words say it already."""
    if default is None and "default:" in words:
        return words
    return f"{words.removesuffix('.')} (default: {in_yaml(default)})".lstrip()
