"""The cost of a data set that is larger than memory, term by term, from measured rates. scripts/write_docs.py writes it
for ImageNet into docs/scale.md.

    .venv/bin/python scripts/scale_cost.py --cores 8 --tflops 312 --share 0.4 --images 500000

Rates are read from results/bench/stream.jsonl (decoding, hashing, and the counts of the network) and
results/bench/gpu.md (a GPU's peaks). Each can be given by an option.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1] / "results" / "bench"
HOUR, GIGA, TERA = 3600.0, 1e9, 1e12
FLOAT, BYTE = 4, 1
ADAM_COPIES = 4  # parameters, gradient, two moments
PIECE, AHEAD = 32, 2  # images that a process reads at once, and the number of such pieces ahead (ncrun.data)

Line = tuple[str, str, str]


def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BENCH / "stream.jsonl").read_text())
    return found


def looks(known: dict[str, Any]) -> float:
    """Files per second, found in a folder and checked."""
    (folder,) = (case for case in known["digests"] if case["data"] == "image_folder")
    return float(folder["files"] / folder["remembered"])


def peaks() -> dict[str, float]:
    """TFLOP/s by precision."""
    text = (BENCH / "gpu.md").read_text()
    return {name: float(number) for name, number in re.findall(r"(full|tf32|bfloat16) ([\d.]+) TFLOP/s", text)}


def options(given: Sequence[str] = ()) -> argparse.Namespace:
    known, best = measured(), peaks()["bfloat16"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, words in (
        ("images", 1_281_167, "N, training images"),
        ("test-images", 50_000, "N_test"),
        ("classes", 1000, "K"),
        ("features", 2048, "d"),
        ("size", 224, "S, height and width"),
        ("batch", 256, "B"),
        ("epochs", 90, "E"),
        ("measured", 90, "measured epochs"),
        ("cores", 16, "c, cores that read (stream_workers)"),
        ("cache", 32, "GB of images to keep (stream_cache)"),
        ("file-bytes", known["file_bytes"], "of an image's file"),
        ("decode", known["decode"], "images per second on a core"),
        ("hash", known["hash"], "bytes a second"),
        ("look", looks(known), "files per second that are compared with a remembered digest"),
        ("flop", known["flop"], "FLOP of training on an image"),
        ("parameters", known["parameters"], "P"),
        ("kept", known["kept"], "bytes that a forward pass stores for an image"),
        ("tflops", best, "peak of the device, TFLOP/s"),
        ("share", 1.0, "share of the peak that is reached"),
    ):
        parser.add_argument(f"--{name}", default=default, help=words, type=float, metavar="NUMBER")
    return parser.parse_args(given)


def table(o: argparse.Namespace) -> list[Line]:
    """Term, formula and value."""
    numbers = 3 * o.size**2
    both = o.images + o.test_images
    cached = min(o.images, o.cache * GIGA / (numbers * BYTE))
    flops = o.tflops * TERA * o.share
    decoding, training = (o.images - cached) / (o.decode * o.cores), o.images * o.flop / flops
    measuring_reads = (both - cached) / (o.decode * o.cores)
    forward = both * o.flop / 3 / flops
    epoch, measurement = max(decoding, training), max(measuring_reads, forward)
    once = both * o.file_bytes / o.hash + both / (o.decode * o.cores)
    return [
        ("**on the disk**", "(N + N_test) x bytes of a file", _size(both * o.file_bytes)),
        (
            "**memory**: held as float32, with the bytes they are made of",
            "N x 3 S^2 x (4 + 2)",
            _size(o.images * numbers * (FLOAT + 2 * BYTE)),
        ),
        ("streamed: images kept", "`stream_cache`", _size(cached * numbers * BYTE)),
        (
            "streamed: images under way",
            "c x 2 x 32 x 3 S^2 + B x 3 S^2 x 5",
            _size((o.cores * AHEAD * PIECE * BYTE + o.batch * (FLOAT + BYTE)) * numbers),
        ),
        ("labels, the order of an epoch, names", "N x (8 + 8 + about 40)", _size(o.images * 56)),
        ("parameters, gradient, Adam's moments", "P x 4 x 4", _size(o.parameters * ADAM_COPIES * FLOAT)),
        ("kept by a forward pass for the backward pass", "B x bytes of an image", _size(o.batch * o.kept)),
        (
            "features while they are measured, where an eighth of the device's memory holds them",
            "N d x 4",
            _size(o.images * o.features * FLOAT),
        ),
        (
            "sums of the metrics",
            "about 6 K d x 8 + 4 K^2 x 8",
            _size(6 * o.classes * o.features * 8 + 4 * o.classes**2 * 8),
        ),
        (
            "**time, once**: the digest of the bytes",
            "bytes on the disk / rate of SHA-256",
            _time(both * o.file_bytes / o.hash),
        ),
        (
            "at each start: a look at each file, if that is remembered",
            "(N + N_test) / look",
            _time(both / o.look),
        ),
        ("a look at all images, the first time", "(N + N_test) / (decode x c)", _time(both / (o.decode * o.cores))),
        ("**time of an epoch**: decoding", "(N - kept) / (decode x c)", _time(decoding)),
        ("forward and backward pass", "N x FLOP / (peak x share)", _time(training)),
        ("an epoch, the longer of both", "", _time(epoch)),
        ("**time of a measurement**: decoding", "(N + N_test - kept) / (decode x c)", _time(measuring_reads)),
        ("forward pass", "(N + N_test) x FLOP / 3 / (peak x share)", _time(forward)),
        ("a measurement, the longer of both (twice that where features are not held)", "", _time(measurement)),
        (
            f"**all**: {o.epochs:.0f} epochs, {o.measured:.0f} measured",
            "once + E x epoch + measured x measurement",
            _time(once + o.epochs * epoch + o.measured * measurement),
        ),
    ]


def for_imagenet() -> list[Line]:
    """The table of docs/scale.md."""
    return [("term", "formula", "ImageNet"), *table(options())]


def _size(number: float) -> str:
    return (
        f"{number / GIGA:,.0f} GB"
        if number >= 10 * GIGA
        else f"{number / GIGA:.2g} GB"
        if number >= GIGA / 10
        else f"{number / 1e6:.0f} MB"
    )


def _time(seconds: float) -> str:
    if seconds >= HOUR:
        return f"{seconds / HOUR:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def main() -> int:
    lines = table(options(sys.argv[1:]))
    width = max(len(name) for name, _, _ in lines)
    for name, formula, value in lines:
        print(f"{name.replace('**', ''):<{width}}  {value:>9}   {formula}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
