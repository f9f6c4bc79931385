"""`make gpu`: uses an hour on a GPU, the most valuable work first: tests, speeds, the papers' runs, and an archive.

    python scripts/gpu_hour.py [--minutes 60] [--parts tests,speed,runs,archive] [--out gpu-hour]
    python scripts/gpu_hour.py --plan            the plan, and the least time of each run
    python scripts/gpu_hour.py --from records.zip    continue the work of another machine
    python scripts/gpu_hour.py --rehearse        everything at tiny sizes on a CPU

Nothing is downloaded: data come from $NCRUN_DATA (scripts/pack_data.py packs them), and a run without data is skipped.
Every part is limited to a share of the minutes. The same command continues what a limit stopped: tests from the
beginning, speed at the next row, runs at their checkpoints. See docs/gpu.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import gpu_archive
import torch
from gpu_cost import Peaks, measure_peaks, peaks_lines, readable
from gpu_runs import TimeIsUp, Trainer, best_at_once, candidates, table, time_limit
from gpu_speed import WORKLOADS, as_table, entries

from ncrun.errors import UserError
from ncrun.records.files import write_aside

ROOT = Path(__file__).resolve().parents[1]
# The largest share of the minutes for a part; runs get the rest.
SHARES = {"tests": 0.15, "speed": 0.25, "runs": 1.0, "archive": 0.05}
# Parts that are not repeated once they are finished; each run knows by itself whether it is finished.
ONCE = ("tests", "speed")
# Seconds for trying small runs at once; in a rehearsal as short as possible.
TRIAL_SECONDS = 8.0


class Hour:
    """One call of the script. Its folder is the working directory meanwhile, because run directories are relative to
    it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rehearse: bool = options.rehearse
        self.minutes: float = options.minutes
        self.began = time.monotonic()
        on_gpu = torch.cuda.is_available() and not self.rehearse
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.state: dict[str, Any] = _read("state.json")
        self.peaks = self._peaks()
        self.found = candidates(options.more, self.rehearse, options.only)

    @property
    def left(self) -> float:
        """The remaining seconds, without those reserved for packing."""
        return self.minutes * 60 * (1 - SHARES["archive"]) - (time.monotonic() - self.began)

    def _peaks(self) -> Peaks:
        """The peaks, from an earlier measurement on this device if there is one."""
        known = _read("peaks.json")
        here = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        if known.get("device") != here:
            known = asdict(measure_peaks(self.device))
            _write("peaks.json", known)
        return Peaks(**known)

    def keep(self, **changes: Any) -> None:
        """Stores the state for the next call."""
        self.state |= changes
        _write("state.json", self.state)

    def limit(self, part: str) -> float:
        """The seconds for a part."""
        return min(self.left, self.minutes * 60 * SHARES[part])

    def show_plan(self) -> None:
        """Prints the planned parts, and the expected time of each run."""
        for line in peaks_lines(self.peaks):
            tell(line)
        for part in self.options.parts:
            limit = "what is left" if part == "runs" else f"at most {readable(self.minutes * 60 * SHARES[part])}"
            tell(f"part {part}: {'done' if part in self.state.get('parts', []) else limit}")
        slower = self.state.get("slower", 1.0)
        tell(f"runs, those of most worth first; so far they took {slower:.2g} times what is predicted at least")
        for line in table(self.found, self.peaks, slower):
            print(line, flush=True)
        todo = [each for each in self.found if not each.done and not each.reason]
        tell(f"{len(todo)} runs to do, {readable(sum(each.seconds(self.peaks) for each in todo))} at least one by one")

    def tests(self) -> bool:
        """pytest -m gpu."""
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--durations=10"]
        command += ["--continue-on-collection-errors"]  # an unreadable file does not affect the others
        command += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests")]
        with Path("tests.txt").open("w") as file:
            status = _within(self.limit("tests"), command, file)
        tail = Path("tests.txt").read_text().splitlines()
        for line in [each for each in tail if each.startswith(("FAILED", "ERROR"))] + tail[-1:]:
            tell(line)
        return status is not None

    def speed(self) -> bool:
        """Every workload in a separate process, so that a failing one does not affect the others."""
        until, ended = time.monotonic() + self.limit("speed"), True
        tiny = ["--device", "cpu", "--tiny"] if self.rehearse else []
        for name in WORKLOADS:
            command = [sys.executable, str(ROOT / "scripts/gpu_speed.py"), name, "--out", ".", *tiny]
            status = _within(until - time.monotonic(), command)
            if status != 0:
                tell(f"speed of {name}: {'its time is over' if status is None else f'exit status {status}'}")
            ended &= status is not None
        found = entries(Path())
        if found:
            Path("speed.md").write_text(as_table(found, self.peaks))
        return ended

    def runs(self) -> bool:
        """Trains the runs that fit, the most valuable first."""
        waiting = [each for each in self.found if not each.done and not each.reason]
        if waiting and "at_once" not in self.state:
            trial = 0.0 if self.rehearse else TRIAL_SECONDS
            self.keep(at_once=self.options.at_once or best_at_once(waiting, self.peaks, trial, tell))
            tell(f"{self.state['at_once']} small runs at once")
        trainer = Trainer(self.peaks, self.state.get("at_once", 1), self.state.get("slower", 1.0), tell)
        failed = trainer.train(self.found, self.left)
        self.keep(slower=trainer.slower)
        if failed:
            tell(f"{failed} runs failed; the same command tries them again")
        return all(each.done or each.reason for each in self.found)

    def archive(self) -> bool:
        """Packs records and draws figures; every call packs again."""
        done = [each.job.job.directory for each in self.found if each.done]
        archive, left_out = gpu_archive.pack(Path(), done)
        tell(f"{archive}: {len(done) - len(left_out)} runs, {archive.stat().st_size / 2**20:.2f} MiB")
        for directory in left_out:
            tell(f"left out, because the archive would be larger than 16 MB: {directory}")
        try:
            with time_limit(self.left + SHARES["archive"] * self.minutes * 60):
                return gpu_archive.draw("cpu" if self.rehearse else "paper") == 0
        except TimeIsUp:
            tell("the time for drawing is over; `ncrun figures --from` draws anywhere")
            return False


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if every part was finished, 1 if the same command has something to continue."""
    options = _parse(arguments)
    _make_absolute()
    try:
        if not (options.rehearse or options.plan or torch.cuda.is_available()):
            raise UserError("PyTorch finds no CUDA device here; --rehearse tries everything at tiny sizes on the CPU")
        archive = None if options.source is None else options.source.resolve()
        options.out.mkdir(parents=True, exist_ok=True)
        before = Path.cwd()
        os.chdir(options.out)
        try:
            if archive is not None:
                tell(f"{gpu_archive.take_up(archive, Path())} finished runs of {archive}")
            return _sit(Hour(options))
        finally:
            os.chdir(before)
    except UserError as error:
        print(f"gpu_hour: {error}", file=sys.stderr)
        return 2


def _sit(hour: Hour) -> int:
    hour.show_plan()
    if hour.options.plan:
        return 0
    finished = True
    for part in hour.options.parts:
        done = hour.state.get("parts", [])
        if part in done:
            tell(f"part {part}: done before")
            continue
        if hour.left <= 0 and part != "archive":
            tell(f"part {part}: no time is left")
            finished = False
            continue
        began = time.monotonic()
        ended = getattr(hour, part)()
        tell(f"part {part}: {'done' if ended else 'not finished'} after {readable(time.monotonic() - began)}")
        if ended and part in ONCE:
            hour.keep(parts=[*done, part])
        finished &= ended
    return 0 if finished else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Use an hour on a GPU, the most valuable work first")
    parser.add_argument("--minutes", type=float, default=60, help="time for everything; default: 60")
    parser.add_argument("--parts", default=",".join(SHARES), help=f"any of {','.join(SHARES)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("gpu-hour"), metavar="FOLDER", help="what it leaves")
    parser.add_argument("--from", dest="source", type=Path, metavar="ARCHIVE", help="records.zip of another machine")
    parser.add_argument("--plan", action="store_true", help="measure the peaks, print the plan, and stop")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument(
        "--at-once", type=int, default=0, metavar="N", help="number of small runs at once; default: found by trial"
    )
    parser.add_argument("--only", action="append", default=[], metavar="EXPERIMENT", help="of the runs")
    parser.add_argument("more", nargs="*", metavar="KEY=VALUE", help="for every run, such as precision=tf32")
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    for part in options.parts:
        if part not in SHARES:
            parser.error(f"--parts={part}: not one of {', '.join(SHARES)}")
    if not options.minutes > 0:
        parser.error(f"--minutes={options.minutes:g}: must be more than 0")
    if options.source is not None and not options.source.is_file():
        parser.error(f"--from={options.source}: no such file")
    return options


def _within(seconds: float, command: Sequence[str], output: IO[str] | None = None) -> int | None:
    """The exit status of a command; None if its time ran out. None of its processes is left."""
    if seconds <= 0:
        return None
    errors = None if output is None else subprocess.STDOUT
    process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _make_absolute() -> None:
    """The environment with absolute folders, for programs that start in another one; ncrun is found there even if it is
    not installed."""
    here = [str(Path(each).resolve()) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *here])
    if "NCRUN_DATA" in os.environ:
        os.environ["NCRUN_DATA"] = str(Path(os.environ["NCRUN_DATA"]).resolve())


def tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _read(name: str) -> dict[str, Any]:
    file = Path(name)
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def _write(name: str, content: dict[str, Any]) -> None:
    write_aside(Path(name), lambda file: file.write(json.dumps(content).encode()))


if __name__ == "__main__":
    sys.exit(main())
