"""The real libraries, offline: what they hold of a run is read back. Skipped where they are not installed; by hand:

pip install tensorboard wandb mlflow && pytest tests/loggers
"""

import itertools
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Command, at_call, rows

from ncrun.records.read import Record, load_record
from ncrun.training.evaluate import Evaluator

RUN = (*TINY, "model.width=12", "epochs=4", "batch_size=13", "run_dir=run")
# Of a number that was a float32 on its way.
SINGLE = 1e-6
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries', about their own surroundings


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """What the libraries leave behind in this process and its environment."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workdir}/mlflow.db")


def trained_in_two_parts(ncrun: Command, workdir: Path, logger: str, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Stopped in its second epoch, and continued."""
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, Evaluator, "__call__", 3, lambda: signal.raise_signal(signal.SIGTERM))
        result = ncrun("train", *RUN, f"logger=[{logger}]")
        assert (result.status, "failed" in result.err) == (128 + signal.SIGTERM, False), result
    result = ncrun("train", *RUN, f"logger=[{logger}]")
    assert (result.status, "failed" in result.err) == (0, False), result
    return load_record(workdir / "run")


def numbers(record: Record, key: str) -> list[float]:
    return [float(value) for value in record.metrics[key]]


@pytest.mark.usefixtures("outside")
def test_tensorboard(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = trained_in_two_parts(ncrun, workdir, "tensorboard", monkeypatch)
    assert len(list((workdir / "run" / "tensorboard").iterdir())) == 1
    found = EventAccumulator(str(workdir / "run" / "tensorboard"), {"tensors": 0, "images": 0, "scalars": 0}).Reload()
    for key in ("loss", "nc1", "test.nc1"):
        points = found.Scalars(key)
        assert [point.step for point in points] == [0, 1, 2, 3, 4]
        assert [point.value for point in points] == pytest.approx(numbers(record, key), rel=SINGLE)
    level = [point.value for point in found.Scalars("predicted/loss")]
    assert level == pytest.approx([record.theory["objective"]] * 5, rel=SINGLE)
    texts = {
        tag: found.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()
        for tag in ("config", "classes", "outcome")
    }
    assert "batch_size: 13" in texts["config"]
    assert texts["classes"].count("\n") == 11
    assert record.manifest["summary"] in texts["outcome"]
    picture = found.Images("curves")[-1]
    assert picture.step == 4
    assert picture.width > 1000


@pytest.mark.usefixtures("outside")
def test_mlflow(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    record = trained_in_two_parts(ncrun, workdir, "mlflow", monkeypatch)
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs([client.get_experiment_by_name("ncrun").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    for key in ("loss", "nc1", "test.nc1"):
        points = sorted(client.get_metric_history(run.info.run_id, key), key=lambda point: point.step)
        assert [point.step for point in points] == [0, 1, 2, 3, 4]
        assert [point.value for point in points] == numbers(record, key)
    assert {point.value for point in client.get_metric_history(run.info.run_id, "predicted/loss")} == {
        record.theory["objective"]
    }
    assert run.data.params["batch_size"] == "13"
    assert run.data.params["optimizer.name"] == "adam"
    assert run.data.tags["summary"] == record.manifest["summary"]
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"classes.json", "curves.png"}
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "classes.json", str(workdir))).read_text())
    measured = table["columns"].index("class.margin")
    margins = [line[measured] for line in table["data"]]
    assert margins == pytest.approx(rows(workdir / "run")[-1]["class.margin"], rel=SINGLE)  # it writes ten digits


@pytest.mark.usefixtures("outside")
def test_wandb(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline each process leaves a file, of one and the same run; together they hold every epoch once."""
    pytest.importorskip("wandb")
    record = trained_in_two_parts(ncrun, workdir, "wandb", monkeypatch)
    files = sorted((workdir / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    ids, configs = set(), []
    for file in files:
        for each in records_in(file):
            if each.HasField("run"):
                ids.add(each.run.run_id)
                configs.append({item.key: json.loads(item.value_json) for item in each.run.config.update})
            if each.HasField("history"):
                history.append({_name(item): json.loads(item.value_json) for item in each.history.item})
            if each.HasField("summary"):
                summary |= {_name(item): json.loads(item.value_json) for item in each.summary.update}
    assert len(ids) == 1
    assert all(config["batch_size"] == 13 for config in configs)
    measured = [row for row in history if "loss" in row]
    assert [row["epoch"] for row in measured] == [0, 1, 2, 3, 4]
    for key in ("loss", "nc1", "test.nc1"):
        assert [row[key] for row in measured] == numbers(record, key)
    assert {row["predicted/loss"] for row in measured} == {record.theory["objective"]}
    (last,) = [row for row in history if "curves.path" in row]
    assert last["classes.nrows"] == 10
    table = json.loads((files[1].parent / "files" / last["classes.path"]).read_text())
    margin = table["columns"].index("class.margin")
    assert [line[margin] for line in table["data"]] == rows(workdir / "run")[-1]["class.margin"]
    assert (files[1].parent / "files" / last["curves.path"]).is_file()
    assert summary["summary"] == record.manifest["summary"]


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def records_in(file: Path) -> Iterator[Any]:
    """Of wandb's file, which is a log as LevelDB writes it: blocks of 32 KiB, in them chunks with a checksum, a length
    and a kind (whole, first, middle, last); after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, begun = file.read_bytes(), 7, b""
    for _ in itertools.count():
        left = 32768 - place % 32768
        if left < 7:
            place += left
        if place + 7 > len(content):
            return
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        begun += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(begun)
            begun = b""
