"""`make smoke`: one tiny training run by the installed command, its prediction and its figure.

Runs in a temporary folder, without a network and with the included data only. Exit status 0 only if every part works.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = [
    "epochs=60",
    "batch_size=32",
    "model.depth=2",
    "model.width=64",
    "imbalance=0.2",
    "run_dir=run",
    "device=cpu",
    "threads=2",
]


def main() -> int:
    """Trains, predicts and checks the records; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        ncrun = [sys.executable, "-m", "ncrun.cli"]
        subprocess.run([*ncrun, "train", *RUN], cwd=folder, check=True)
        printed = subprocess.run(
            [*ncrun, "theory", "--json", *RUN], cwd=folder, check=True, capture_output=True, text=True
        )
        directory = Path(folder) / "run"
        rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        checks = {
            "every epoch and the initialisation measured": [row["epoch"] for row in rows] == list(range(61)),
            "training error zero": rows[-1]["train_accuracy"] == 1.0,
            "loss never below the proven optimum": all(row["gap"] >= 0 for row in rows),
            "theory.json is what ncrun theory prints": json.loads(printed.stdout)
            == json.loads((directory / "theory.json").read_text()),
            "curves.png drawn": (directory / "curves.png").stat().st_size > 10_000,
        }
    for name, passed in checks.items():
        print(f"{'ok' if passed else 'FAILED'}: {name}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
