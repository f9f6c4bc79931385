"""Numbers anywhere between and beyond their bounds, a stranger's array headers and images, and Hydra's own keys."""

import contextlib
import json
import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import pytest
import yaml
from fuzzing import damaged, examples, within_time
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from strangers_files import declared, packed, saved, with_header

from ncrun.config import doors, resolve
from ncrun.config.bounds import REAL, WHOLE
from ncrun.config.compose import compose, parse
from ncrun.data.array_file import ArrayFile, NoArrays
from ncrun.data.image_files import NoImage, pixels
from ncrun.errors import UserError
from ncrun.theory import predict
from ncrun.theory.report import as_json, as_table

numbers, place = fuzzing.numbers, fuzzing.place
Data = st.DataObject

SETTINGS = [
    ("model=ufm", "counts=[3,2]"),
    ("model=ufm", "counts=[2,2,2]", "loss=ce", "head.depth=2"),
    ("model=ufm", "counts=[3,2,2]", "loss=ce", "head.bias=true"),
    ("model=ufm_relu", "counts=[3,2]"),
    ("model=dufm", "counts=[2,2,2]"),
    ("optimizer=sgd", "head.depth=2"),
]
ANY_NUMBER = st.one_of(
    st.integers(-(10**400), 10**400),
    st.integers(0, 10**13),
    st.integers(0, 40),
    st.floats(),
    st.floats(1e-31, 1e31),
    st.integers(-40, 40).map(lambda power: 10.0**power),
    st.sampled_from([each for bounds in (*WHOLE.values(), *REAL.values()) for each in (bounds.least, bounds.most)]),
)


@cache
def composed(typed: tuple[str, ...]) -> DictConfig:
    config = compose(typed)
    OmegaConf.set_struct(config, False)
    return config


@examples(30)
@given(data=st.data())
def test_numbers(data: Data) -> None:
    """Refused in one line, none, or finite, without a word of NumPy's."""
    setting = data.draw(st.sampled_from(SETTINGS))
    keys = data.draw(st.sets(st.sampled_from(sorted({*WHOLE, *REAL})), min_size=1, max_size=3))
    config = composed(setting).copy()
    for key in keys:
        value: Any = data.draw(ANY_NUMBER)
        if key in ("counts", "path"):
            value = data.draw(st.lists(ANY_NUMBER, min_size=1, max_size=4))
        OmegaConf.update(config, key, value)
    with within_time("numbers"), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            job = resolve(config, [*setting, *(f"{key}=typed" for key in keys)])
        except UserError as error:
            assert len(str(error)) < 2000  # noqa: PT017 - a success is as good
            return
        prediction = predict(job.runs[0].problem)
        json.dumps(as_json(prediction), allow_nan=False)
        as_table(prediction)
    assert prediction.objective is None or 0 < prediction.objective < math.inf


TEXTS = st.one_of(
    st.sampled_from(["(3,)", "()", "(12, 4)", "(0,)", "(-1,)", "(True,)", "(3.0,)", "(3L,)", "12", "[3]", "None"]),
    st.lists(st.integers(0, 10**30), max_size=5).map(lambda shape: str(tuple(shape))),
    st.text(max_size=12),
)
DTYPES = st.one_of(
    st.sampled_from(["'<f8'", "'|u1'", "'>i4'", "'O'", "'<U3'", "'V5'", "'<M8[s]'", "[('a', '<i4')]", "('<f8', (3,))"]),
    st.text(max_size=8).map(repr),
)


@examples(60)
@given(shape=TEXTS, descr=DTYPES, size=st.integers(0, 400), raw=st.one_of(st.none(), st.text(max_size=40)))
def test_array_headers(shape: str, descr: str, size: int, raw: str | None, place: Path) -> None:
    """An array that is read has the bytes that are there."""
    member = declared(shape, descr)[: -96 or None] + bytes(size) if raw is None else with_header(raw, bytes(size))
    path = packed(place / "headers.npz", {"a": member, "b": saved(np.arange(3))})
    with within_time("array headers"), contextlib.suppress(NoArrays), warnings.catch_warnings():
        warnings.simplefilter("error")
        array = ArrayFile(path).read("a")
        assert array.nbytes == size


