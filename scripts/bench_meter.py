"""The meter with more features than fit into memory, and near collapse: accuracy, memory and time, as Markdown tables.

    python scripts/bench_meter.py [--samples 1000000]

Features are drawn batch by batch, so that N x d numbers are never in memory. The reference does not use ncrun: it is
NumPy with two passes, a d x d covariance and its pseudo-inverse; near collapse it has 64-bit mantissas and 50 digits.
About 5 minutes with one thread at a million samples.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18

import ncrun

Array = NDArray[Any]
K, WIDTH, BATCH = 100, 512, 1000
KEYS = ("nc1", "nc1_trace", "cdnv", "nc4", "train_accuracy", "loss")
STATED: dict[str, Any] = {"decay_weight": 5e-4, "decay_feature": 1e-5, "nonnegative_features": False}
HOW_OFTEN = 20  # repeats of a timed batch


def stream(samples: int) -> Iterator[tuple[Tensor, Tensor]]:
    """float32 features about K class means, imbalanced 5:1, the same at every call."""
    means = torch.randn(K, WIDTH, generator=torch.Generator().manual_seed(0))
    shares: Tensor = torch.linspace(5, 1, K)
    for batch in range(samples // BATCH):
        generator = torch.Generator().manual_seed(1 + batch)
        labels = torch.multinomial(shares, BATCH, replacement=True, generator=generator)
        if batch == 0:
            labels[:K] = torch.arange(K)
        yield 3 + means[labels] + 5 * torch.randn(BATCH, WIDTH, generator=generator), labels


def classifier() -> Tensor:
    means: Tensor = torch.randn(K, WIDTH, generator=torch.Generator().manual_seed(0))
    return (means - means.mean(dim=0)) / WIDTH


def reference(samples: int) -> dict[str, float]:
    """Two passes in NumPy's float64."""
    counts, sums = np.zeros(K), np.zeros((K, WIDTH))
    for features, labels in stream(samples):
        counts += np.bincount(labels.numpy(), minlength=K)
        np.add.at(sums, labels.numpy(), features.numpy().astype(np.float64))
    means, N = sums / counts[:, None], counts.sum()
    overall = sums.sum(axis=0) / N
    weight = classifier().numpy().astype(np.float64)
    within, variances = np.zeros((WIDTH, WIDTH)), np.zeros(K)
    agree = right = squares = norms = 0.0
    for features, labels in stream(samples):
        h, y = features.numpy().astype(np.float64), labels.numpy()
        deviation = h - means[y]
        within += deviation.T @ deviation
        np.add.at(variances, y, (deviation**2).sum(axis=1))
        logits = h @ weight.T
        nearest = ((h**2).sum(axis=1)[:, None] - 2 * h @ means.T + (means**2).sum(axis=1)).argmin(axis=1)
        agree += float((logits.argmax(axis=1) == nearest).sum())
        right += float((logits.argmax(axis=1) == y).sum())
        squares += float((logits**2).sum() - 2 * logits[np.arange(len(y)), y].sum() + len(y))
        norms += float((h**2).sum())
    centred = means - overall
    between = centred.T @ centred / K
    first, second = np.triu_indices(K, 1)
    variances /= counts
    apart = ((means[first] - means[second]) ** 2).sum(axis=1)
    return {
        "nc1": float(np.trace(within / N @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / K),
        "nc1_trace": float(np.trace(within) / N / np.trace(between)),
        "cdnv": float(((variances[first] + variances[second]) / (2 * apart)).mean()),
        "nc4": 1 - agree / N,
        "train_accuracy": right / N,
        "loss": squares / (2 * N) + 5e-4 / 2 * float((weight**2).sum()) + 1e-5 / 2 * norms,
    }


def measured_alone(way: str, samples: int) -> dict[str, Any]:
    """In a separate process: the columns, the seconds, and the MiB of peak memory beyond those of drawing a few batches
    (Linux)."""
    command = [sys.executable, __file__, "--samples", str(samples), "--way", way]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def in_this_process(way: str, samples: int) -> dict[str, Any]:
    def entry(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    WAYS["drawing alone"](5 * BATCH)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = entry("VmRSS"), time.perf_counter()
    columns = WAYS[way](samples)
    return {"columns": columns, "seconds": time.perf_counter() - start, "MiB": (entry("VmHWM") - before) / 1024}


def drawing_alone(samples: int) -> dict[str, Any]:
    for _ in stream(samples):
        pass
    return {}


def one_pass(samples: int) -> dict[str, Any]:
    weight = classifier()
    meter = ncrun.CollapseMeter(K)
    for features, labels in stream(samples):
        meter.update(features, labels, features @ weight.T)
    return meter.compute(weight, **STATED).metrics


def two_passes(samples: int) -> dict[str, Any]:
    meter = ncrun.CollapseMeter(K, scatter=False)
    for features, labels in stream(samples):
        meter.update(features, labels)
    second = ncrun.SecondPass(meter.means(), classifier())
    for features, labels in stream(samples):
        second.update(features, labels)
    return second.compute(**STATED).metrics


WAYS: dict[str, Callable[[int], dict[str, Any]]] = {
    "drawing alone": drawing_alone,
    "one pass": one_pass,
    "two passes": two_passes,
}


def large(samples: int) -> None:
    found = {way: measured_alone(way, samples) for way in WAYS}
    expected = reference(samples)
    print(f"\nN = {samples}, d = {WIDTH}, K = {K}, float32, batches of {BATCH}, {torch.get_num_threads()} thread(s)\n")
    print("| column | reference | one pass, relative error | two passes, relative error |\n|---|---|---|---|")
    for key in KEYS:
        values = [found[way]["columns"][key] for way in ("one pass", "two passes")]
        errors = ["null" if value is None else f"{abs(value / expected[key] - 1):.1e}" for value in values]
        print(f"| {key} | {expected[key]:.10g} | {errors[0]} | {errors[1]} |")
    print(f"\nThe features themselves: {samples * WIDTH * 4 / 2**20:.0f} MiB.\n")
    print("| | peak memory beyond drawing a batch | per sample, without drawing it |\n|---|---|---|")
    for way, each in found.items():
        drawn = found["drawing alone"]["seconds"] * (2 if way == "two passes" else 1)
        cost = "-" if way == "drawing alone" else f"{(each['seconds'] - drawn) / samples * 1e6:.1f} us"
        print(f"| {way} | {each['MiB']:.1f} MiB | {cost} |")


def forwards() -> None:
    """A batch through networks with 512 features, and through the meters."""
    torch.manual_seed(0)
    images = torch.randn(128, 3, 32, 32)
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()).eval()
    resnet = resnet18(num_classes=K).eval()
    features, labels = next(stream(BATCH))
    features, labels = features[:128], labels[:128]
    meter, means_only = ncrun.CollapseMeter(K), ncrun.CollapseMeter(K, scatter=False)
    whole = next(stream(BATCH))
    for each in (meter, means_only):
        each.update(*whole)
    second = ncrun.SecondPass(meter.means(), classifier())
    timed: list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]] = [
        ("forward, ResNet-18 at 32 x 32", resnet, (images,)),
        ("forward, MLP 3072-512-512", mlp, (images,)),
        ("update, one pass", meter.update, (features, labels)),
        ("update, first of two", means_only.update, (features, labels)),
        ("update, second of two", second.update, (features, labels)),
    ]
    print("\n| a batch of 128 | per sample |\n|---|---|")
    with torch.no_grad():
        for name, function, given in timed:
            work = partial(function, *given)
            work()
            times = []
            for _ in range(HOW_OFTEN):
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
            print(f"| {name} | {np.median(times) / 128 * 1e6:.1f} us |")


