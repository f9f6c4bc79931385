"""Messages about unknown keys and about values of a wrong type, for which Hydra and OmegaConf have their own words."""

import re
from collections.abc import Sequence

from ncrun.errors import nearest

# By OmegaConf's or Python's name of a type, the values that a key of this type takes.
TAKES = {
    "Integer": "a whole number",
    "int": "a whole number",
    "Float": "a number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
}
# OmegaConf's messages, with the value and its type.
WRONG = (
    re.compile(r"Value '(?P<value>.*)' of type '.*' could not be converted to (?P<type>\w+)"),
    re.compile(r"Value '(?P<value>.*)' is not a valid (?P<type>bool)"),
    re.compile(r"Incompatible value '(?P<value>None)' for field of type '(?P<type>\w+)'"),
)
NO_LIST, NO_WORD, NOT_NULL = "is not a ListConfig, list or tuple", "to string: ", "is not Optional"


def no_such_key(key: str, known: Sequence[str]) -> str:
    """The message about an unknown key, with the nearest key, or with all keys of its group."""
    group, _, name = key.partition(".")
    members = [each for each in known if each.startswith(f"{group}.")]
    hint = nearest(key, known)
    if name and members and not any(f"'{each}'" in hint for each in members):
        hint = f"; the keys of {group} are {', '.join(each.removeprefix(f'{group}.') for each in members)}"
    return f"{key}: no such key{hint}"


def wrong_type(key: str, error: Exception, value: object = None) -> str:
    """The message about OmegaConf's exception for a value of a key. value: for an exception without it."""
    message = str(error).splitlines()[0]
    for pattern in WRONG:
        match = pattern.match(message)
        if match and match["type"] in TAKES:
            given = "null" if match["value"] == "None" else match["value"]
            return f"{key}={given}: must be {TAKES[match['type']]}"
    given = key if value is None else f"{key}={value}"
    for part, must in ((NO_LIST, "must be a list, such as [a,b]"), (NO_WORD, "must be a word")):
        if part in message:
            return f"{given}: {must}"
    if NOT_NULL in message:
        return f"{key}=null: needs a value"
    return f"{key}: {message}"
