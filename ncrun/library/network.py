"""A recorded run's network with the weights of its checkpoint, and its features. Needs torch.

A record never makes ncrun import code: the network's code is ncrun's own, or in a file that the user names.
"""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ncrun.checks import choice
from ncrun.config import extensions
from ncrun.data import SOURCES, Source, streamed, tensors
from ncrun.data.folder import data_folder
from ncrun.data.request import DataRequest, FreeSamples, FreeTargets
from ncrun.data.sources.own import OwnData, opened
from ncrun.errors import UserError
from ncrun.models import MODELS
from ncrun.models.rebuild import rebuilt
from ncrun.models.saved import load_sealed
from ncrun.records.files import DamagedFile
from ncrun.records.read import Record
from ncrun.registry import Registry
from ncrun.training.cores import available_cores
from ncrun.training.features import features_of as forward

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ncrun.models.free_model import FreeFeatures
    from ncrun.models.network import Network

T = TypeVar("T", bound=Any)


def network_of(
    record: Record, path: str | Path | None, extend: Sequence[str | Path], data_dir: str | Path | None
) -> "Network | FreeFeatures":
    """See LoadedRun.network."""
    _import(record, extend)
    _entry(record, "model", MODELS, record.config["model"])  # raises UserError for an unknown one
    weights = _weights(record)
    network = rebuilt(
        record.config["model"],
        record.problem,
        _image_shape(record, data_dir),
        None if path is None else Path(path),
        (record.manifest.get("module") or {}).get("sha256"),
    )
    network.to(_dtype(record))
    try:
        network.load_state_dict(weights)
    except Exception as error:  # PyTorch raises many kinds of errors for a mismatch
        reason = " ".join(str(error).split())
        raise UserError(
            f"{record.path}: checkpoint.pt does not fit the network of config.yaml and problem.json ({reason[:200]})"
        ) from error
    network.eval()
    return network


def features_of(
    record: Record, split: str, path: str | Path | None, extend: Sequence[str | Path], data_dir: str | Path | None
) -> "tuple[NDArray[np.floating[Any]], NDArray[Any]]":
    """See LoadedRun.features."""
    choice("split", split, ("train", "test"))
    network = network_of(record, path, extend, data_dir)
    if record.is_free:
        if split == "test":
            raise UserError("split=test: free features have no data set, so they have no test split")
        data: tensors.RunData | streamed.StreamedData = _free_data(record, data_dir)
    else:
        data = _data(record, data_dir)
    images: torch.Tensor | streamed.StreamedImages | None = data.train_images
    labels: torch.Tensor | None = data.train_labels
    if split == "test":
        images, labels = data.test_images, data.test_labels
    assert images is not None
    assert labels is not None
    try:
        features, _ = forward(network, images)
    except FloatingPointError as error:
        raise UserError(f"{record.path}: {error}") from error
    finally:
        if isinstance(data, streamed.StreamedData):
            data.reader.close()
    return features.numpy(), labels.numpy()


def _import(record: Record, extend: Sequence[str | Path]) -> None:
    """Checks that the user's own files are those of the run."""
    if isinstance(extend, str):
        raise UserError(f"extend={extend}: must be a list of Python files, such as ['my_lab.py']")
    files = [str(file) for file in extend]
    extensions.load(files)
    if files and sorted(extensions.digests(files)) != sorted(record.manifest.get("extend") or []):
        warnings.warn(f"{record.path}: was trained with other files, or other content, of extend=", stacklevel=4)


def _weights(record: Record) -> dict[str, Any]:
    file = record.path / "checkpoint.pt"
    if not file.is_file():
        inside = any(each.suffix == ".zip" for each in (record.path, *record.path.parents))
        why = "checkpoints in an archive are not read" if inside else f"the run is {record.manifest['state']}"
        raise UserError(f"{file}: there is no checkpoint ({why})")
    try:
        content = load_sealed(file)
        weights = content["network"]
        assert isinstance(weights, dict)
    except (DamagedFile, OSError, LookupError, TypeError, AssertionError) as error:
        reason = str(error) if isinstance(error, DamagedFile | OSError) else "not written by this version"
        raise UserError(f"{file}: cannot be read ({reason})") from error
    return weights


