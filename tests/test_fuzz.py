"""Malformed input, made up by hypothesis: never a traceback, never a hang, never a wrong success.

Every example ends in success or in the one line that users are shown; any other exception fails its test, and so does
an example that takes longer than LONGEST_S. What a success has to satisfy stands in each test. The suite runs a few
fixed examples of each kind; `make torture` runs NCRUN_FUZZ times as many, new ones each time, and prints their numbers.
"""

import contextlib
import io
import json
import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import TINY, contents, run_command
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from ncrun import cli
from ncrun.compose import compose_run, group_options
from ncrun.config import RunConfig, known_keys, resolve
from ncrun.data.counts import PROFILES, class_counts
from ncrun.data.load import IDX_MD5, read_splits
from ncrun.data.npz import NpzFile
from ncrun.data.subset import choose_indices
from ncrun.errors import UserError
from ncrun.figures import panels
from ncrun.figures.command import figures
from ncrun.measure_command import measure_file
from ncrun.models import build
from ncrun.models.head import LinearHead
from ncrun.records import RunDirectory
from ncrun.records.directory import STATES
from ncrun.records.files import read_sealed, write_sealed
from ncrun.records.lock import Lock
from ncrun.records.read import load_record, read_metrics
from ncrun.records.table_command import table
from ncrun.training.checkpoint import Checkpoints, DoesNotFit, search
from ncrun.training.evaluate import Evaluator
from ncrun.training.optimisers import StepRule, build_optimiser

FACTOR = int(os.environ.get("NCRUN_FUZZ", "1"))
LONGEST_S = 20.0
TRIED: Counter[str] = Counter()
RUN = (*TINY, "epochs=4", "batch_size=13")
FREE = ("model=ufm", "counts=[4,2]", "model.width=4", "decay.weight=1e-2", "decay.feature=1e-2", "epochs=30")
Data = st.DataObject


def examples(number: int) -> Callable[[Any], Any]:
    """So many in the suite. Without hypothesis' deadline: this machine may be busy, and `within_time` sees hangs."""
    return settings(
        max_examples=number * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # a failure prints what it failed on; shrinking it takes minutes
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def within_time(kind: str) -> Iterator[None]:
    """Counts an input of this kind, and fails if what is done with it hangs."""

    def late(number: int, frame: FrameType | None) -> NoReturn:
        pytest.fail(f"{kind}: takes longer than {LONGEST_S} s")

    TRIED[kind] += 1
    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="module", autouse=True)
def numbers() -> Iterator[None]:
    yield
    if FACTOR > 1:
        print("\n\n" + "\n".join(f"{kind:36}{number:7}" for kind, number in TRIED.items()))
        print(f"{'inputs in all':36}{sum(TRIED.values()):7}")


