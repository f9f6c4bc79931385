"""Whether a run's images fit into memory, and the memory for streaming if they do not."""

import torch

from ncrun.data.request import DataRequest
from ncrun.data.streamed import Streaming
from ncrun.memory import machine_memory
from ncrun.run import Run
from ncrun.training.cores import default_threads
from ncrun.training.launched import number_here

GIGABYTE = 1e9
# The share of the memory for images: in the training's dtype, plus the bytes of the source, which exist twice while
# samples are chosen. Larger data are streamed.
LARGEST_SHARE = 0.5
RAW_COPIES = 2
# The share of the memory for streamed images, and of the device's for their features while they are measured.
CACHE_SHARE, FEATURE_SHARE = 0.25, 0.125


def streaming_of(run: Run, device: torch.device) -> Streaming | None:
    """None: the images are held in memory."""
    machine, request = run.machine, run.data
    if machine.stream is False or not isinstance(request, DataRequest):
        return None
    if machine.stream == "auto" and (fits(run, device) or request.source.stored(request.folder) is None):
        return None
    cache = CACHE_SHARE * machine_memory() if machine.stream_cache == "auto" else machine.stream_cache * GIGABYTE
    workers = default_threads() if machine.stream_workers == "auto" else machine.stream_workers
    return Streaming(int(cache / number_here()), workers, int(FEATURE_SHARE * device_memory(device)))


def fits(run: Run, device: torch.device) -> bool:
    """Whether each process that torchrun started here can make the training images in memory and hold them on the
    device."""
    numbers, size = data_numbers(run), int(getattr(torch, run.descent.dtype).itemsize)
    if device.type == "cuda" and numbers * size > LARGEST_SHARE * device_memory(device):
        return False
    here = RAW_COPIES + (size if device.type == "cpu" else 0)
    return number_here() * numbers * here <= LARGEST_SHARE * machine_memory()


def data_numbers(run: Run) -> int:
    """Numbers in the training set as the network's input."""
    if not isinstance(run.data, DataRequest):
        return 0
    channels, height, width = run.data.image_shape
    return run.data.num_samples * channels * height * width


def device_memory(device: torch.device) -> float:
    """In bytes, used or free."""
    return float(torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else machine_memory()
