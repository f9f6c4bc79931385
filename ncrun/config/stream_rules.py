"""Whether a run reads its images when they are needed instead of holding them in memory."""

from typing import Literal

from ncrun.config.data_rules import Samples
from ncrun.config.schema import Settings
from ncrun.config.typed import Typed, is_whole
from ncrun.data.request import DataRequest
from ncrun.errors import UserError

KEYS = ("stream", "stream_cache", "stream_workers")


def streams(given: Settings, typed: Typed, samples: Samples) -> bool | Literal["auto"]:
    """auto: yes if the images do not fit into the memory of the training machine. Raises UserError if stream=true is
    not possible, and for keys without effect."""
    _check_values(given)
    if not isinstance(samples.request, DataRequest):
        for key in KEYS:
            typed.refuse(key, f"model={given.model.name} has no images")
        return False
    if given.stream is False:
        for key in KEYS[1:]:
            typed.refuse(key, "stream=false holds all images in memory")
        return False
    reason = _obstacle(given, samples)
    if given.stream == "auto":
        return False if reason else "auto"
    if reason is None and samples.request.source.stored(samples.request.folder) is None:
        reason = (
            f"dataset={samples.request.source.name} can only be read as a whole; dataset=image_folder can be streamed,"
            " and an npz from numpy.savez (not savez_compressed)"
        )
    if reason is not None:
        raise UserError(f"stream=true: {reason}")
    return True


def _check_values(given: Settings) -> None:
    if given.stream not in ("auto", True, False):
        raise UserError(f"stream={given.stream}: must be auto, true or false")
    if given.stream_workers != "auto" and not is_whole(given.stream_workers):
        raise UserError(f"stream_workers={given.stream_workers}: must be auto or a whole number")
    cache = given.stream_cache
    if cache != "auto" and (isinstance(cache, bool) or not isinstance(cache, int | float)):
        raise UserError(f"stream_cache={cache}: must be auto or a number of gigabytes")


def _obstacle(given: Settings, samples: Samples) -> str | None:
    if samples.targets is not None:
        return "a data set with targets is held in memory"
    if given.batch_size == "full":
        return "batch_size=full needs all images at once"
    if given.taps:
        return f"taps=[{','.join(given.taps)}] need all images in memory"
    if given.head.relu:
        return "a ReLU head needs all images in memory"
    return None
