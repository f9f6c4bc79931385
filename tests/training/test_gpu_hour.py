"""The GPU hour, as far as a CPU can show it: what runs cost, which are taken up, and that it continues anywhere."""

import json
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import RunOf, write_run

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gpu_archive
import gpu_hour
import gpu_runs
import gpu_speed
from bench_timing import Row, linear_step
from gpu_cost import Cost, Peaks, run_cost, step_cost
from gpu_runs import TimeIsUp, Trainer, time_limit

from ncrun.errors import UserError

SCRIPTS = Path(gpu_hour.__file__).parent
PEAKS = Peaks("a device", full=1e12, tf32=4e12, bfloat16=8e12, copy=1e12, launch=1e-6)


def test_cost_of_a_step_is_that_of_its_products(run_of: RunOf) -> None:
    """Counted by PyTorch, against the list of products that the benchmark writes out; each is 2 m k n FLOP."""
    run = run_of("model.depth=2", "model.width=24", "model.batch_norm=false", "head.depth=2", "classes=[0,1]")
    layers = [(64, 24), (24, 24), (24, 24), (24, 24), (24, 2)]
    assert step_cost(run, 10).flops == sum(2 * m * k * n for m, k, n in linear_step(layers, 10))


def test_cost_of_a_run_grows_with_its_epochs_and_measurements(run_of: RunOf) -> None:
    typed = ["model.depth=1", "model.width=8", "classes=[0,1]", "counts=[6,6]", "batch_size=full"]
    once, twice = (run_cost(run_of(*typed, f"epochs={epochs}", f"measure={epochs}")) for epochs in (5, 10))
    step = step_cost(run_of(*typed), 12)
    assert twice.flops - once.flops == pytest.approx(5 * step.flops)  # both are measured twice
    often = run_cost(run_of(*typed, "epochs=10", "measure=every"))
    assert often.launches > twice.launches


def test_seconds_are_those_of_the_peak_that_binds() -> None:
    assert Cost(1e12, 1e12, 10).seconds(PEAKS, "full") == pytest.approx(2)
    assert Cost(1e12, 1e12, 10).seconds(PEAKS, "tf32") == pytest.approx(1.25)
    assert Cost(1e12, 1e12, 3e6).seconds(PEAKS, "full") == pytest.approx(3)
    assert Cost(1e12, 1e12, 3e6).is_small(PEAKS, "full")


def test_time_limit_ends_what_takes_longer() -> None:
    began = time.monotonic()
    with pytest.raises(TimeIsUp), time_limit(0.05):
        time.sleep(5)
    assert time.monotonic() - began < 4  # far less than the sleep, even on a busy machine
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # the alarm is off


@dataclass
class Planned:
    """Of a candidate what a trainer looks at."""

    name: str
    least: float
    small: bool = False
    done: bool = False
    reason: str = ""

    def seconds(self, peaks: Peaks) -> float:
        return self.least

    def is_small(self, peaks: Peaks) -> bool:
        return self.small


