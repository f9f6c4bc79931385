"""The warning about changed records, for all commands that read records."""

import sys
from collections.abc import Sequence

from ncrun.records.groups import seal_warning
from ncrun.records.read import Record


def warn_of_changed(records: Sequence[Record]) -> None:
    """Prints one line on stderr if a file of these runs changed after the run finished."""
    warning = seal_warning(records)
    if warning is not None:
        print(f"ncrun: {warning}", file=sys.stderr)