def exact_nc1(features: Array, labels: Array, classes: int) -> float:
    """tr(Sigma_W pinv(Sigma_B)) / K with 64-bit mantissas, the small inverses with 50 digits.

    With B the centred means but the last and C = T B all of them, the quadratic form of pinv(C^T C) is that of
    (T^T T)^-1 in the coordinates u = (B B^T)^-1 B dev.
    """
    h = features.astype(np.longdouble)
    counts = np.bincount(labels, minlength=classes).astype(np.longdouble)
    means = np.stack([h[labels == k].sum(axis=0) for k in range(classes)]) / counts[:, None]
    centred = means - (counts @ means) / counts.sum()
    basis = centred[:-1]
    to_all = np.vstack([np.eye(classes - 1), -(counts[:-1] / counts[-1])[None]])
    coordinates = (h - means[labels]) @ basis.T @ inverse(basis @ basis.T)
    quadratic = (coordinates @ inverse(to_all.T @ to_all) * coordinates).sum()
    return float(quadratic * classes / counts.sum() / classes)


def inverse(matrix: Array) -> Array:
    """Of a longdouble matrix."""
    with mpmath.workdps(50):
        exact = mpmath.matrix([[mpmath.mpf(np.format_float_positional(x, unique=True)) for x in row] for row in matrix])
        found = exact**-1
        size = range(len(matrix))
        return np.array([[np.longdouble(mpmath.nstr(found[i, j], 25)) for j in size] for i in size])