# ---------------------------------------------------------------- runs to be damaged


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is the current one for all tests here."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def interrupted(place: Path) -> Path:
    """A network's run, stopped at its second measurement, with two checkpoints; the newer one knows one row more."""
    measure, calls = Evaluator.__call__, iter(range(99))

    def stopping(self: Evaluator, network: Any) -> dict[str, Any]:
        if next(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return measure(self, network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr(Evaluator, "__call__", stopping)
        assert run_command("train", *RUN, "run_dir=network").status == 128 + signal.SIGTERM
    return place / "network"


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """A finished run of free features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        assert run_command("train", *FREE, "run_dir=free").status == 0
    return place / "free"


@cache
def composed(overrides: tuple[str, ...]) -> RunConfig:
    """A run's configuration, composed once: that takes longer than what is tried on it."""
    return resolve(compose_run(overrides))


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content, for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes flipped, cut off, zeroed, inserted, removed, exchanged, or altogether others."""
    how = draw(st.sampled_from(["flip", "cut", "zero", "insert", "remove", "exchange", "other"]))
    if how == "other":
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(content) - 1))
    end = min(len(content), start + draw(st.integers(1, 40)))
    if how == "flip":
        return content[:start] + bytes([content[start] ^ 1 << draw(st.integers(0, 7))]) + content[start + 1 :]
    middle = {
        "cut": lambda: None,
        "zero": lambda: bytes(end - start),
        "insert": lambda: draw(st.binary(min_size=1, max_size=40)) + content[start:end],
        "remove": lambda: b"",
        "exchange": lambda: draw(st.binary(min_size=end - start, max_size=end - start)),
    }[how]()
    return content[:start] if middle is None else content[:start] + middle + content[end:]


JUNK = st.one_of(
    st.sampled_from([None, True, False, -1, 0, 1, 3, 2**70, 0.5, -1e308, "", "x", "done", "1e400"]),
    st.sampled_from([[], [None], ["x"], [[1]], [1, 2], [1.0] * 20, {}, {"x": 1}]),
)


@st.composite
def altered(draw: st.DrawFn, tree: Any, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """A tree of dicts and lists with one entry of any depth deleted, renamed, or put another thing in its place."""
    whole = here = deepcopy(tree)
    while True:
        if isinstance(here, dict):
            key = draw(st.sampled_from(sorted(here, key=str)))
        else:
            key = draw(st.integers(0, len(here) - 1))
        below = here[key]
        if isinstance(below, dict | list) and below and draw(st.integers(0, 3)):
            here = below
            continue
        how = draw(st.sampled_from(["delete", "replace", "replace", "replace"]))
        if how == "delete":
            del here[key]
        else:
            here[key] = draw(junk)
        return whole


# ---------------------------------------------------------------- overrides, through the command itself

NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.1",
    "1.5",
    "1e-3",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    "1e-320",
]
WORDS = ["true", "null", "auto", "full", "every", "log", "mse", "ce", "exp", "seed", "features", "parameters", "x", ""]
LISTS = ["[]", "[0]", "[1,2]", "[3,3,3]", "[5,5,5,5,5,5,5,5,5,5]", "[1e-3,1e-2]", "[null]", "[x,y]", "[[1]]", "[nan]"]
SYNTAX = [
    "{a:1}",
    "[1",
    "'",
    '"',
    "${seed}",
    "${oc.env:HOME}",
    "${oc.env:NONE}",
    "${x}",
    "${",
    "\\",
    "a b",
    "é",
    "\u2028",
]
SYNTAX += ["1,2", "range(3)", "choice(1,2)", "sort(1)", "???", "!!python/object/apply:os.getcwd []", "=", ":", "*", "%"]
VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *WORDS, *LISTS, *SYNTAX]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(max_size=8),
    st.sampled_from([*(o for g in ("model", "dataset", "optimizer", "scale") for o in group_options(g))]),
)
KEYS = st.one_of(st.sampled_from([*known_keys(), "experiment", "scale"]), st.text(max_size=6))
OVERRIDES = st.one_of(
    st.tuples(st.sampled_from(["", "", "", "", "", "+", "++", "~"]), KEYS, VALUES).map(
        lambda t: f"{t[0]}{t[1]}={t[2]}"
    ),
    st.sampled_from(["model=ufm", "model=dufm", "model=ufm_relu", "head.depth=2", "counts=[3,2]", "loss=ce"]),
    st.sampled_from(["~seed", "model", "--cfg", "--foo", "-x", "--resolve", "hydra/launcher=x", "hydra.job.name=1"]),
    st.text(max_size=8),
)


def ask_theory(*overrides: str) -> RunConfig | None:
    """`ncrun theory` up to the validated configuration; None if it was refused, in one line, with status 2."""
    found: list[RunConfig] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_theory", lambda run, print_json: found.append(run))
        result = run_command("theory", *overrides)
    assert "Traceback" not in result.err
    if result.status != 0:
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith("ncrun: ")
        assert len(result.err.splitlines()) == 1
        assert not found
        return None
    assert result.err == ""
    return found[0] if found else None


def check_success(run: RunConfig) -> None:
    """A configuration that came through is one that a run can be made of."""
    counts = run.class_counts()
    assert len(counts) == run.num_classes >= 2
    assert all(isinstance(count, int) and count >= 1 for count in counts)
    assert run.num_samples == sum(counts)
    if not run.is_free:
        assert all(count <= size for count, size in zip(counts, run.class_sizes, strict=True))
        assert run.is_full_batch or 1 <= run.batch_size <= run.num_samples
    assert len(run.weight_decays()) == run.depth == len(run.head_widths())
    assert all(math.isfinite(decay) and decay >= 0 for decay in run.weight_decays())
    assert len(run.identity()) == 10
    problem = run.problem()
    assert (problem.counts, problem.weight_decays) == (tuple(map(float, counts)), run.weight_decays())
    json.dumps(run.as_dict(), allow_nan=False)


@examples(35)
@example(overrides=["seed=" + "[" * 3000])
@example(overrides=["model.width=1e400"])
@given(overrides=st.lists(OVERRIDES, min_size=1, max_size=3))
def test_overrides(overrides: list[str], place: Path) -> None:
    """A success is a run that can be made; what was typed last of a key, as a plain number, is what the run has."""
    assume(not {"--help", "-m"} & set(overrides))
    before = contents(place)
    with within_time("overrides"):
        run = ask_theory(*overrides)
    assert contents(place) == before
    if run is None:
        return
    check_success(run)
    typed = dict(override.split("=", 1) for override in overrides if "=" in override)
    flat = OmegaConf.create(run.as_dict())
    for key, value in typed.items():
        if key.startswith(("~", "hydra.")):
            continue
        with contextlib.suppress(ValueError):
            number = float(value)
            assert float(OmegaConf.select(flat, key.lstrip("+"))) == number, (key, value)


EXPERIMENTS = ["dang2023/mlp-imbalanced", "dang2024/mlp", "sukenik2023/dufm"]


@examples(12)
@given(data=st.data())
def test_experiment_files(data: Data, place: Path) -> None:
    """A user's own experiment file, found through Hydra's --config-dir: damaged bytes, or YAML of another shape."""
    content = (cli.config_directory() / "experiment" / f"{data.draw(st.sampled_from(EXPERIMENTS))}.yaml").read_bytes()
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    else:
        header = b"# @package _global_\n"
        tree = data.draw(altered(OmegaConf.to_container(OmegaConf.create(content.decode()), resolve=False)))
        content = header + json.dumps(tree).encode()
    own = place / "own" / "experiment"
    own.mkdir(parents=True, exist_ok=True)
    (own / "mine.yaml").write_bytes(content)
    with within_time("experiment files"):
        run = ask_theory("--config-dir", "own", "experiment=mine")
    if run is not None:
        check_success(run)


# ---------------------------------------------------------------- counts and subsets


@examples(60)
@given(
    sizes=st.lists(st.integers(1, 6000), min_size=2, max_size=30),
    imbalance=st.one_of(st.none(), st.floats(0, 1, exclude_min=True)),
    profile=st.sampled_from(PROFILES),
    seed=st.integers(0, 2**63 - 1),
    subset=st.sampled_from(["first", "seed"]),
)
def test_counts_and_the_samples_chosen(
    sizes: list[int], imbalance: float | None, profile: str, seed: int, subset: str
) -> None:
    """Every class has a sample, none more than there are; the ends are n_max and n_max r; the chosen samples are
    different ones, exactly so many of each class."""
    with within_time("counts"):
        order = np.random.default_rng(seed).permutation(len(sizes)).tolist()
        counts = class_counts(sizes, imbalance, profile, order)
        labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
        chosen = choose_indices(labels, counts, subset, seed)
    assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
    if imbalance is None:
        assert counts == sizes
    else:
        falling = [counts[k] for k in order]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] == min(sizes)
        assert abs(falling[-1] - max(1, min(sizes) * imbalance)) <= 1
    assert len(set(chosen.tolist())) == len(chosen) == sum(counts)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == counts


# ---------------------------------------------------------------- npz and idx files

RNG = np.random.default_rng(0)
IMAGES = {
    "train_images": RNG.integers(0, 256, (12, 3, 4), dtype=np.uint8),
    "train_labels": np.arange(12) % 3,
    "test_images": RNG.integers(0, 256, (6, 3, 4), dtype=np.uint8),
    "test_labels": np.arange(6) % 3,
}
NETWORK = {
    "features": RNG.normal(size=(12, 4)),
    "labels": np.arange(12) % 3,
    "classifier": RNG.normal(size=(3, 4)),
    "bias": RNG.normal(size=3),
}
ANY_ARRAY = st.one_of(
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    arrays.arrays(np.dtype(object), arrays.array_shapes(max_dims=2, max_side=3), elements=st.just(None)),
    arrays.arrays(np.float64, st.sampled_from([(12, 4), (3, 4), (12,), (3,)]), elements=st.floats()),
    arrays.arrays(np.int64, st.sampled_from([(12,), (6,)]), elements=st.integers(-1, 4)),
    arrays.arrays(np.float32, (12, 3, 4), elements=st.floats(width=32)),
)


def packed(content: dict[str, Any], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **content)
    return buffer.getvalue()


def check_npz(path: Path) -> list[np.ndarray] | None:
    """Both splits as the file has them; None if it was refused."""
    try:
        file = NpzFile(path)
        facts, digest = file.facts, file.digest
        train, test = file.read()
    except UserError as error:
        assert str(error).startswith(f"dataset.path={path}: ")  # noqa: PT017 - a success is as good
        return None
    assert len(digest) == 64
    for split in (train, test):
        assert len(split.images) == len(split.labels)
        assert split.images.shape[1:] == facts.image_shape
        assert split.images.dtype == np.uint8 or np.isfinite(split.images).all()
        assert set(split.labels) <= set(range(facts.num_classes))
    assert np.bincount(train.labels).tolist() == list(facts.class_sizes)
    torch.from_numpy(train.images)
    return [train.images, train.labels, test.images, test.labels]


@examples(70)
@given(data=st.data(), compressed=st.booleans())
def test_damaged_npz_file(data: Data, compressed: bool, place: Path) -> None:
    """What is not refused holds the very arrays that were saved: zip files have a checksum of each."""
    path = place / "data.npz"
    path.write_bytes(packed(IMAGES, compressed))
    intact = check_npz(path)
    assert intact is not None
    with within_time("npz bytes"), replaced(path, data.draw(damaged(path.read_bytes()))):
        found = check_npz(path)
        if found is not None:
            assert all(np.array_equal(here, there) for here, there in zip(found, intact, strict=True))
        with contextlib.suppress(UserError):
            measure_file([str(path)])
            pytest.fail("measured a data set")


@examples(60)
@given(data=st.data())
def test_npz_file_of_other_arrays(data: Data, place: Path) -> None:
    content = IMAGES | {name: data.draw(ANY_ARRAY) for name in data.draw(st.sets(st.sampled_from(sorted(IMAGES))))}
    if data.draw(st.booleans()):
        del content["test_images"], content["test_labels"]
    path = place / "data.npz"
    path.write_bytes(packed(content))
    with within_time("npz arrays"):
        check_npz(path)


@examples(50)
@given(data=st.data())
def test_measured_file_of_other_arrays(data: Data, place: Path) -> None:
    """Measured numbers are finite, or null."""
    content = NETWORK | {name: data.draw(ANY_ARRAY) for name in data.draw(st.sets(st.sampled_from(sorted(NETWORK))))}
    if data.draw(st.booleans()):
        del content["bias"]
    path = place / "network.npz"
    path.write_bytes(packed(content))
    decays = data.draw(
        st.sampled_from([[], ["--decay-weight", "1e-2"], ["--decay-weight", "1e-2", "--decay-feature", "1e-2"]])
    )
    with within_time("measured npz"), contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            assert measure_file([str(path), "--json", "--free-features", *decays]) == 0
        except UserError:
            return
    found = json.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(f"printed {name}"))
    assert sum(entry["count"] for entry in found["theory"]["classes"]) == len(content["labels"])


@examples(30)
@given(data=st.data(), compressed=st.booleans())
def test_damaged_measured_file(data: Data, compressed: bool, place: Path) -> None:
    """What is not refused has the numbers of the intact file."""

    def measured() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert measure_file([str(path), "--json", "--free-features"]) == 0
        return out.getvalue()

    path = place / "network.npz"
    path.write_bytes(packed(NETWORK, compressed))
    intact = measured()
    changed = data.draw(damaged(path.read_bytes()))
    with within_time("measured npz bytes"), replaced(path, changed), contextlib.suppress(UserError):
        assert measured() == intact


@pytest.fixture(scope="module")
def idx_files(place: Path) -> Iterator[dict[str, Path]]:
    """Small EMNIST and MNIST in their own format; the sums that MNIST's files are checked against are these."""
    import hashlib

    with pytest.MonkeyPatch.context() as patch:
        sums = {}
        for name, prefixes in (
            ("EMNIST", ["emnist-letters-train", "emnist-letters-test"]),
            ("MNIST", ["train", "t10k"]),
        ):
            K = 26 if name == "EMNIST" else 10
            folder = place / name / "raw"
            folder.mkdir(parents=True)
            for prefix in prefixes:
                for kind, values in (
                    ("images-idx3", RNG.integers(0, 256, (K, 28, 28), dtype=np.uint8)),
                    ("labels-idx1", (np.arange(K) + (name == "EMNIST")).astype(np.uint8)),
                ):
                    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
                    content = header + values.tobytes()
                    (folder / f"{prefix}-{kind}-ubyte").write_bytes(content)
                    sums[f"{prefix}-{kind}-ubyte"] = hashlib.md5(content).hexdigest()
        patch.setitem(IDX_MD5, "mnist", sums)
        yield {"emnist_letters": place / "EMNIST" / "raw", "mnist": place / "MNIST" / "raw"}


@examples(30)
@given(data=st.data(), dataset=st.sampled_from(["emnist_letters", "mnist"]))
def test_damaged_idx_file(data: Data, dataset: str, idx_files: dict[str, Path], place: Path) -> None:
    """MNIST: nothing but the very bytes. EMNIST, of which no sums are published: as many images as labels, 26 classes;
    a changed pixel, or a letter in another's place, nobody can notice."""
    path = data.draw(st.sampled_from(sorted(idx_files[dataset].iterdir())))
    intact = path.read_bytes()
    content = data.draw(damaged(intact))
    with within_time("idx bytes"), replaced(path, content):
        try:
            splits = read_splits(dataset, place)
        except UserError as error:
            assert "damaged" in str(error)  # noqa: PT017 - a success is as good
            return
    assert dataset == "emnist_letters" or content == intact
    for split in splits:
        assert split.images.shape == (len(split.labels), 1, 28, 28)
        assert set(split.labels) <= set(range(26))


# ---------------------------------------------------------------- checkpoints


def same(a: Any, b: Any) -> bool:
    """Equality to the bit of nested containers of tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


IDENTITY = "0123456789"  # where none is asked for


def loaded(path: Path) -> Any:
    return torch.load(io.BytesIO(read_sealed(path)), weights_only=True)


@examples(60)
@given(data=st.data())
def test_damaged_checkpoints(data: Data, interrupted: Path) -> None:
    """What a run continues from is to the bit one of the two that were written, and a loss of the newer one is told."""
    record = RunDirectory(interrupted, IDENTITY)
    written = [loaded(path) for path in (record.checkpoint, record.previous_checkpoint)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(within_time("checkpoint bytes"))
        for path in data.draw(
            st.sampled_from(
                [[record.checkpoint], [record.previous_checkpoint], [record.checkpoint, record.previous_checkpoint]]
            )
        ):
            stack.enter_context(replaced(path, data.draw(damaged(path.read_bytes()))))
        found = search(record)
    if found.content is None:
        assert found.message is not None
        assert found.message.endswith("starts anew")
    else:
        assert any(same(found.content, content) for content in written)
        assert found.message is not None or same(found.content, written[0])


@examples(60)
@given(data=st.data())
def test_damaged_metrics_and_what_checkpoints_know_of_them(data: Data, interrupted: Path) -> None:
    """A run continues only from rows that are, to the byte, what was written. A reader gets complete lines alone."""
    record = RunDirectory(interrupted, IDENTITY)
    intact = record.metrics.read_bytes()
    changed = data.draw(damaged(intact))
    with within_time("metrics bytes"), replaced(record.metrics, changed):
        with contextlib.suppress(UserError):
            found = search(record)
            assert found.content is not None
            size = found.content["metrics"][0]["size"]
            assert 0 < size <= len(intact)
            assert changed[:size] == intact[:size]
            assert found.message is not None or same(found.content, loaded(record.checkpoint))
        with contextlib.suppress(UserError):
            assert len(read_metrics(interrupted)) == changed.count(b"\n")


@examples(80)
@given(data=st.data())
def test_checkpoints_of_another_content(data: Data, interrupted: Path, place: Path) -> None:
    """With the right checksum, as somebody else's run directory may have it: a checkpoint is put back, or refused."""
    record, run = RunDirectory(place / "foreign", IDENTITY), composed(RUN)
    content = loaded(interrupted / "checkpoint.pt")
    tree = data.draw(
        altered(content, st.one_of(JUNK, st.sampled_from([torch.zeros(3), torch.zeros(0), torch.ones(2, 2)])))
    )
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    record.path.mkdir(exist_ok=True)
    record.metrics.write_bytes((interrupted / "metrics.jsonl").read_bytes())
    write_sealed(record.checkpoint, buffer.getbuffer())
    network = build(run)
    optimiser = build_optimiser([StepRule.of(run)], network)
    random = torch.get_rng_state()
    with within_time("checkpoint contents"):
        try:
            found = search(record)
            progress = Checkpoints(record, found, {}).restore(network, optimiser, torch.Generator())
        except (UserError, DoesNotFit):
            return
        finally:
            torch.set_rng_state(random)
    assert min(progress.epoch, progress.step, progress.offset) >= 0
    if found.content is not None:
        assert same(network.state_dict(), tree["network"])


@examples(60)
@given(data=st.data())
def test_sealed_bytes_that_are_no_checkpoint(data: Data, interrupted: Path, place: Path) -> None:
    """Damage that came before the checksum was made: whatever PyTorch makes of such bytes, it is one line."""
    content = data.draw(damaged(bytes(read_sealed(interrupted / "checkpoint.pt"))))
    record = RunDirectory(place / "sealed", IDENTITY)
    record.path.mkdir(exist_ok=True)
    write_sealed(record.checkpoint, content)
    with within_time("sealed bytes"):
        with contextlib.suppress(UserError):
            search(record)
        with contextlib.suppress(UserError):
            LinearHead((8,), 10, bias=False, orthogonal=False).take_over(record.path)


# ---------------------------------------------------------------- the other files of a run directory

FILES = ["manifest.json", "theory.json", "geometry.json", "config.yaml", "metrics.jsonl"]


def changed_file(data: Data, path: Path) -> bytes:
    """Its bytes damaged, or another thing in one place of what it says."""
    content = path.read_bytes()
    if data.draw(st.booleans()):
        return data.draw(damaged(content))
    if path.name == "metrics.jsonl":
        lines = content.splitlines()
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(data.draw(altered(json.loads(lines[number])))).encode()
        return b"".join(line + b"\n" for line in lines)
    tree = OmegaConf.to_container(OmegaConf.load(path)) if path.suffix == ".yaml" else json.loads(content)
    return json.dumps(data.draw(altered(tree))).encode()  # JSON is YAML


@examples(80)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_damaged_records(data: Data, name: str, finished: Path) -> None:
    """Read back, tabulated, asked for its state and for its head."""
    with within_time(f"records: {name}"), replaced(finished / name, changed_file(data, finished / name)):
        with contextlib.suppress(UserError):
            record = load_record(finished)
            assert record.manifest["state"] in STATES
            assert all(isinstance(epoch, int | np.integer) for epoch in record.metrics.get("epoch", []))
            _ = record.geometry
            _ = record.problem
        with contextlib.suppress(UserError), contextlib.redirect_stdout(io.StringIO()) as out:
            assert table([str(finished)]) == 0
            assert out.getvalue().count("\n") == 3
        with contextlib.suppress(UserError):
            assert RunDirectory(finished, composed(FREE).identity()).state() in STATES
        if name in ("manifest.json", "config.yaml") and data.draw(st.booleans()):
            ask_theory(*TINY[:1], "classes=[0,1]", "model.width=4", "head.frozen=free")


@pytest.fixture(scope="module")
def of_an_experiment(place: Path) -> Path:
    """A finished run that `ncrun figures` draws every picture of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        small = ("counts=[4,3,2,2,2,2,2,2,2,2]", "model.width=8", "epochs=3", "measure=every", "run_dir=drawn/run")
        assert run_command("train", "experiment=dang2023/mlp-imbalanced", "scale=cpu", *small).status == 0
    return place / "drawn" / "run"


@examples(8)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_figures_of_damaged_records(data: Data, name: str, of_an_experiment: Path, place: Path) -> None:
    def drawn_only(figure: Figure, path: Path) -> tuple[Path, Path]:
        figure.draw_without_rendering()
        plt.close(figure)
        return path, path

    changed = changed_file(data, of_an_experiment / name)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()),
        within_time(f"figures: {name}"),
        replaced(of_an_experiment / name, changed),
        contextlib.suppress(UserError),
    ):
        patch.setattr(panels, "save", drawn_only)
        assert figures(["dang2023/mlp-imbalanced", "--from", "drawn", "--out", "pictures"]) == 0
    plt.close("all")


@examples(20)
@given(
    content=st.one_of(st.binary(max_size=60), st.sampled_from([b"[" * 5000, b'{"pid": []}', b'{"pid": 1, "host": {}}']))
)
def test_any_content_of_a_lock_file(content: bytes, place: Path) -> None:
    folder = place / "locked"
    folder.mkdir(exist_ok=True)
    (folder / ".lock").write_bytes(content)
    lock = Lock(folder)
    with within_time("lock files"):
        with contextlib.suppress(UserError):
            lock.take()
        lock.release()
