"""Malformed overrides through the command itself, experiment files, and counts."""

import contextlib
import json
import math
from pathlib import Path

import fuzzing
import numpy as np
from conftest import contents
from fuzzing import altered, ask_theory, damaged, examples, within_time
from hypothesis import assume, example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ncrun.config.experiments import SCALES
from ncrun.config.folders import config_directory
from ncrun.config.schema import known_keys
from ncrun.data import SOURCES
from ncrun.data.counts import PROFILES, class_counts
from ncrun.data.request import DataRequest
from ncrun.data.subset import choose_indices
from ncrun.models import MODELS
from ncrun.run import OPTIMIZERS, Job

numbers, place = fuzzing.numbers, fuzzing.place
Data = st.DataObject


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
    st.sampled_from([*MODELS.keys(), *SOURCES.keys(), *OPTIMIZERS, *SCALES]),
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


def check_success(job: Job) -> None:
    """A configuration that came through is one that runs can be made of."""
    json.dumps(job.config, allow_nan=False)
    for run in job.runs:
        counts = list(run.data.counts)
        assert len(counts) == run.problem.num_classes >= 2
        assert all(isinstance(count, int) and count >= 1 for count in counts)
        assert run.data.num_samples == sum(counts)
        assert 1 <= run.descent.batch_size <= run.data.num_samples
        if isinstance(run.data, DataRequest):
            sizes = [run.data.source.facts.class_sizes[k] for k in run.data.chosen]
            assert all(count <= size for count, size in zip(counts, sizes, strict=True))
        assert len(run.problem.weight_decays) == run.problem.depth == len(run.problem.widths)
        assert all(math.isfinite(decay) and decay >= 0 for decay in run.problem.weight_decays)
        assert run.problem.counts == tuple(map(float, counts))
        assert len(run.identity) == 10


@examples(35)
@example(overrides=["seed=" + "[" * 3000])
@example(overrides=["model.width=1e400"])
@given(overrides=st.lists(OVERRIDES, min_size=1, max_size=3))
def test_overrides(overrides: list[str], place: Path) -> None:
    """A success is a run that can be made; what was typed last of a key, as a plain number, is what the run has."""
    assume(not {"--help", "-m"} & set(overrides))
    before = contents(place)
    with within_time("overrides"):
        job = ask_theory(*overrides)
    assert contents(place) == before
    if job is None:
        return
    check_success(job)
    typed = dict(override.split("=", 1) for override in overrides if "=" in override)
    flat = OmegaConf.create(job.config)
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
    content = (config_directory() / "experiment" / f"{data.draw(st.sampled_from(EXPERIMENTS))}.yaml").read_bytes()
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
        job = ask_theory("--config-dir", "own", "experiment=mine")
    if job is not None:
        check_success(job)


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