def near_collapse() -> None:
    """Ten classes in 64 dimensions, with means of norm 8 at a distance of 24 from the origin; 4000 samples."""
    print("\n| spread within / size of the means | nc1 | one pass | two passes | float32 sums of squares |")
    print("|---|---|---|---|---|")
    for spread in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        print_errors(f"{spread:.0e}", *spread_everywhere(spread))
    print("\n| spread outside / inside the means' span | nc1 | one pass | two passes | float32 sums of squares |")
    print("|---|---|---|---|---|")
    for ratio in (1, 1e2, 1e4, 1e6):
        print_errors(f"{ratio:.0e}", *spread_outside(ratio))


def spread_everywhere(spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 10
    means = 3 + torch.randn(10, 64, dtype=torch.float64, generator=generator)
    noise = torch.randn(4000, 64, dtype=torch.float64, generator=generator)
    return (means[labels] + spread * 25 * noise).float(), labels


def spread_outside(ratio: float) -> tuple[Tensor, Tensor]:
    """Ten means at right angles, a spread of 1e-3 of their size in their span, and `ratio` times as much outside.
    float64, because float32 rounds 1e-7 of the one into the other. Samples come in pairs about their mean, which
    keeps the class means; a random rotation makes all axes equal."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    labels = torch.arange(4000) % 10
    scale = torch.full((64,), 8e-3 * ratio, dtype=torch.float64)
    scale[:10] = 8e-3
    noise = scale * normal(2000, 64)
    means = torch.zeros(10, 64, dtype=torch.float64)
    means[:, :10] = 8 * torch.eye(10, dtype=torch.float64)
    turn = torch.linalg.qr(normal(64, 64))[0]
    return (means[labels] + torch.cat([noise, -noise])) @ turn, labels


def print_errors(name: str, features: Tensor, labels: Tensor) -> None:
    expected = exact_nc1(features.numpy(), labels.numpy(), 10)
    weight = torch.ones(10, 64)
    batches = [slice(start, start + 128) for start in range(0, 4000, 128)]
    meter = ncrun.CollapseMeter(10)
    for part in batches:
        meter.update(features[part], labels[part])
    second = ncrun.SecondPass(meter.means(), weight)
    for part in batches:
        second.update(features[part], labels[part])
    found = [
        meter.compute(weight, nonnegative_features=False).metrics["nc1"],
        second.compute(nonnegative_features=False).metrics["nc1"],
        usual(features, labels),
    ]
    errors = ["null" if each is None else f"{abs(each / expected - 1):.0e}" for each in found]
    print(f"| {name} | {expected:.3g} | {' | '.join(errors)} |")


def usual(features: Tensor, labels: Tensor) -> float:
    """The result of sums of h and h h^T in float32, as in many running metrics; means and pinv in float64."""
    features, counts = features.float(), torch.bincount(labels).float()
    sums = torch.zeros(10, 64).index_add_(0, labels, features)
    means = (sums / counts[:, None]).double()
    within = (features.T @ features).double() - (means * counts[:, None]).T @ means
    centred = means - counts.double() @ means / counts.sum()
    between = centred.T @ centred / 10
    return float(torch.trace(within / 4000 @ torch.linalg.pinv(between, rtol=1e-6, hermitian=True)) / 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--way", choices=WAYS, help="only this one, as JSON")
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(json.dumps(in_this_process(arguments.way, arguments.samples)))
    else:
        near_collapse()
        forwards()
        large(arguments.samples)
