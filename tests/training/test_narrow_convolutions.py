"""Convolutions of so few channels that PyTorch's own code has been seen to fail on them."""

import subprocess
import sys
from pathlib import Path

# Of every convolution on a CPU: whether the channels of what it is given lie last, which a single pixel or channel
# leaves open.
CODE = """
import sys, torch
from ncrun.cli import run
plain, last = torch.nn.Conv2d.forward, []
def forward(self, x):
    last.append(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous())
    return plain(self, x)
torch.nn.Conv2d.forward = forward
status = run(sys.argv[1:])
sys.exit(status or 3 * any(last) or 4 * (not last))
"""


def test_a_narrow_resnet_on_a_cpu_never_has_its_channels_last(tmp_path: Path) -> None:
    """A strided 1 x 1 convolution of 3 to 6 channels, channels last, overwrites memory that is not its own in PyTorch
    2.15's backward pass and aborts the process ("corrupted size vs. prev_size"): so it is tried in another process."""
    typed = ["train", "model=resnet18", "model.width=0.0625", "dataset.channels=3", "dataset.size=8", "epochs=1"]
    typed += ["counts=[20,20,20,20,10,10,10,5,5,5]", "device=cpu", "progress=false", "run_dir=run"]
    done = subprocess.run([sys.executable, "-c", CODE, *typed], cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0
