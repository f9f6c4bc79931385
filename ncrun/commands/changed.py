"""What commands that read records say of records that were changed."""

import sys
from collections.abc import Sequence

from ncrun.records.groups import seal_warning
from ncrun.records.read import Record


def warn_of_changed(records: Sequence[Record]) -> None:
    """One line on stderr if a file of these runs is not as it was when the run was finished."""
    warning = seal_warning(records)
    if warning is not None:
        print(f"ncrun: {warning}", file=sys.stderr)
