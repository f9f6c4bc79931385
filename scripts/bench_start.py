"""Times the start of `ncrun train` in a new process until the first step, beside `import torch`, which every run needs.

    python scripts/bench_start.py [--repeats 5]

Rows: `import torch` alone (the limit); `ncrun train` from Enter to its first step, for an MLP on digits, which
scikit-learn reads, and for free features, which need no data; and a second run in the same process, from the call to
its first step. Figures are drawn later. Each number is the best of the repeats, which alternate between the rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

from bench_timing import machine

LIMIT = "import torch"
RUNS = {
    "an MLP on digits": ["train", "epochs=1", "progress=false"],
    "free features": ["train", "model=ufm", "counts=[20,10,10]", "optimizer=sgd", "epochs=2", "progress=false"],
}
# Arguments: the time of the command, and its overrides. Prints the times of the first step of both runs.
CHILD = """
import json, sys, time
from ncrun.training import optimisers
make, told = optimisers.plain_step, []
def timed(optimiser):
    told.append(0.0)
    step = make(optimiser)
    def take():
        told[-1] = told[-1] or time.time()
        step()
    return take
optimisers.plain_step = timed
from ncrun.cli import run
typed, words = float(sys.argv[1]), json.loads(sys.argv[2])
run([*words, "run_dir=first"])
again = time.time()
run([*words, "run_dir=second"])
print(json.dumps([told[0] - typed, told[1] - again]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the first step of a run")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        began = time.time()
        subprocess.run([sys.executable, "-c", LIMIT], check=True)
        found[LIMIT].append(time.time() - began)
        for name, words in RUNS.items():
            first, second = _first_steps(words)
            found[name].append(first)
            found[f"{name}, a second run"].append(second)
    limit = min(found[LIMIT])
    print("| from Enter to the first step | best | times `import torch` |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {min(seconds):.2f} s | {min(seconds) / limit:.2f} |")
    print("\n" + "; ".join(f"{key}: {value}" for key, value in machine().items()) + f"; the best of {repeats}")


def _first_steps(words: list[str]) -> list[float]:
    """Seconds to the first step of a first and a second run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CHILD, str(time.time()), json.dumps(words)]
        done = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


if __name__ == "__main__":
    main()
