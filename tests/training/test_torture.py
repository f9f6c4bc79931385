"""All faults at once: scripts/torture in short."""

import subprocess
import sys
from pathlib import Path


def test_a_little_torture() -> None:
    """scripts/torture.py in short: real processes, real kills, bits compared."""
    script = Path(__file__).parents[2] / "scripts" / "torture.py"
    done = subprocess.run(
        [sys.executable, str(script), "--faults", "12", "--jobs", "1"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all survived" in done.stdout
