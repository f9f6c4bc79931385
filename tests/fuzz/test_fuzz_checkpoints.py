"""Damaged checkpoints, the metrics that they know of, and lock files."""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

import fuzzing
import torch
from conftest import built
from fuzzing import JUNK, RUN, altered, composed, damaged, examples, replaced, within_time
from hypothesis import given
from hypothesis import strategies as st

from ncrun.errors import UserError
from ncrun.models.head import LinearHead, new_layers
from ncrun.records import RunDirectory
from ncrun.records.files import read_sealed, write_sealed
from ncrun.records.lock import Lock
from ncrun.records.read import read_metrics
from ncrun.training.checkpoint import Checkpoints, DoesNotFit, search
from ncrun.training.optimisers import StepRule, build_optimiser

numbers, place, interrupted = fuzzing.numbers, fuzzing.place, fuzzing.interrupted
Data = st.DataObject


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
        assert found.message.endswith("starts from the beginning")
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
    network = built(run)
    optimiser = build_optimiser([StepRule.of(run.descent.optimizer)], network)
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
            LinearHead(new_layers((8,), 10, bias=False)).take_over(record.path)


@examples(20)
@given(
    content=st.one_of(
        st.binary(max_size=60), st.sampled_from([b"[" * 5000, b'{"pid": []}', b'{"pid": 1, "host": {}}'])
    ),
    name=st.sampled_from([".lock", ".lock.1/holder", ".lock.1/other", ".lock.3", f".lock.{10**100}/holder"]),
)
def test_any_content_of_a_lock_file(content: bytes, name: str, place: Path) -> None:
    """In the place of older versions', in today's, and where none has it."""
    folder = place / "locked"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(content)
    lock = Lock(folder)
    with within_time("lock files"):
        with contextlib.suppress(UserError):
            lock.take()
        lock.release()
