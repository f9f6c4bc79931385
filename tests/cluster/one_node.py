"""A Slurm of one node, and sweeps that are submitted to it, for the tests of this folder."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE_S, state

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_one_node.sh"


@dataclass(frozen=True)
class Cluster:
    """environment: lets commands find it."""

    environment: dict[str, str]
    has_accounting: bool

    def call(self, *command: str) -> str:
        """What a command says on stdout."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start_node(self) -> None:
        subprocess.run([SCRIPT, "node"], env=self.environment, check=True)

    def states(self, number: str) -> list[str]:
        """Of a job's tasks in the queue."""
        asked = ["squeue", "--noheader", "--array", "--format=%T", "--jobs", number]
        done = subprocess.run(asked, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    def start_at_once(self, number: str) -> None:
        """Slurm lets a job that is queued again wait for two minutes."""
        self.call("scontrol", "update", f"JobId={number}", "StartTime=now")


def a_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """With accounting or without."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root and Debian's packages")
    folder = f"/tmp/ncrun-slurm-{os.getpid()}"
    port = 20_000 + os.getpid() % 5_000 * 4
    environment = {**os.environ, "NCRUN_SLURM": folder, "NCRUN_SLURM_PORT": str(port)}
    environment["SLURM_CONF"] = f"{folder}/slurm.conf"
    more = ["--accounting"] if request.param else []
    try:
        done = subprocess.run([SCRIPT, "up", *more], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        yield Cluster(environment, request.param)
    finally:
        subprocess.run([SCRIPT, "down"], env=environment, check=False)


@dataclass(frozen=True)
class Sweep:
    """A command line that submits to Slurm."""

    cluster: Cluster
    typed: tuple[str, ...]

    def start(self, *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "ncrun.cli", "train", "-m", *self.typed, "hydra/launcher=slurm", *more]
        return subprocess.Popen(
            command, env=self.cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def submit(self, *more: str) -> tuple[int, str, str]:
        """Its exit status, and what it says on stdout and on stderr."""
        process = self.start(*more)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err


def number_in(out: str) -> str:
    """The id of what was submitted."""
    words = out.split("job array " if "job array " in out else " as job ")[1]
    return words.split()[0].rstrip(",")


def wait_until(met: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < PATIENCE_S / 4, what
        time.sleep(0.2)


def is_training(run: Path) -> bool:
    """Whether it is past its first measurement."""
    metrics = run / "metrics.jsonl"
    return metrics.is_file() and metrics.stat().st_size > 0 and state(run) == "running"


def holder_of_run(run: Path) -> int:
    """The process that trains it."""
    (file,) = run.glob(".lock.*/holder")
    return int(json.loads(file.read_text())["pid"])
