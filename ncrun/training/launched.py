"""Whether torchrun has started this process, and as which of several, asked without torch."""

import os


def is_one_of_several() -> bool:
    """By the variables that it sets."""
    number = os.environ.get("WORLD_SIZE", "1")
    return "RANK" in os.environ and number.isdecimal() and int(number) > 1


def number_here() -> int:
    """Of the processes that it has started on this machine; 1: it has not."""
    number = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return int(number) if is_one_of_several() and number.isdecimal() and int(number) > 0 else 1


def is_another_than_first() -> bool:
    """Of several, not the one that speaks for all."""
    return is_one_of_several() and os.environ["RANK"] != "0"
