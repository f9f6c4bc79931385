"""snapshots.npz as a file: what is written is read, and nothing else is believed."""

import io
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from ncrun.records.files import DamagedFile
from ncrun.records.snapshots import Snapshots, parsed


@pytest.fixture
def some() -> Snapshots:
    rng = np.random.default_rng(0)
    return Snapshots(
        epochs=np.array([0, 1, 7]),
        classes=np.array([0, 1, 4]),
        train_labels=np.array([0, 0, 1, 1, 2]),
        test_labels=np.array([0, 2]),
        means=rng.standard_normal((3, 3, 3)),
        rows=rng.standard_normal((3, 3, 3)),
        units=np.array([2.0, 1.0, 1e-9]),
        train=rng.uniform(-1, 1, (3, 5, 3)).astype(np.float16),
        test=rng.uniform(-1, 1, (3, 2, 3)).astype(np.float16),
    )


def test_what_is_written_is_read_and_the_bytes_say_no_time(some: Snapshots) -> None:
    content = some.as_bytes()
    assert content == parsed(content).as_bytes()
    assert some.of([0]).with_more(some.of([1, 2])).as_bytes() == content
    with np.load(io.BytesIO(content)) as arrays:  # as a user would read it
        assert set(arrays.files) == {each.name for each in fields(Snapshots)}
        points = arrays["means"][1][arrays["train_labels"]] + arrays["units"][1] * arrays["train"][1]
    np.testing.assert_array_equal(points, parsed(content).points("train", 1))


def packed(**arrays: "np.ndarray | bytes") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            if isinstance(array, bytes):
                member.write(array)
            else:
                np.save(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def test_other_content_is_refused(some: Snapshots) -> None:
    whole = {each.name: getattr(some, each.name) for each in fields(some)}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6, 9)})
    nan = some.means.copy()
    nan[1, 1, 1] = np.nan
    damaged = {
        "cut": some.as_bytes()[:-100],
        "empty": b"",
        "missing": packed(**{name: array for name, array in whole.items() if name != "rows"}),
        "objects": packed(**whole | {"units": np.array([object()] * 3, dtype=object)}),
        "huge": packed(**whole | {"means": header.getvalue()}),
        "not finite": packed(**whole | {"means": nan}),
        "no such class": packed(**whole | {"train_labels": np.array([0, 0, 1, 1, 3])}),
        "epochs": packed(**whole | {"epochs": np.array([0, 7, 1])}),
        "shape": replace(some, rows=some.rows[:, :2]).as_bytes(),
        "twice": replace(some, classes=np.array([0, 1, 1])).as_bytes(),
    }
    for content in damaged.values():
        with pytest.raises(DamagedFile):
            parsed(content)
