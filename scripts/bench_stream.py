"""Images that stay on the disk: times of decoding, hashing and reading them, and the memory of a streamed run beside
that of the same run in memory, which must give the same bits.

Writes results/bench/stream.jsonl and stream.md; scripts/write_docs.py writes docs/scale.md from the former.

    .venv/bin/python scripts/bench_stream.py [--scratch DIR]    # 5 minutes and 0.5 GB there, removed at the end
    .venv/bin/python scripts/bench_stream.py --digests    # only the digests, the rest is kept: 1 minute, 2 GB

The images are parts of scikit-learn's two photographs, 500 x 375 like most of ImageNet, in JPEG. Memory is the largest
sum of Pss over a training's processes, read twice 50 ms apart. Pss counts shared pages once.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "results" / "bench"
WIDTH, HEIGHT, QUALITY = 500, 375, 96
CLASSES, SIZE = 4, 224
NUMBERS = (600, 1200)  # training images
SHORT = ("model=mlp", "model.width=16", "model.depth=2", "epochs=2", "batch_size=32", "threads=1", "progress=false")
CASES = {
    "in memory": ("stream=false",),
    "streamed, nothing kept": ("stream=true", "stream_workers=1", "stream_cache=0"),
    "streamed, 50 MB kept": ("stream=true", "stream_workers=1", "stream_cache=0.05"),
}
# The data for digests: a folder of this many files, each as large as a small JPEG, and one array.
MANY_FILES, FILE_BYTES, ARRAY_BYTES = 20_000, 20_000, 10**9
# The network for ImageNet, counted as by `ncrun train dry_run=true`.
NETWORK = ("model=module", "model.path=torchvision:resnet50", "precision=full")


def write_images(root: Path, number: int) -> None:
    """number for training and a tenth as many for testing, in classes that differ in the photograph's part."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, photographs = np.random.default_rng(0), load_sample_images().images
    for split, count in (("train", number), ("test", number // 10)):
        for k in range(CLASSES):
            (root / split / f"class-{k}").mkdir(parents=True)
            for i in range(count // CLASSES):
                photograph = photographs[k % 2]
                top = rng.integers(0, photograph.shape[0] - HEIGHT + 1)
                left = (
                    rng.integers(0, (photograph.shape[1] - WIDTH) // 2) + (k // 2) * (photograph.shape[1] - WIDTH) // 2
                )
                part = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
                part.save(root / split / f"class-{k}" / f"{i}.jpg", quality=QUALITY)


def rate_of(work: Callable[[], float]) -> float:
    """Units per second of processor time, the best of three. work: returns the number of units."""
    rates = []
    for _ in range(3):
        began = time.process_time()
        rates.append(work() / (time.process_time() - began))
    return max(rates)


def rates(folder: Path) -> dict[str, float]:
    from ncrun.data.sources.image_folder import ImageFolder
    from ncrun.data.sources.npz import Npz

    source = ImageFolder(path=str(folder), size=SIZE)
    stored = source.stored(Path())
    assert stored is not None
    train, rows = stored[0], np.arange(150)
    images = train.read(rows)
    array = folder.parent / "images.npz"
    whole = np.repeat(images.transpose(0, 2, 3, 1), 4, axis=0)
    np.savez(array, train_images=whole, train_labels=np.arange(len(whole)) % CLASSES)
    mapped = Npz(path=str(array)).stored(Path())
    assert mapped is not None
    in_file = mapped[0]
    files = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:300]]
    content = b"".join(files) * 4

    def decoded() -> float:
        return float(len(train.read(rows)))

    def read() -> float:
        return float(len(in_file.read(np.arange(len(in_file.labels)))))

    def hashed() -> float:
        hashlib.sha256(content).digest()
        return float(len(content))

    return {
        "decode": rate_of(decoded),
        "array": rate_of(read),
        "hash": rate_of(hashed),
        "file_bytes": float(np.mean([len(each) for each in files])),
    }


def digests(scratch: Path) -> list[dict[str, Any]]:
    """Processor seconds until the digest of data on the disk is known, from their bytes and if it is remembered,
    including finding the files. The best of three each."""
    from ncrun.data import remembered_digest
    from ncrun.data.sources.image_folder import ImageFolder
    from ncrun.data.sources.npz import Npz

    remembered_digest.SETTLED_NS = 0  # instead of waiting for a minute
    rng, images, array = np.random.default_rng(0), scratch / "many", scratch / "large.npz"
    for i in range(MANY_FILES):
        file = images / f"class-{i % CLASSES}" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.bytes(FILE_BYTES))
    whole = np.zeros((ARRAY_BYTES // (3 * SIZE**2), SIZE, SIZE, 3), np.uint8)
    np.savez(array, train_images=whole, train_labels=np.arange(len(whole)) % CLASSES)
    found = []
    for words, source, files, size in (
        ("image_folder", ImageFolder(path=str(images)), MANY_FILES, MANY_FILES * FILE_BYTES),
        ("npz", Npz(path=str(array)), 1, array.stat().st_size),
    ):
        read = min(_seconds(source.open(source.place).digest_of_bytes) for _ in range(3))
        known = min(_seconds(partial(getattr, source.open(source.place), "digest")) for _ in range(3))
        found.append({"data": words, "files": files, "bytes": size, "read": read, "remembered": known})
    return found


def _seconds(work: Callable[[], str]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def digest_table(found: dict[str, Any]) -> str:
    lines = ["| data | files | size | digest from the bytes | remembered |", "|---|---|---|---|---|"]
    for case in found["digests"]:
        size, known = f"{case['bytes'] / 1e9:.2g} GB", f"{1000 * case['remembered']:.3g} ms"
        lines.append(f"| {case['data']} | {case['files']:,} | {size} | {case['read']:.2f} s | {known} |")
    return "\n".join(lines)


def counted(root: Path) -> dict[str, float]:
    """For ResNet50 on images of this size in 1,000 classes: parameters, FLOP of training on one image, and bytes that a
    forward pass stores for one image."""
    from PIL import Image

    from ncrun.config.planning import job_of
    from ncrun.training.cost import Costs
    from ncrun.training.memory import needed_bytes

    for split in ("train", "test"):
        for k in range(1000):
            (root / split / f"{k:03}").mkdir(parents=True)
            Image.new("RGB", (8, 8), (k % 256, k // 256, 0)).save(root / split / f"{k:03}" / "0.png")
    data = ("dataset=image_folder", f"dataset.path={root}", f"dataset.size={SIZE}")
    (run,) = job_of([*data, *NETWORK]).runs
    cost, descent = Costs().of(run), run.descent
    images, memory = descent.epochs * run.data.num_samples, cost.memory - needed_bytes([run])
    return {"parameters": float(cost.parameters), "flop": cost.flop / images, "kept": memory / descent.batch_size}


def trained(folder: Path, more: tuple[str, ...], into: Path) -> dict[str, Any]:
    """Peak memory and seconds of one run in separate processes."""
    data = ("dataset=image_folder", f"dataset.path={folder}", f"dataset.size={SIZE}")
    command = [sys.executable, "-m", "ncrun.cli", "train", *data, *SHORT, *more, f"run_dir={into}"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": str(folder / "c")}
    )
    peak = before = 0
    while process.poll() is None:
        now = sum(_pss(number) for number in _family(process.pid))
        # The smaller of two readings: a process that starts during a reading is counted with its shared pages.
        peak, before = max(peak, min(before, now)), now
        time.sleep(0.05)
    assert process.returncode == 0
    manifest = json.loads((into / "manifest.json").read_text())
    return {"peak": peak, "seconds": manifest["wall_seconds"]}


def _family(number: int) -> Iterator[int]:
    yield number
    try:
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _pss(number: int) -> int:
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def same_bits(one: Path, other: Path) -> bool:
    def rows(folder: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    return rows(one) == rows(other) and (one / "geometry.json").read_text() == (other / "geometry.json").read_text()


def table(found: dict[str, Any]) -> str:
    lines = [
        "| training images | run | peak memory | above an idle run | training | bits |",
        "|---|---|---|---|---|---|",
    ]
    for case in found["runs"]:
        peak, above = (f"{number / 1e6:.0f} MB" for number in (case["peak"], case["peak"] - found["idle"]))
        bits = "" if case["same"] is None else "equal" if case["same"] else "DIFFER"
        lines.append(f"| {case['number']} | {case['case']} | {peak} | {above} | {case['seconds']:.1f} s | {bits} |")
    return "\n".join(lines)


@contextmanager
def folder_of(given: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=given) as scratch:
        yield Path(scratch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", help="temporary folder of images and runs")
    parser.add_argument("--digests", action="store_true", help="measure only the digests")
    given = parser.parse_args()
    with folder_of(given.scratch) as scratch:
        os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
        found = json.loads((OUTPUT / "stream.jsonl").read_text()) if given.digests else measured(scratch)
        found["digests"] = digests(scratch)
    (OUTPUT / "stream.jsonl").write_text(json.dumps(found) + "\n")
    (OUTPUT / "stream.md").write_text(
        f"By `scripts/bench_stream.py`: an MLP of width 16, two epochs of JPEG images made {SIZE} x {SIZE}, on"
        f" {found['machine']['cpu']}, beside other work. Training: two epochs and three measurements; images that are"
        f" held were read before it, by one process as the streamed ones.\n\n{table(found)}\n\nThe digest of a"
        " user's own data, in seconds of processor time, the files being in the system's memory: from their bytes, and"
        f" when it is remembered and every file is looked at.\n\n{digest_table(found)}\n"
    )
    print(table(found), digest_table(found), sep="\n\n")
    return 0 if all(case["same"] is not False for case in found["runs"]) else 1


def measured(scratch: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"runs": []}
    tiny = scratch / "tiny"
    write_images(tiny, 40)
    found["idle"] = trained(tiny, CASES["streamed, nothing kept"], scratch / "idle")["peak"]
    for number in NUMBERS:
        images = scratch / str(number)
        write_images(images, number)
        for place, (case, more) in enumerate(CASES.items()):
            first, into = (scratch / f"run-{number}-{each}" for each in (0, place))
            ended = trained(images, more, into)
            same = None if into == first else same_bits(first, into)
            found["runs"].append({"number": number, "case": case, **ended, "same": same})
    found |= rates(scratch / str(NUMBERS[-1])) | counted(scratch / "classes")
    found["machine"] = {"cpu": _cpu(), "python": platform.python_version()}
    return found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
