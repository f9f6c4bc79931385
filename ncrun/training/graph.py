"""One training step as a CUDA graph: recorded once, then replayed without Python or kernel launches."""

from collections.abc import Callable

import torch
from torch import Tensor

# Steps on a separate stream before the recording, as PyTorch requires: they allocate memory that later steps reuse.
WARM_UP = 3


class GraphedStep:
    """Takes steps like `step`. Its inputs must stay at the same address on the device: parameters and their state do,
    images and labels are copied to a fixed buffer.

    The first steps of a shape, and all steps of another shape (an epoch's last batch), run without the graph.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None], same_batch: bool) -> None:
        """same_batch: whether all steps have the same images and labels."""
        self.step, self.same_batch = step, same_batch
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.images: Tensor | None = None
        self.labels: Tensor | None = None
        self.taken = 0

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        if self.images is None or self.labels is None:
            self.images, self.labels = (images, labels) if self.same_batch else (images.clone(), labels.clone())
        if images.shape != self.images.shape:
            self._beside(images, labels)
            return
        if not self.same_batch:
            self.images.copy_(images)
            self.labels.copy_(labels)
        if self.graph is not None:
            self.graph.replay()
        elif self.taken < WARM_UP:
            self._beside(self.images, self.labels)
            self.taken += 1
        else:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step(self.images, self.labels)
            self.graph.replay()  # recording does not compute

    def _beside(self, images: Tensor, labels: Tensor) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step(images, labels)
        torch.cuda.current_stream().wait_stream(self.stream)
