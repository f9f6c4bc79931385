"""A run that is disturbed in every way, continued and compared; for torture.py."""

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torture_processes import (
    COMPLETE,
    SCENARIOS,
    STOPS,
    Deviation,
    Ended,
    Fault,
    Jobs,
    Training,
    fall_silent,
    jobs_of,
)
from torture_records import check_remains, compare, members, state_of

from ncrun.errors import UserError
from ncrun.records.files import DamagedFile


@dataclass
class Cycle:
    """A run that is disturbed several times in each way, and then continued to its end."""

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
        self.jobs: Jobs = ()
        self.random = random.Random(f"{self.scenario} {self.seed}")
        self.complete = COMPLETE.get(self.scenario, 0)

    def play(self) -> "Cycle":
        """Never raises: deviations are noted."""
        plan = ["kill"] * self.kills + list(self.others)
        self.random.shuffle(plan)
        try:
            self.jobs = jobs_of(self.scenario, self.directory)
            span, operations = self._measure()
            faults: dict[str, Callable[[], None]] = {
                "kill": lambda: self._kill(span, operations),
                "stop": lambda: self._stop(span),
                "full": lambda: self._fail("full", operations),
                "broken": lambda: self._fail("broken", operations),
                "damage": self._damage,
                "at once": lambda: self._at_once(self.random.choice([2, 2, 2, 3, 5])),
                "fifty": lambda: self._at_once(50),
                "sleep": lambda: self._sleep(operations),
            }
            for what in plan:
                faults[what]()
            self._complete()
        except (Deviation, DamagedFile, UserError, OSError) as error:
            self.deviations.append(f"{self.scenario}, seed {self.seed}, {dict(self.counts)}: {error}")
        return self

    def _measure(self) -> tuple[float, int]:
        """About the seconds of a training while it holds its folder, and the number of its file operations."""
        notes = json.loads((self.straight / "torture.json").read_text())
        return notes["span"], notes["operations"]

    def _train(self, fault: Fault | None = None, host: str | None = None) -> Training:
        # The last good checkpoint of a diverging run is only the same if it is written at every step.
        every = 0.0 if self.complete else self.random.choice([0.0, 0.0, 0.02, 30.0])
        return Training(self.jobs, self.directory, every, fault, host)

    def _is_complete(self, ended: Ended) -> bool:
        """Whether all runs have ended as they should."""
        found = [state_of(self.directory / run.relative_to(self.straight)) for run in members(self.straight)]
        wanted = [state_of(run) for run in members(self.straight)]
        summarised = (self.directory / "summary.json").is_file() or not (self.straight / "summary.json").is_file()
        return ended.status == self.complete and found == wanted and summarised

    def _kill(self, span: float, operations: int) -> None:
        """Repeats until a kill has hit a running training."""
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
                states = {state_of(run) for run in members(self.directory)}
                if "interrupted" not in states and not states <= {"done", "failed"}:
                    if "interrupted;" not in ended.said:  # Ctrl-C while it loaded: nothing was begun
                        continue
                    raise Deviation(f"states after {number.name}: {states}")
                self.counts["stopped by a signal"] += 1
                return
            if ended.status not in (self.complete, -number):  # before it listens, and after
                raise Deviation(f"exit status {ended.status} after {number.name}: {ended.said}")
            self._ended_early(ended)

    def _fail(self, kind: str, operations: int) -> None:
        while True:
            ended = self._train(Fault(kind, self.random.randint(1, operations))).end()
            check_remains(self.directory, self.straight)
            if not self._is_complete(ended):
                lines = ended.said.count("ncrun: ")
                if ended.status not in (1, 2) or not 1 <= lines <= 2 * len(members(self.straight)):
                    raise Deviation(f"exit status {ended.status} on a {kind} disk: {ended.said}")
                self.counts["full disk" if kind == "full" else "failing disk"] += 1
                return
            self._ended_early(ended)

    def _ended_early(self, ended: Ended) -> None:
        """The run was complete before the fault: compares it and starts again."""
        if self._is_complete(ended):
            self._compare()
            shutil.rmtree(self.directory)
        elif ended.status >= 0:
            raise Deviation(f"exit status {ended.status}: {ended.said}")

    def _damage(self) -> None:
        """Flips, cuts or removes bytes of an interrupted run's file; this must be noticed, or do no harm."""
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
        before = self._contents()
        ended = self._train().end()
        if ended.status == 2 and "metrics.jsonl was changed" in ended.said and ended.said.count("\n") == 1:
            if before != self._contents():
                raise Deviation("a refused run was changed")
            self.counts["  of these refused"] += 1
        elif self._is_complete(ended):
            if file.name == "checkpoint.pt" and "L-BFGS" not in self.scenario and "damaged" not in ended.said:
                raise Deviation(f"a damaged checkpoint ({how}) was not reported: {ended.said}")
            noticed = "damaged" in ended.said or "was changed" in ended.said
            self.counts["  of these reported" if noticed else "  of these without effect"] += 1
            # If one of several runs must go back further than the others can, they do not share a program any more.
            self._compare(exact=not noticed or members(self.straight) == [self.straight])
        else:
            raise Deviation(f"exit status {ended.status} with a damaged {file.name}: {ended.said}")
        shutil.rmtree(self.directory)

    def _contents(self) -> dict[Path, bytes]:
        """All files except the locks of dead processes."""
        files = [file for file in self.directory.rglob("*") if file.is_file() and ".lock" not in str(file)]
        return {file: file.read_bytes() for file in files}

    def _file_to_damage(self) -> Path:
        """A file of a killed run that it would read when it continues."""
        names = ["checkpoint.pt", "checkpoint.previous.pt", "metrics.jsonl"]
        while True:
            self._kill(*self._measure())
            going_on = [run for run in members(self.directory) if state_of(run) in ("running", "interrupted")]
            files = [run / name for run in going_on for name in names if (run / name).is_file()]
            files = [file for file in files if file.stat().st_size]
            if not going_on and state_of(members(self.directory)[0]):  # the kill came after the last file
                shutil.rmtree(self.directory)
            elif files:
                return self.random.choice(files)

    def _at_once(self, number: int) -> None:
        """Starts the run several times at once: one process trains, the others are refused or find it finished."""
        ends = [training.end() for training in [self._train() for _ in range(number)]]
        for ended in ends:
            if ended.status not in (self.complete, 2) or (ended.status == 2 and "another process" not in ended.said):
                raise Deviation(f"{number} at once: exit status {ended.status}: {ended.said}")
        if all(ended.status == 2 for ended in ends):
            raise Deviation(f"{number} at once: all refused")
        self.counts["several at once"] += 1
        self.counts["  starts of these"] += number
        # Shortly before the end of one process, another may be refused at some runs and train the others.
        self._finish_what_was_refused()
        self._compare()
        shutil.rmtree(self.directory)

    def _finish_what_was_refused(self) -> None:
        ended = self._train().end()
        if not self._is_complete(ended):
            raise Deviation(f"exit status {ended.status} after several at once: {ended.said}")

    def _sleep(self, operations: int) -> None:
        """A process sleeps in a file operation without signs of life, another host finishes the run, and it wakes."""
        while True:
            fall_silent(self.directory)  # for these hosts, the killed processes are on other hosts, too
            asleep = self._train(Fault("sleep", self.random.randint(1, operations)), host="first")
            if not asleep.wait_until_it_sleeps():
                self._ended_early(asleep.end())
                continue
            fall_silent(self.directory)
            ended = self._train(host="second").end()
            finished = self._is_complete(ended)
            before = self._contents() if finished else {}
            asleep.kill(signal.SIGCONT)
            woken = asleep.end()
            if not finished:
                raise Deviation(f"exit status {ended.status} beside a process that sleeps: {ended.said}")
            if before != self._contents():
                raise Deviation("a process that slept changed what another one finished")
            if woken.status not in (0, 1, 2):
                raise Deviation(f"exit status {woken.status} of a process that slept: {woken.said}")
            self.counts["slept while another host took over"] += 1
            self._compare()
            shutil.rmtree(self.directory)
            return

    def _complete(self) -> None:
        ended = self._train().end()
        if not self._is_complete(ended):
            raise Deviation(f"exit status {ended.status} of the undisturbed rest: {ended.said}")
        self._compare()
        shutil.rmtree(self.directory)

    def _compare(self, exact: bool = True) -> None:
        compare(self.directory, self.straight, exact)
        self.counts["compared with the undisturbed run"] += 1


def straight_of(scenario: str, folder: Path) -> Path:
    return folder / f"straight-{list(SCENARIOS).index(scenario)}"


def run_straight(scenario: str, folder: Path) -> Path:
    """Trains the undisturbed run, and stores its time and its number of file operations beside the record."""
    directory = straight_of(scenario, folder)
    training = Training(jobs_of(scenario, directory), directory, 0.0, Fault("none"))
    training.wait_until_it_holds_its_folder()
    began = time.monotonic()
    ended = training.end()
    if ended.status != COMPLETE.get(scenario, 0):
        raise Deviation(f"{scenario}: the undisturbed run ended with status {ended.status}: {ended.said}")
    operations = int(ended.said.rpartition("operations: ")[2])
    notes = {"span": time.monotonic() - began, "operations": operations}
    (directory / "torture.json").write_text(json.dumps(notes))
    return directory
