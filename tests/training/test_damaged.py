"""Files of a run that were damaged, lost, or written by somebody else: noticed, reported, and continued around."""

import io
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Refused, contents, state, write_run
from faults import RUN, a_straight_run, an_interrupted_run, assert_completed, at_call

from ncrun.errors import UserError
from ncrun.models.head import LinearHead, new_layers
from ncrun.records import RunDirectory, read_metrics
from ncrun.records.files import DamagedFile, read_sealed, write_sealed
from ncrun.records.read import load_record

pytestmark = pytest.mark.usefixtures("undrawn")
interrupted = pytest.fixture(an_interrupted_run)
straight = pytest.fixture(a_straight_run)


def test_sealed_file_notices_every_flipped_bit_and_every_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_sealed(path, b"the content of a file")
    whole = path.read_bytes()
    assert bytes(read_sealed(path)) == b"the content of a file"
    for place, bit in itertools.product(range(len(whole)), range(8)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(DamagedFile):
            read_sealed(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read_sealed(path)


def flip_in_a_tensor(path: Path) -> None:
    """One bit of the stored weights: the archive's structure, and whatever reads it, stays as it was."""
    content = bytearray(path.read_bytes())
    stored = torch.load(path, weights_only=True)["network"]
    needle = max(stored.values(), key=torch.Tensor.numel).numpy().tobytes()
    content[content.index(needle) + len(needle) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    "damage",
    [
        flip_in_a_tensor,
        lambda path: path.write_bytes(path.read_bytes()[:-700]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
    ],
    ids=["flipped", "cut", "empty", "other"],
)
def test_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    damage: Callable[[Path], None], interrupted: Path, straight: Path, ncrun: Command
) -> None:
    damage(interrupted / "checkpoint.pt")
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 0
    assert result.err.startswith("ncrun: run: checkpoint.pt is damaged (")
    assert result.err.endswith("); continues from checkpoint.previous.pt, epoch 1\n")
    assert result.err.count("\n") == 1
    assert_completed(interrupted, straight)


def test_without_an_intact_checkpoint_a_run_says_so_and_starts_anew(
    interrupted: Path, straight: Path, ncrun: Command
) -> None:
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        flip_in_a_tensor(interrupted / name)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert result.err.endswith(", and no other is left; starts from the beginning\n")
    assert_completed(interrupted, straight)


def test_checkpoint_that_is_gone(interrupted: Path, straight: Path, ncrun: Command) -> None:
    (interrupted / "checkpoint.pt").unlink()  # as after a kill between two renames
    assert ncrun("train", *RUN, "run_dir=run").err == ""
    assert_completed(interrupted, straight)


def test_checkpoints_that_are_both_gone(interrupted: Path, straight: Path, ncrun: Command) -> None:
    (interrupted / "checkpoint.pt").unlink()
    (interrupted / "checkpoint.previous.pt").unlink()
    assert ncrun("train", *RUN, "run_dir=run").err == "ncrun: run: has no checkpoint yet; starts from the beginning\n"
    assert_completed(interrupted, straight)


def test_good_checkpoint_survives_a_kill_after_a_damaged_one(interrupted: Path, ncrun: Command, workdir: Path) -> None:
    """The damaged one is removed before anything is saved, so that it is never moved over the good one."""
    good = (interrupted / "checkpoint.previous.pt").read_bytes()
    flip_in_a_tensor(interrupted / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert ncrun("train", *RUN, "run_dir=run").status == 128 + signal.SIGINT
    assert (interrupted / "checkpoint.previous.pt").read_bytes() == good
    read_sealed(interrupted / "checkpoint.pt")


def test_checkpoint_that_executes_code_is_not_opened(interrupted: Path, straight: Path, ncrun: Command) -> None:
    """Even with the right checksum: a run directory may be somebody else's."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(interrupted.parent / "owned"),)

    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        buffer = io.BytesIO()
        torch.save({"network": Evil()}, buffer)
        write_sealed(interrupted / name, buffer.getbuffer())
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert not (interrupted.parent / "owned").exists()
    assert_completed(interrupted, straight)


def test_checkpoint_of_another_network(interrupted: Path, ncrun: Command) -> None:
    kept = contents(interrupted)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        content = torch.load(interrupted / name, weights_only=True)
        content["network"].popitem()
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_sealed(interrupted / name, buffer.getbuffer())
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "does not fit this version's network" in result.err
    assert state(interrupted) == "failed"
    assert (interrupted / "metrics.jsonl").read_bytes() == kept["metrics.jsonl"]


def change_row(directory: Path, number: int) -> None:
    lines = (directory / "metrics.jsonl").read_bytes().split(b"\n")
    lines[number] = lines[number].replace(b'"loss": 0.', b'"loss": 7.').replace(b'"loss": 1.', b'"loss": 7.')
    assert b'"loss": 7.' in lines[number]
    (directory / "metrics.jsonl").write_bytes(b"\n".join(lines))


def test_changed_metrics_that_an_older_checkpoint_does_not_know(
    interrupted: Path, straight: Path, ncrun: Command
) -> None:
    change_row(interrupted, 2)
    result = ncrun("train", *RUN, "run_dir=run")
    assert result.status == 0
    assert result.err == (
        "ncrun: run: metrics.jsonl was changed, or has lost lines; continues from checkpoint.previous.pt, epoch 1\n"
    )
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("change", ["changed", "cut", "gone"])
def test_changed_metrics_that_both_checkpoints_know_are_refused(
    change: str, interrupted: Path, refused: Refused
) -> None:
    if change == "changed":
        change_row(interrupted, 0)
    elif change == "cut":
        os.truncate(interrupted / "metrics.jsonl", 500)
    else:
        (interrupted / "metrics.jsonl").unlink()
    line = refused("train", *RUN, "run_dir=run")
    assert line.startswith("run_dir=run: metrics.jsonl was changed, or has lost lines")
    assert state(interrupted) == "interrupted"


@pytest.mark.parametrize("torn", [b'{"epoch": 3, "lo', b"\xff\xfe", b'{"epoch": 9}\n{"ep'])
def test_what_came_after_the_checkpoint_is_cut_away(
    torn: bytes, interrupted: Path, straight: Path, ncrun: Command
) -> None:
    with (interrupted / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert ncrun("train", *RUN, "run_dir=run").err == ""
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("line", [b"\xff\xfe{}", b'{"epoch": ', b"[1]", b'{"loss": NaN}', b"[" * 5000, b""])
def test_damaged_line_of_metrics_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 0}\n' + line + b'\n{"epoch": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: is not "):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "content", [b"\xff", b"a: [", b"- 1\n", b"x: !!python/object/apply:os.getcwd []\n", b"a: &a [*a]", None]
)
def test_damaged_configuration_of_a_record_is_named(content: bytes | None, tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [{"epoch": 0}])
    if content is None:
        (directory / "config.yaml").unlink()
    else:
        (directory / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml: is "):
        load_record(directory)


def seal(path: Path, content: Any) -> None:
    """A checkpoint of any content, with the right checksum."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_sealed(path, buffer.getbuffer())


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("metrics", [{"size": None, "sha256": ""}]),
        ("metrics", None),
        ("progress", {}),
        ("environment", {"threads": "x"}),
        ("random", 0),
    ],
)
def test_checkpoint_with_an_entry_of_another_kind(part: str, value: Any, interrupted: Path, ncrun: Command) -> None:
    path = interrupted / "checkpoint.pt"
    seal(path, torch.load(path, weights_only=True) | {part: value})
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert "checkpoint.pt is damaged (not written by this version); continues from checkpoint.prev" in result.err


def test_optimiser_that_does_not_fit(interrupted: Path, ncrun: Command) -> None:
    """PyTorch raises an AttributeError or TypeError of its own for this."""
    path = interrupted / "checkpoint.pt"
    seal(path, torch.load(path, weights_only=True) | {"optimiser": {"state": None, "param_groups": [1]}})
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "does not fit this version's network or optimiser" in result.err


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"\x80\x02(", b"\x80\x02K\x01q", b"PK\x03\x04"], ids=repr)
def test_sealed_bytes_that_pytorch_cannot_read(
    content: bytes, interrupted: Path, straight: Path, ncrun: Command, refused: Refused
) -> None:
    write_sealed(interrupted / "checkpoint.pt", content)
    result = ncrun("train", *RUN, "run_dir=run")
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert_completed(interrupted, straight)


