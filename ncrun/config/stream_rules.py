"""Whether a run's images may be read as they are needed, in place of being held in memory."""

from typing import Literal

from ncrun.config.data_rules import Samples
from ncrun.config.schema import Settings
from ncrun.config.typed import Typed, is_whole
from ncrun.data.request import DataRequest
from ncrun.errors import UserError

KEYS = ("stream", "stream_cache", "stream_workers")


def streams(given: Settings, typed: Typed, samples: Samples) -> bool | Literal["auto"]:
    """auto: where the machine that trains is too small for them. Raises UserError for stream=true where it cannot be,
    and for keys that have no effect."""
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
            f"dataset={samples.request.source.name} is read as a whole; a dataset=image_folder is not, nor an npz that"
            " numpy.savez wrote (savez_compressed packs it)"
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
        return "a data set with targets in place of classes is held in memory"
    if given.batch_size == "full":
        return "batch_size=full takes all images at once"
    if given.taps:
        return f"taps=[{','.join(given.taps)}] are measured in memory"
    if given.head.relu:
        return "the layers of a ReLU head are measured in memory"
    return None
