"""The one exception that ends a command with a single line and exit status 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend; its message is one line that names the key, the value and the choices.

    A ValueError, as Python users expect of a bad argument. So whoever catches the ValueErrors of a library lets this
    one pass first.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # what libraries say may have several lines


def nearest(word: str, choices: Iterable[str]) -> str:
    """'; did you mean X?', or nothing if no choice is near."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""