def _dtype(record: Record) -> torch.dtype:
    """Older records do not hold it."""
    name = record.config.get("dtype") or ("float64" if record.is_free else "float32")
    choice(f"{record.path}: dtype", name, ("float32", "float64"))
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _image_shape(record: Record, data_dir: str | Path | None) -> tuple[int, int, int] | None:
    """None for free features."""
    if record.is_free:
        return None
    recorded = record.manifest.get("image_shape")
    if recorded is None:
        return source_of(record, data_dir).image_shape
    if not (isinstance(recorded, list) and len(recorded) == 3 and all(isinstance(n, int) and n > 0 for n in recorded)):
        raise UserError(f"{record.path / 'manifest.json'}: is not what a run writes: image_shape")
    channels, height, width = recorded
    return channels, height, width


def _free_data(record: Record, data_dir: str | Path | None) -> tensors.RunData:
    """Labels or targets of free features."""
    request: FreeSamples | FreeTargets = FreeSamples(tuple(record.manifest["class_counts"]))
    if record.on_targets:
        request = FreeTargets(_same_source(record, data_dir), data_folder(None))
    return tensors.load(request, torch.device("cpu"), torch.float64)


def _same_source(record: Record, data_dir: str | Path | None) -> Source:
    """Raises UserError if the data set has changed since the run."""
    source = source_of(record, data_dir)
    opened.cache_clear()  # files may change while a program runs for days
    if source.digest != record.manifest.get("data_hash"):
        raise UserError(f"{record.path}: the data in {source.title} have changed since the run was trained")
    return source


def _data(record: Record, data_dir: str | Path | None) -> tensors.RunData | streamed.StreamedData:
    """The run's splits. Raises UserError if the files are missing or are not those of the run."""
    config, manifest, source = record.config, record.manifest, _same_source(record, data_dir)
    classes = config.get("classes")
    request = DataRequest(
        source=source,
        folder=data_folder(config.get("data_dir") if data_dir is None else str(data_dir)),
        counts=tuple(manifest["class_counts"]),
        classes=None if classes is None else tuple(classes),
        subset=config.get("subset") or "first",
        seed=config["seed"],
        random_labels=config.get("random_labels", 0.0),
    )
    where = torch.device("cpu"), _dtype(record)
    data: tensors.RunData | streamed.StreamedData
    if record.manifest.get("streamed"):
        data = streamed.load(request, *where, streamed.Streaming(cache=0, workers=available_cores(), features=0))
    else:
        data = tensors.load(request, *where)
    if data.index_hash != manifest.get("index_hash"):
        raise UserError(f"{record.path}: the run was trained on other samples of {source.title}")
    return data


def source_of(record: Record, data_dir: str | Path | None) -> Source:
    """The run's data set, or the one at another place. Raises UserError, also for one that is not there."""
    source = _entry(record, "dataset", SOURCES, record.config["dataset"])
    if data_dir is not None:
        if not Path(data_dir).expanduser().exists():
            raise UserError(f"data_dir={data_dir}: no such file or folder")
        if isinstance(source, OwnData):
            source = replace(source, path=str(data_dir))
    source.check()
    return source


def _entry(record: Record, group: str, registry: Registry[T], given: dict[str, Any]) -> T:
    """The registered entry of the recorded name, with the recorded values. Raises UserError."""
    name = given["name"]
    if name not in registry:
        raise UserError(
            f"{group}={name}: is not built in; give the file that registers it by extend=['my_lab.py'], because a"
            " record never imports code"
        )
    entry = registry[name]
    known = [field.name for field in fields(entry)]
    for key in given:
        if key not in known:
            raise UserError(
                f"{record.path / 'config.yaml'}: {group}.{key}: {group}={name} has no such key in this version"
            )
    made: T = type(entry)(**given)
    return made
