"""Runs whose images stay on the disk: the bits of those in memory, straight or continued; clear words of failures."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, Command, Refused, RunOf, at_call, rows, state
from own_files import arrays, folder, with_test, write_images, write_npz

from ncrun.data.image_files import pixels
from ncrun.data.sources import image_folder
from ncrun.metrics import scatter
from ncrun.models.saved import load_sealed
from ncrun.records.snapshots import NAME, parsed
from ncrun.training import features, streaming

SHORT = ("epochs=3", "batch_size=4", "model.width=8", "model.depth=2", "threads=1", "model.batch_norm=true")
# 1e-6 GB hold nine of the tiny images.
STREAMED = ("stream=true", "stream_workers=2", "stream_cache=1e-6")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered of data lies in this test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ncrun" / "moments"


@pytest.fixture
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven images in a forward pass, and of five rows in a sum: whole ones, parts of two, and a last one."""
    monkeypatch.setattr(features, "FORWARD_ROWS", 7)
    for name in ("FEWEST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(scatter, name, 5)


def result(directory: Path) -> tuple[Any, ...]:
    """Of a finished run: its rows, its matrices, which samples it took, and every bit of its network."""
    network = load_sealed(directory / "checkpoint.pt")["network"]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["state"] == "done"
    bits = {name: value.numpy().tobytes() for name, value in network.items()}
    return rows(directory), (directory / "geometry.json").read_text(), manifest["index_hash"], bits


def own_folder(root: Path) -> tuple[str, ...]:
    write_images(root / "train", (13, 11, 9), shape=(7, 9))
    write_images(root / "test", (4, 3, 2), shape=(5, 5))
    return folder(root)


def own_arrays(root: Path, dtype: str = "uint8") -> tuple[str, ...]:
    return write_npz(root, arrays((6, 5, 3), dtype, sizes=(20, 15, 12, 9)))


def own_floats(root: Path) -> tuple[str, ...]:
    return own_arrays(root, "float64")


CASES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "folder": (
        own_folder,
        ("augment=[crop,flip]", "head.depth=2", "counts=[12,7,9]", "random_labels=0.2", "freeze_norm=0.5"),
    ),
    "array": (own_arrays, ("dataset.size=8", "classes=[2,0,1]", "decay.mode=parameters", "loss=ce")),
    "floats": (
        lambda root: own_arrays(root, dtype="float64"),
        (
            "dtype=float64",
            "head.bias=true",
            "model.features=relu",
            "model.batch_norm=false",
            "finish=lbfgs",
            "finish_iterations=3",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("undrawn", "many_blocks")
def test_a_streamed_run_has_the_bits_of_one_in_memory(name: str, ncrun: Command, workdir: Path, tmp_path: Path) -> None:
    make, more = CASES[name]
    data = make(tmp_path)
    for directory, keys in (("held", ("stream=false",)), ("streamed", STREAMED)):
        ended = ncrun("train", *data, *SHORT, *more, *keys, f"run_dir={directory}")
        assert (ended.status, ended.err) == (0, ""), ended
    assert result(workdir / "streamed") == result(workdir / "held")
    held, streamed = (parsed(Path(directory, NAME).read_bytes()) for directory in ("held", "streamed"))
    np.testing.assert_array_equal(streamed.epochs, held.epochs)
    for split in ("train", "test"):  # whose features are of other batches, in float32
        seen = [each.points(split, -1) @ each.means[-1].T for each in (streamed, held)]
        np.testing.assert_allclose(*seen, rtol=0, atol=2e-3 * np.abs(seen[1]).max())
    assert json.loads((workdir / "streamed" / "manifest.json").read_text())["streamed"]["workers"] == 2
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("undrawn")
def test_a_streamed_run_continues_inside_an_epoch(
    ncrun: Command, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bits of a run in memory. As Slurm does, the signal is sent to the processes that read as well."""
    typed = ("train", *own_folder(tmp_path), *SHORT, "augment=[crop,flip]")
    assert ncrun(*typed, "run_dir=straight").status == 0

    def stop() -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 12, stop)  # of eight steps in an epoch
        stopped = ncrun(*typed, *STREAMED, "run_dir=run")
    assert (stopped.status, state(workdir / "run")) == (128 + signal.SIGTERM, "interrupted")
    assert stopped.err == "run: interrupted; the same command continues it\n"
    progress = load_sealed(workdir / "run" / "checkpoint.pt")["progress"]
    assert (progress["epoch"], progress["offset"]) == (1, 4)
    assert ncrun(*typed, *STREAMED, "run_dir=run").status == 0
    assert result(workdir / "run") == result(workdir / "straight")


@pytest.mark.parametrize("what", ["file", "process"])
@pytest.mark.usefixtures("undrawn")
def test_what_is_lost_while_a_streamed_run_trains(
    what: str, ncrun: Command, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("train", *own_folder(tmp_path), *SHORT, *STREAMED[:2], "stream_cache=0", "run_dir=run")
    lost = tmp_path / "train" / "bear" / "3.png"

    def lose() -> None:
        if what == "file":
            lost.unlink()
        else:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    at_call(monkeypatch, torch.optim.Adam, "step", 2, lose)
    ended = ncrun(*typed)
    assert (ended.status, ended.out, state(workdir / "run")) == (1, "", "failed")
    assert ended.err.startswith("ncrun: run: ")
    assert ended.err.endswith("the same command continues\n")
    assert ended.err.count("\n") == 1
    assert ("bear/3.png" if what == "file" else "stream_workers") in ended.err
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), 9)"])
def test_readers_end_with_the_process_that_started_them(ending: str, tmp_path: Path) -> None:
    """At its end without being closed, and at its sudden death."""
    write_images(tmp_path)
    script = f"""
import multiprocessing, os
from pathlib import Path
import numpy as np
from ncrun.data.reader import Reader
from ncrun.data.sources.image_folder import ImageFolder
reader = Reader(ImageFolder(path={str(tmp_path)!r}, size=4).stored(Path()), 2)
next(reader.read(0, [np.arange(2), np.arange(2)]))
print(*(each.pid for each in multiprocessing.active_children()), flush=True)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == (-signal.SIGKILL if ending else 0), ended.stderr
    readers = [Path("/proc", number) for number in ended.stdout.split()]
    assert len(readers) == 2
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_lives, readers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(_lives, readers))


def _lives(process: Path) -> bool:
    try:
        return " Z " not in (process / "stat").read_text()
    except OSError:
        return False


def test_a_damaged_image_is_refused_before_training(refused: Refused, tmp_path: Path, own_cache: Path) -> None:
    """A test image, too, in the words of a run in memory; nothing is remembered."""
    data = own_folder(tmp_path)
    (tmp_path / "test" / "crab" / "1.png").write_bytes(b"no image")
    found = {refused("train", *data, *SHORT, *keys) for keys in (STREAMED, ("stream=false",))}
    assert found == {f"dataset.path={tmp_path}: test/crab/1.png cannot be read (damaged, or not an image)"}
    assert not own_cache.exists()


@pytest.mark.usefixtures("undrawn")
def test_all_samples_are_looked_at_once(
    ncrun: Command, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered is found again by the data's content, and found anew where it cannot be read."""
    data, seen = own_folder(tmp_path), []
    monkeypatch.setattr(image_folder, "pixels", lambda *given: (seen.append(given), pixels(*given))[1])
    typed = ("train", *data, *SHORT, "epochs=1", "stream=true", "stream_workers=0")
    counts, values = [], []
    for damage in (None, None, '{"mean": [0, 0, 0], "std": [1, 1, 0]}'):
        if damage is not None:
            (file,) = own_cache.iterdir()
            file.write_text(damage)
        seen.clear()
        assert ncrun(*typed, f"run_dir=run{len(counts)}").status == 0
        counts.append(len(seen))
        values.append(next(own_cache.iterdir()).read_text())
    assert counts == [counts[1] + 42, counts[1], counts[0]]
    assert len(set(values)) == 1


def test_auto_streams_what_would_take_half_of_the_memory(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33 images of 6 x 6 x 3: as float32 beside their bytes, twice, six times 3564 bytes."""
    data, cpu = own_folder(tmp_path), torch.device("cpu")
    for memory, expected in ((2 * 6 * 3564, None), (2 * 6 * 3564 - 1, 10_000)):
        monkeypatch.setattr(streaming, "machine_memory", lambda memory=memory: memory)
        found = streaming.streaming_of(run_of(*data, "stream_cache=1e-5"), cpu)
        assert (found and found.cache) == expected
    assert streaming.streaming_of(run_of(*data, "stream=false"), cpu) is None
    assert streaming.streaming_of(run_of(*data, "batch_size=full"), cpu) is None
    assert streaming.streaming_of(run_of("epochs=1"), cpu) is None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("dataset=digits stream=true", "stream=true: dataset=digits can only be read as a whole"),
        ("DATA stream=true batch_size=full", "stream=true: batch_size=full needs all images at once"),
        ("DATA stream=true taps=[linear1]", "stream=true: taps=[linear1] need all images in memory"),
        ("DATA stream=true head.relu=true head.depth=2", "stream=true: a ReLU head needs all images in memory"),
        ("DATA stream=maybe", "stream=maybe: must be auto, true or false"),
        ("DATA stream=false stream_cache=1", "stream_cache: has no effect: stream=false"),
        ("model=ufm counts=[3,3] stream=true", "stream: has no effect: model=ufm has no images"),
        ("dataset=diabetes stream=true", "stream=true: a data set with targets"),
    ],
)
def test_what_cannot_be_streamed(typed: str, said: str, refused: Refused, tmp_path: Path) -> None:
    data = write_npz(tmp_path, with_test())
    words = [part for word in typed.split() for part in (data if word == "DATA" else (word,))]
    assert refused("train", *words).startswith(said)


def test_a_packed_array_is_not_streamed(refused: Refused, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "packed.npz", **with_test())
    said = refused("train", "dataset=npz", f"dataset.path={tmp_path / 'packed.npz'}", "stream=true")
    assert "not savez_compressed" in said
