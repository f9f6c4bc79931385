"""A vision transformer from timm by its name, made small by its own arguments, on the digits of 8 x 8 pixels.

    python examples/timm_vit.py [epochs]        (needs timm: pip install 'ncrun[integrations]')

Cells as in a notebook. The first predicts, the second trains, the third shows the first and the last measurement.
"""

# %% The prediction for this network, before training
import subprocess
import sys
from pathlib import Path

import pandas as pd

EPOCHS = sys.argv[1] if len(sys.argv) > 1 else "150"
NCRUN = [sys.executable, "-m", "ncrun.cli"]
NETWORK = [
    "model=module",
    "model.path=timm:vit_tiny_patch16_224",
    "model.args.img_size=8",
    "model.args.patch_size=2",
    "model.args.embed_dim=48",
    "model.args.depth=3",
    "model.args.num_heads=4",
    "classes=[0,1,2,3,4]",
]
subprocess.run([*NCRUN, "theory", *NETWORK], check=True)

# %% Training; the outputs of two blocks are measured, too
RUN = Path("runs/timm-vit")
TRAINING = [f"epochs={EPOCHS}", "taps=[blocks.0,blocks.2]", f"run_dir={RUN}"]
subprocess.run([*NCRUN, "train", *NETWORK, *TRAINING], check=True)

# %% The first and the last measured epoch; the curves are in curves.png
metrics = pd.read_json(RUN / "metrics.jsonl", lines=True)
columns = ["epoch", "loss", "nc1", "nc2_w", "nc2_h", "nc3", "tap.blocks.0.nc1", "tap.blocks.2.nc1", "test_accuracy"]
print(metrics[columns].iloc[[0, -1]].to_string(index=False))
print(RUN / "curves.png")