@pytest.mark.parametrize("weight", [torch.ones(1, 1), torch.ones(4), torch.ones(2, 3), None], ids=str)
def test_frozen_head_of_another_shape_is_refused(weight: Any, tmp_path: Path) -> None:
    """Where `Tensor.copy_` would repeat a smaller tensor."""
    seal(tmp_path / "checkpoint.pt", {"network": {"head.weights.0": [weight]}})
    with pytest.raises(UserError, match=r"its checkpoint.pt cannot be used \(expected weights of shape \(2, 4\)"):
        LinearHead(new_layers((4,), 2, bias=False)).take_over(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("manifest.json", '"state"', '"stade"'),
        ("manifest.json", '"done"', '"dine"'),
        ("theory.json", '"claim"', '"clain"'),
        ("config.yaml", '"seed": 0', '"seed": [{}]'),
        ("config.yaml", '"model"', '"models"'),
        ("metrics.jsonl", '"epoch": 1', '"epoch": "1"'),
        ("metrics.jsonl", '"loss": 0.5', '"loss": [0.5]'),
        ("metrics.jsonl", '"loss": 0.5', '"loss": 1e999'),
    ],
)
def test_record_with_an_entry_of_another_kind(name: str, old: str, new: str, refused: Refused, workdir: Path) -> None:
    file = write_run(workdir / "run", [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}]) / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    line = refused("table", "run")
    # A run whose state is unknown is none.
    assert f"run/{name}" in line or (name == "manifest.json" and line == "run: holds no run")


def test_mark_of_more_metrics_than_there_are(tmp_path: Path) -> None:
    """Their hash alone would do, and cutting would fill the file up with zeros."""
    record = RunDirectory(tmp_path, "0123456789")
    record.append({"epoch": 0})
    mark = record.mark()
    assert record.fits(mark)
    assert not record.fits(mark | {"size": mark["size"] + 1})