@pytest.fixture(scope="module")
def images(place: Path) -> dict[str, bytes]:
    """A small image in each format, by its ending."""
    rng = np.random.default_rng(0)
    made = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    found = {}
    for ending, more in (
        ("png", {}),
        ("jpg", {}),
        ("bmp", {}),
        ("ppm", {}),
        ("webp", {}),
        ("gif", {}),
        ("tif", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("tiff", {"compression": "jpeg"}),
    ):
        path = place / f"image.{ending}"
        made.save(path, **more)
        found[f"{ending}{more.get('compression', '')}"] = path.read_bytes()
    return found


@examples(90)
@given(data=st.data())
def test_damaged_images(data: Data, images: dict[str, bytes], place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Pixels or one line, and no word of Pillow's or of a C library's."""
    kind = data.draw(st.sampled_from(sorted(images)))
    path = place / f"damaged.{kind[:3]}"
    path.write_bytes(data.draw(damaged(images[kind])))
    with within_time(f"images: {kind}"), contextlib.suppress(NoImage), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(path, 4, 3).shape == (3, 4, 4)
    assert capfd.readouterr() == ("", "")


PARTS = st.sampled_from(["hydra", "run", "dir", "sweeper", "params", "launcher", "callbacks", "experiment", "x", "a1"])
KEYS = st.lists(PARTS, min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(st.sampled_from([".", "/", "@"]), min_size=len(parts), max_size=len(parts)).map(
        lambda signs: "".join(part + sign for part, sign in zip(parts, signs, strict=True))[:-1]
    )
)


@examples(100)
@example(sign="", key="hydra/launcher", value="ncrun")
@given(
    sign=st.sampled_from(["", "+", "++", "~", " "]),
    key=KEYS,
    value=st.sampled_from(["x", "ncrun", "ncrun,basic", "null", "{}"]),
)
def test_no_override_sets_what_is_hydras(sign: str, key: str, value: str) -> None:
    """Whatever Hydra itself takes for a key, a group or a package of its own is refused, but for the choices."""
    typed = f"{sign}{key}={value}"
    with within_time("hydra keys"):
        try:
            doors.check_overrides([typed])
        except UserError:
            return
        with contextlib.suppress(UserError):
            (override,) = parse([typed])
            mine = f"{override.key_or_group}.{override.package or ''}"
            assert "hydra" not in mine.replace("/", ".").split(".") or (key in doors.CHOICES and value == "ncrun")


TREES = st.recursive(
    st.one_of(st.integers(), st.sampled_from(["x", "hydra"])),
    lambda below: st.one_of(
        st.dictionaries(st.sampled_from(["hydra", "sweeper", "params", "run", "<<", "a"]), below, max_size=3),
        st.lists(below, max_size=3),
    ),
    max_leaves=8,
)


@examples(100)
@given(tree=st.dictionaries(st.sampled_from(["hydra", "a", "<<", "seed"]), TREES, max_size=4))
def test_no_file_sets_what_is_hydras(tree: dict[str, Any]) -> None:
    """A file that passes holds nothing of Hydra's but a grid, once YAML has merged what it merges."""
    content = yaml.safe_dump(tree).replace("'<<'", "<<")
    with within_time("hydra files"):
        try:
            doors.check_file("mine.yaml", "experiment/mine", content.encode())
            loaded = yaml.safe_load(content)
        except (UserError, yaml.YAMLError):
            return
    own = loaded.get("hydra", {}) if isinstance(loaded, dict) else {}
    assert not isinstance(own, dict) or set(own) <= {"sweeper"}
    sweeper = own.get("sweeper", {}) if isinstance(own, dict) else {}
    assert not isinstance(sweeper, dict) or set(sweeper) <= {"params"}
