"""Whether torchrun started this process, and its rank, without torch."""

import os


def is_one_of_several() -> bool:
    """From the environment variables that torchrun sets."""
    number = os.environ.get("WORLD_SIZE", "1")
    return "RANK" in os.environ and number.isdecimal() and int(number) > 1


def number_here() -> int:
    """The number of processes that torchrun started on this machine; 1 without torchrun."""
    number = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return int(number) if is_one_of_several() and number.isdecimal() and int(number) > 0 else 1


def is_another_than_first() -> bool:
    """Whether this is one of several processes, but not the first, which prints for all."""
    return is_one_of_several() and os.environ["RANK"] != "0"