def order_of(planned: list[Planned], left: float, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    waves: list[list[str]] = []

    def wave(self: Trainer, runs: list[Planned]) -> int:
        waves.append([each.name for each in runs])
        return 0

    monkeypatch.setattr(Trainer, "_wave", wave)
    assert Trainer(PEAKS, 2, slower=2.0, tell=print).train(planned, left) == 0  # type: ignore[arg-type]
    return waves


def test_runs_that_fit_come_first_and_small_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs took twice what was predicted, so of 100 s only 50 are to be given away."""
    planned = [
        Planned("long", 90),
        Planned("first", 20),
        Planned("finished", 1, done=True),
        Planned("small", 5, small=True),
        Planned("without data", 1, reason="no data"),
        Planned("small too", 5, small=True),
        Planned("last", 20),
        Planned("small, of less worth", 5, small=True),
    ]
    expected = [["first"], ["small", "small too"], ["last"], ["small, of less worth"], ["long"]]
    assert order_of(planned, 100, monkeypatch) == expected


def test_archive_holds_the_most_worthy_and_another_machine_continues(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for n in range(3):
        write_run(here / "runs" / str(n), [{"epoch": 0}, {"epoch": 1}])
    (here / "state.json").write_text('{"parts": ["tests"]}')
    (here / "runs" / "0" / "checkpoint.pt").write_bytes(bytes(100))
    in_order = [here / "runs" / str(n) for n in (2, 0, 1)]
    archive, left_out = gpu_archive.pack(here, in_order)
    assert left_out == []
    assert gpu_archive.take_up(archive, there) == 3
    assert (there / "state.json").read_text() == '{"parts": ["tests"]}'
    assert json.loads((there / "runs" / "1" / "manifest.json").read_text())["state"] == "done"
    assert not (there / "runs" / "0" / "checkpoint.pt").exists()
    smaller = archive.stat().st_size - 100
    archive, left_out = gpu_archive.pack(here, in_order, smaller)
    assert left_out == [here / "runs" / "1"]
    assert archive.stat().st_size <= smaller


def test_what_is_no_archive_of_a_gpu_hour(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("runs/../../outside", "x")
    for name, words in (("broken", "is damaged"), ("other", "holds no records")):
        with pytest.raises(UserError, match=words):
            gpu_archive.take_up(tmp_path / f"{name}.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_speed_continues_and_records_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def workload(bench: gpu_speed.Bench) -> gpu_speed.Measured:
        def measured(option: str) -> Row:
            tried.append(option)
            if option == "broken":
                raise RuntimeError("no such kernel\nand a long trace")
            return Row("w", option, 0.5, 2.0, limit=0.25)

        for option in ("full", "broken"):
            yield option, lambda option=option: measured(option)  # type: ignore[misc]

    monkeypatch.setitem(gpu_speed.WORKLOADS, "made up", workload)
    bench = gpu_speed.Bench(torch.device("cpu"), PEAKS, tiny=True)
    for _ in range(2):
        gpu_speed.run_workload("made up", bench, tmp_path)
    assert tried == ["full", "broken"]
    table = gpu_speed.as_table(gpu_speed.entries(tmp_path), PEAKS)
    assert "| w | full | 0.5 s | 2 s, released procedure | 4 |  | 0.25 s | 50% |" in table
    assert "- made up: broken failed: RuntimeError: no such kernel\n" in table


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu_hour.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("gpu_hour: PyTorch finds no CUDA device here; --rehearse")
    assert not (tmp_path / "out").exists()


def test_plan_at_the_papers_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """12,000 steps of 3000 samples through six layers of 2048, 6.3e15 FLOP by hand, and a little for measuring."""
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(gpu_runs, "_missing", lambda run: "")
    monkeypatch.setattr(gpu_hour, "measure_peaks", lambda device: PEAKS)
    assert gpu_hour.main(["--plan", "--out", str(tmp_path), "--only", "dang2023/mlp-imbalanced"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "head.depth=1" in line)
    layers = [(3072, 2048), *[(2048, 2048)] * 6, (2048, 10)]
    by_hand = 12000 * sum(2 * m * k * n for m, k, n in linear_step(layers, 3000))
    assert by_hand <= float(line.split()[2]) <= 1.05 * by_hand


@pytest.mark.slow
def test_rehearsal(tmp_path: Path) -> None:
    """All of it at tiny sizes; again, it has nothing left to do; and from its archive neither has another machine."""

    def hour(*arguments: str) -> str:
        command = [sys.executable, str(SCRIPTS / "gpu_hour.py"), "--rehearse", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = hour("--out", "here", "--minutes", "60")
    assert " skipped" in first or " passed" in first
    assert "part archive: done" in first
    assert (tmp_path / "here" / "figures" / "dang2023" / "mlp-imbalanced-cpu.png").is_file()
    assert "imbalanced MLP" in (tmp_path / "here" / "speed.md").read_text()
    assert (tmp_path / "here" / "records.zip").stat().st_size < gpu_archive.LARGEST
    for again in (hour("--out", "here"), hour("--out", "there", "--from", "here/records.zip")):
        assert "0 runs to do" in again
        assert again.count("done before") == 2
