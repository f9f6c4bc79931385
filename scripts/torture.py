"""Break runs in every way that a shared machine knows, continue them, and compare them bit by bit with whole ones.

    python scripts/torture.py [--kills N] [--jobs N] [--seed N] [--only NAME]

Real trainings run as processes, forked from one that has PyTorch loaded. They are killed (SIGKILL) at random moments
and at random file operations, in the middle of a write too; stopped by signals; their disks fill up; their
checkpoints and metrics are damaged; and two of them start at once. After every fault the records must be readable and
hold a beginning of the undisturbed run's numbers. Continued to the end, metrics.jsonl (wall times aside) and the last
checkpoint's weights, optimiser and random states must equal the undisturbed run's. Exit status 1 if anything differs.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import errno
import io
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ncrun import cli
from ncrun.compose import compose_run
from ncrun.config import resolve
from ncrun.errors import UserError
from ncrun.records.files import DamagedFile, read_sealed
from ncrun.records.read import read_manifest, read_metrics
from ncrun.training import command, loop

NETWORK = "counts=[8,8,8,6,6,6,4,4,4,3] model.width=10 epochs=10 threads=1"
FREE = "counts=[6,4,2] model.width=5 decay.weight=2e-2 decay.feature=1e-2"
SCENARIOS = {
    "sgd": f"{NETWORK} model.depth=1 optimizer=sgd optimizer.lr=0.02 batch_size=9",
    "momentum, BatchNorm": f"{NETWORK} model.depth=2 model.batch_norm=true optimizer=sgd optimizer.lr=0.02"
    " optimizer.momentum=0.9 batch_size=16 schedule.drops=[0.5]",
    "adam, random labels": f"{NETWORK} model.depth=1 batch_size=13 random_labels=0.5 loss=ce head.depth=2",
    "adam, augmented": f"{NETWORK} model.depth=1 batch_size=16 augment=[crop,flip]",
    "adam, full batch": f"{NETWORK} model.depth=1 batch_size=full epochs=80 measure=7",
    "deep linear, float64": f"{NETWORK} model=deep_linear batch_size=20 dtype=float64 head.bias=true head.depth=3",
    "ResNet18": "model=resnet18 model.width=0.05 counts=[3,3,3,3,3,3,2,2,2,2] epochs=3 batch_size=7 threads=1",
    "free, momentum": f"{FREE} model=ufm head.depth=2 optimizer=sgd optimizer.lr=0.3 optimizer.momentum=0.9 epochs=300",
    "free, adam": f"{FREE} model=ufm_relu optimizer=adam optimizer.lr=0.05 epochs=300",
    "free, restarts": f"{FREE} model=dufm optimizer=sgd optimizer.lr=0.3 restarts=3 epochs=150",
    "free, L-BFGS": f"{FREE} model=ufm_relu",
    "free, L-BFGS path": f"{FREE} model=ufm path=[1,2,3,2]",
}
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
LONGEST_S = 120.0


class Deviation(Exception):
    """Something is not as it has to be; the message says what."""


# ---------------------------------------------------------------- faults inside a training


class Fault:
    """At the n-th file operation: "kill" dies of SIGKILL, in a write after half of it; "full" is a disk that is full
    from then on; "broken" is one error of the device."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind = kind
        self.left = at

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0 or (self.left < 0 and self.kind == "full")

    def strike(self, takes_space: bool) -> None:
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "broken":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if takes_space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def install(fault: Fault) -> None:
    """Route this process's file operations through a fault."""
    opened = Path.open

    class Watched(io.FileIO):
        def write(self, data: Any) -> int:
            if fault.due():
                super().write(memoryview(data)[: len(data) // 2])
                fault.strike(takes_space=True)
            return super().write(data)

    def watched_open(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if mode not in ("wb", "ab"):
            return opened(self, mode, *rest, **more)
        if fault.due():
            fault.strike(takes_space=mode == "wb")
        return Watched(self, mode)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def routed(*arguments: Any, **more: Any) -> Any:
            if fault.due():
                fault.strike(takes_space=False)
            return call(*arguments, **more)

        return routed

    Path.open = watched_open  # type: ignore[method-assign]
    for name in ("replace", "fsync", "truncate", "unlink"):
        setattr(os, name, watched(getattr(os, name)))


# ---------------------------------------------------------------- trainings as processes


@dataclass
class Ended:
    """How a process ended: its exit status (negative: the signal that killed it) and what it said on stderr."""

    status: int
    said: str


class Training:
    """`ncrun train` in a process of its own. every: seconds between checkpoints."""

    def __init__(self, scenario: str, directory: Path, every: float, fault: Fault | None = None) -> None:
        self.directory = directory
        self._log = directory.with_name(f"{directory.name}.{time.monotonic_ns()}.log")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._train(scenario, every, fault)

    def _train(self, scenario: str, every: float, fault: Fault | None) -> None:
        status = 70
        try:
            with self._log.open("wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            for each in (*STOPS, signal.SIGCHLD):
                signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
            loop.CHECKPOINT_SECONDS = every
            command.draw = lambda records: True  # a picture takes two seconds and no part in this
            if fault is not None:
                install(fault)
            status = cli.run(["train", *SCENARIOS[scenario].split(), f"run_dir={self.directory}"])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait_until_it_holds_its_folder(self) -> bool:
        """False if it ended before."""
        began = time.monotonic()
        while not self._holds():
            if self._has_ended():
                return False
            if time.monotonic() - began > LONGEST_S:
                self.kill()
                raise Deviation("hangs")
            time.sleep(0.001)
        return True

    def _holds(self) -> bool:
        try:
            return bool(json.loads((self.directory / ".lock").read_bytes())["pid"] == self.pid)
        except (OSError, ValueError):
            return False

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def end(self) -> Ended:
        """Wait for it. Raises Deviation if it hangs or tells its user a traceback."""
        began = time.monotonic()
        while not self._has_ended():
            if time.monotonic() - began > LONGEST_S:
                self.kill()
                os.waitpid(self.pid, 0)
                raise Deviation("hangs")
            time.sleep(0.001)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        said = self._log.read_text(errors="replace")
        self._log.unlink()
        if "Traceback" in said:
            raise Deviation(f"a traceback:\n{said}")
        return Ended(status, said)


# ---------------------------------------------------------------- what a run left behind


def members(directory: Path) -> list[Path]:
    """The run itself, or its restarts."""
    return sorted(directory.glob("seed-*")) or [directory]


def rows(directory: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, without wall times."""
    content = (directory / "metrics.jsonl").read_bytes()
    lines = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def final_state(directory: Path) -> dict[str, Any]:
    """The last checkpoint without wall times and without what only vouches for it."""
    state: dict[str, Any] = torch.load(io.BytesIO(read_sealed(directory / "checkpoint.pt")), weights_only=True)
    progress = {key: value for key, value in state["progress"].items() if "seconds" not in key}
    return {**{key: state[key] for key in ("network", "optimiser", "generator", "random")}, "progress": progress}


def same(a: Any, b: Any) -> bool:
    """Equality to the bit of nested containers of tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def compare(directory: Path, straight: Path) -> None:
    """Raises Deviation unless a finished run equals the undisturbed one."""
    for ours, theirs in zip(members(directory), members(straight), strict=True):
        manifest = read_manifest(ours)
        if manifest is None or manifest["state"] != "done":
            raise Deviation("ended with status 0 and is not done")
        if rows(ours) != rows(theirs):
            raise Deviation("other metrics than the undisturbed run")
        if not same(final_state(ours), final_state(theirs)):
            raise Deviation("another final state than the undisturbed run")
        for name in ("geometry.json", "theory.json"):
            if (ours / name).read_bytes() != (theirs / name).read_bytes():
                raise Deviation(f"another {name} than the undisturbed run")
    if not same(final_state(directory), final_state(straight)):
        raise Deviation("another final state of all restarts than the undisturbed run")


def check_remains(directory: Path, straight: Path) -> None:
    """Raises Deviation unless what a fault left is readable and a beginning of the undisturbed run."""
    for theirs in members(straight):
        ours = directory if theirs == straight else directory / theirs.name
        try:
            read_manifest(ours)
            read_metrics(ours)
        except UserError as error:
            raise Deviation(f"unreadable: {error}") from error
        if (ours / "metrics.jsonl").is_file():
            found = rows(ours)
            if found != rows(theirs)[: len(found)]:
                raise Deviation("rows that the undisturbed run has not")


# ---------------------------------------------------------------- one cycle: faults until the run is complete


@dataclass
class Cycle:
    """A run that is disturbed so many times in each way, and then continued to its end."""

    scenario: str
    seed: int
    kills: int
    others: Sequence[str]
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    deviations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = self.folder / f"{list(SCENARIOS).index(self.scenario)}-{self.seed}"
        self.straight = straight_of(self.scenario, self.folder)
        self.random = random.Random(f"{self.scenario} {self.seed}")

    def play(self) -> "Cycle":
        """Raises nothing: what deviates is noted."""
        plan = ["kill"] * self.kills + list(self.others)
        self.random.shuffle(plan)
        try:
            span, operations = self._measure()
            for what in plan:
                {
                    "kill": lambda: self._kill(span, operations),
                    "stop": lambda: self._stop(span),
                    "full": lambda: self._fail("full", operations),
                    "broken": lambda: self._fail("broken", operations),
                    "damage": self._damage,
                    "twice": self._twice,
                }[what]()
            self._complete()
        except (Deviation, DamagedFile, UserError, OSError) as error:
            self.deviations.append(f"{self.scenario}, seed {self.seed}, {dict(self.counts)}: {error}")
        return self

    def _measure(self) -> tuple[float, int]:
        """Seconds that a training takes once it holds its folder, and the number of its file operations, about."""
        notes = json.loads((self.straight / "torture.json").read_text())
        return notes["span"], notes["operations"]

    def _train(self, fault: Fault | None = None) -> Training:
        return Training(self.scenario, self.directory, self.random.choice([0.0, 0.0, 0.02, 30.0]), fault)

    def _kill(self, span: float, operations: int) -> None:
        """Until a kill has really hit a training that ran."""
        while True:
            if self.random.random() < 0.5:
                training = self._train()
                training.wait_until_it_holds_its_folder()
                time.sleep(self.random.uniform(0, span))
                training.kill()
                kind = "killed at a random moment"
            else:
                training = self._train(Fault("kill", self.random.randint(1, operations)))
                kind = "killed in a file operation"
            ended = training.end()
            check_remains(self.directory, self.straight)
            if ended.status == -signal.SIGKILL:
                self.counts[kind] += 1
                return
            self._ended_early(ended)

    def _stop(self, span: float) -> None:
        while True:
            number = self.random.choice(STOPS)
            training = self._train()
            training.wait_until_it_holds_its_folder()
            time.sleep(self.random.uniform(0.01, 0.7) * span)
            training.kill(number)
            ended = training.end()
            check_remains(self.directory, self.straight)
            if ended.status == 128 + number:
                if _state(self.directory) not in ("interrupted", "done"):
                    raise Deviation(f"state after {number.name}: {_state(self.directory)}")
                self.counts["stopped by a signal"] += 1
                return
            if ended.status not in (0, -number):  # before it listens, and after
                raise Deviation(f"exit status {ended.status} after {number.name}: {ended.said}")
            self._ended_early(ended)

    def _fail(self, kind: str, operations: int) -> None:
        while True:
            ended = self._train(Fault(kind, self.random.randint(1, operations))).end()
            check_remains(self.directory, self.straight)
            if ended.status != 0:
                if ended.status not in (1, 2) or ended.said.count("ncrun: ") not in (1, 2):
                    raise Deviation(f"exit status {ended.status} on a {kind} disk: {ended.said}")
                self.counts["full disk" if kind == "full" else "failing disk"] += 1
                return
            self._ended_early(ended)

    def _ended_early(self, ended: Ended) -> None:
        """It was complete before the fault came: compare it and begin anew."""
        if ended.status == 0:
            self._compare()
            shutil.rmtree(self.directory)
        elif ended.status >= 0:
            raise Deviation(f"exit status {ended.status}: {ended.said}")

    def _damage(self) -> None:
        """Flip, cut or lose bytes of a file of an interrupted run; it has to be noticed, or to do no harm."""
        file = self._file_to_damage()
        content = bytearray(file.read_bytes())
        place = self.random.randrange(len(content))
        how = self.random.choice(["flip", "cut", "zero"])
        if how == "flip":
            content[place] ^= 1 << self.random.randrange(8)
        elif how == "cut":
            del content[place:]
        else:
            content[place:] = bytes(len(content) - place)
        file.write_bytes(content)
        self.counts["damaged metrics" if file.name == "metrics.jsonl" else "damaged checkpoint"] += 1
        before = {each: each.read_bytes() for each in self.directory.rglob("*") if each.is_file()}
        ended = self._train().end()
        if ended.status == 2 and "metrics.jsonl was changed" in ended.said and ended.said.count("\n") == 1:
            after = {each: each.read_bytes() for each in self.directory.rglob("*") if each.is_file()}
            if before != after:
                raise Deviation("a refused run was changed")
            self.counts["  of these refused"] += 1
        elif ended.status == 0:
            newest = self.directory / "checkpoint.pt"
            if file == newest and "L-BFGS" not in self.scenario and "damaged" not in ended.said:
                raise Deviation(f"a damaged checkpoint ({how}) was not reported: {ended.said}")
            self.counts["  of these reported" if ended.said.startswith("ncrun: ") else "  of these without effect"] += 1
            self._compare()
        else:
            raise Deviation(f"exit status {ended.status} with a damaged {file.name}: {ended.said}")
        shutil.rmtree(self.directory)

    def _file_to_damage(self) -> Path:
        """One that a killed run has left, and would read when it continues."""
        names = ["checkpoint.pt", "checkpoint.previous.pt", "metrics.jsonl"]
        while True:
            self._kill(*self._measure())
            files = [file for file in self.directory.rglob("*") if file.name in names and file.stat().st_size]
            if _state(self.directory) == "done":  # the kill came after the last file
                shutil.rmtree(self.directory)
            elif files:
                return self.random.choice(files)

    def _twice(self) -> None:
        trainings = [self._train() for _ in range(2)]
        ends = [training.end() for training in trainings]
        for ended in ends:
            if ended.status not in (0, 2) or (ended.status == 2 and "another process" not in ended.said):
                raise Deviation(f"two at once: exit status {ended.status}: {ended.said}")
        if all(ended.status == 2 for ended in ends):
            raise Deviation("two at once: both refused")
        self.counts["two at once"] += 1
        self._compare()
        shutil.rmtree(self.directory)

    def _complete(self) -> None:
        ended = self._train().end()
        if ended.status != 0:
            raise Deviation(f"exit status {ended.status} of the undisturbed rest: {ended.said}")
        self._compare()
        shutil.rmtree(self.directory)

    def _compare(self) -> None:
        compare(self.directory, self.straight)
        self.counts["compared with the undisturbed run"] += 1


def _state(directory: Path) -> str | None:
    """What the manifest of the run, or of all its restarts, says; None where there is none yet."""
    manifest = read_manifest(directory, "summary.json") or read_manifest(directory)
    return None if manifest is None else str(manifest["state"])


def straight_of(scenario: str, folder: Path) -> Path:
    return folder / f"straight-{list(SCENARIOS).index(scenario)}"


def run_straight(scenario: str, folder: Path) -> Path:
    """The undisturbed run, and beside its records how long it trained and how often it wrote."""
    directory = straight_of(scenario, folder)
    training = Training(scenario, directory, 0.0)
    training.wait_until_it_holds_its_folder()
    began = time.monotonic()
    ended = training.end()
    if ended.status != 0:
        raise Deviation(f"{scenario}: the undisturbed run ended with status {ended.status}: {ended.said}")
    lines = sum(len(rows(member)) for member in members(directory))
    checkpoint = torch.load(io.BytesIO(read_sealed(directory / "checkpoint.pt")), weights_only=True)
    # Each checkpoint is about six operations, each row two, the files of the beginning and the end some forty.
    steps = 0 if checkpoint["optimiser"] is None else checkpoint["progress"]["step"]
    operations = 2 * lines + 6 * min(steps, 60) + 40 * len(members(directory))
    notes = {"span": time.monotonic() - began, "operations": operations}
    (directory / "torture.json").write_text(json.dumps(notes))
    return directory


# ---------------------------------------------------------------- the whole


def plan(kills: int, only: str | None, folder: Path, seed: int) -> list[Cycle]:
    """Cycles of four kills and every other fault over the scenarios, as many as the number of kills asks for."""
    names = [name for name in SCENARIOS if only is None or only in name]
    others = ["stop", "full", "broken", "damage", "damage", "twice"]
    cycles: list[Cycle] = []
    while kills > 0:
        index = len(cycles)
        scenario = names[index % len(names)]
        some = others if kills >= 20 or len(cycles) % 2 else others[:4]
        cycles.append(Cycle(scenario, seed + index // len(names), min(4, kills), some, folder))
        kills -= 4
    return cycles


def play(cycle: Cycle) -> Cycle:
    return cycle.play()


def warm_up() -> None:
    """Load what trainings load late, once, before they are forked."""
    for name in ("torch._dynamo", "sklearn.datasets", "scipy.optimize", "hydra._internal.hydra"):
        import_module(name)
    for typed in SCENARIOS.values():
        resolve(compose_run(typed.split()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=132, help="at least so many SIGKILLs (132)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="cycles side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places of all faults")
    parser.add_argument("--only", help="scenarios whose name contains this")
    arguments = parser.parse_args()
    warm_up()
    began = time.monotonic()
    by_scenario: dict[str, Counter[str]] = {}
    deviations: list[str] = []
    memory = Path("/dev/shm")  # where flushing costs nothing: it does not matter to a process that is killed
    with tempfile.TemporaryDirectory(prefix="ncrun-torture-", dir=memory if memory.is_dir() else None) as scratch:
        folder = Path(scratch)
        cycles = plan(arguments.kills, arguments.only, folder, arguments.seed)
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
            scenarios = dict.fromkeys(cycle.scenario for cycle in cycles)
            for straight in [pool.submit(run_straight, scenario, folder) for scenario in scenarios]:
                straight.result()
            for future in as_completed([pool.submit(play, cycle) for cycle in cycles]):
                cycle = future.result()
                by_scenario.setdefault(cycle.scenario, Counter()).update(cycle.counts)
                deviations += cycle.deviations
                for line in cycle.deviations:
                    print(f"DEVIATION  {line}", flush=True)
    total = sum(by_scenario.values(), Counter())
    kinds = ["killed at a random moment", "killed in a file operation", "stopped by a signal"]
    kinds += ["full disk", "failing disk", "damaged checkpoint", "damaged metrics", "two at once"]
    compared = "compared with the undisturbed run"
    print(f"{'':22}{'kills':>7}{'other faults':>14}{'comparisons':>13}")
    for scenario in [name for name in SCENARIOS if name in by_scenario]:
        found = by_scenario[scenario]
        kills = found[kinds[0]] + found[kinds[1]]
        print(f"{scenario:22}{kills:7}{sum(found[kind] for kind in kinds[2:]):14}{found[compared]:13}")
    print()
    for kind in [*kinds, *sorted(key for key in total if key.startswith("  ")), compared]:
        print(f"{kind:36}{total[kind]:5}")
    kills = total[kinds[0]] + total[kinds[1]]
    print(
        f"\n{kills} kills, all survived" if not deviations else f"\n{len(deviations)} deviations in {kills} kills",
        end="",
    )
    print(f"; {time.monotonic() - began:.0f} s")
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main())
