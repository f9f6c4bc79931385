"""The typed schema under the YAML. Every bad value is caught here, before any work."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncrun.compose import own_scales
from ncrun.data.catalogue import CATALOGUE, DataSetFacts
from ncrun.data.counts import PROFILES, class_counts, seeded_class_order
from ncrun.data.own import OwnData, own_data
from ncrun.errors import UserError, nearest
from ncrun.theory import Problem

DEFAULT_BATCH_SIZE = 128
# What does not change a run's numbers, or where they are kept, is not part of its identity. (Threads do change the last
# bits, but a run may be continued on another machine.)
NOT_IDENTITY = (
    "device",
    "threads",
    "compile",
    "cuda_graphs",
    "jobs",
    "together",
    "progress",
    "data_dir",
    "run_dir",
    "name",
)
# Keys that came later: left out of the identity at the value that earlier runs had.
ADDED = {"precision": "full", "augment": []}
AUGMENTATIONS = ("crop", "flip")


@dataclass
class DatasetConfig:
    """size, channels: what images are made into; None: as the data set has them."""

    name: str = MISSING
    size: int | None = MISSING
    channels: int | None = MISSING


@dataclass
class OwnDataConfig(DatasetConfig):
    """A user's own data: image_folder (a folder) and npz (a file)."""

    path: str | None = MISSING


@dataclass
class ModelConfig:
    name: str = MISSING


@dataclass
class MLPConfig(ModelConfig):
    depth: int = MISSING
    width: int = MISSING
    batch_norm: bool = MISSING
    features: str = MISSING


@dataclass
class DeepLinearConfig(ModelConfig):
    depth: int = MISSING
    width: int = MISSING


@dataclass
class ConvConfig(ModelConfig):
    """The convolutional networks: resnet18, resnet20, vgg11, vgg16 and densenet."""

    width: float = MISSING
    feature_norm: bool = MISSING


@dataclass
class FreeFeaturesConfig(ModelConfig):
    """The models whose features are parameters themselves: ufm, ufm_relu and dufm."""

    width: int = MISSING
    feature_std: float = MISSING
    weight_std: float | None = MISSING


@dataclass
class OptimizerConfig:
    name: str = MISSING


@dataclass
class AdamConfig(OptimizerConfig):
    lr: float = MISSING
    betas: list[float] = MISSING


@dataclass
class SGDConfig(OptimizerConfig):
    lr: float = MISSING
    momentum: float = MISSING


@dataclass
class LBFGSConfig(OptimizerConfig):
    tolerance: float = MISSING
    history: int = MISSING
    kicks: int = MISSING


@dataclass
class HeadConfig:
    depth: int | None = MISSING
    width: int | None = MISSING
    bias: bool = MISSING
    relu: bool | None = MISSING
    frozen: str | None = MISSING


@dataclass
class DecayConfig:
    mode: str = MISSING
    weight: Any = MISSING
    feature: float | None = MISSING


@dataclass
class ScheduleConfig:
    drops: list[float] | None = MISSING
    step: int | None = MISSING
    gamma: float = MISSING


@dataclass
class RunConfig:
    """One run, validated and with every default filled in. See configs/train.yaml for what each key means."""

    dataset: DatasetConfig | None = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = MISSING
    restarts: int = MISSING
    loss: str | None = MISSING
    epochs: int | None = MISSING
    batch_size: Any = MISSING
    imbalance: float | None = MISSING
    imbalance_profile: str | None = MISSING
    class_order: str | None = MISSING
    counts: list[int] | None = MISSING
    classes: list[int] | None = MISSING
    random_labels: float = MISSING
    subset: str | None = MISSING
    head: HeadConfig = field(default_factory=HeadConfig)
    decay: DecayConfig = field(default_factory=DecayConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    path: list[float] | None = MISSING
    augment: list[str] = MISSING
    taps: list[str] = MISSING
    dtype: str | None = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    cuda_graphs: bool = MISSING
    measure: Any = MISSING
    device: str = MISSING
    threads: Any = MISSING
    jobs: Any = MISSING
    together: bool = MISSING
    progress: Any = MISSING
    data_dir: str | None = MISSING
    run_dir: str | None = MISSING
    name: str | None = MISSING
    experiment: str | None = None
    scale: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether the features are parameters themselves: no data set, no backbone."""
        return isinstance(self.model, FreeFeaturesConfig)

    @property
    def has_nonnegative_features(self) -> bool:
        """Whether a ReLU, or a bound, keeps the features from being negative."""
        if isinstance(self.model, ConvConfig):
            return not self.model.feature_norm
        return self.model.name == "ufm_relu" or (isinstance(self.model, MLPConfig) and self.model.features == "relu")

    @property
    def own_data(self) -> OwnData | None:
        """The user's own data, if the run is on such."""
        if not isinstance(self.dataset, OwnDataConfig):
            return None
        assert self.dataset.path is not None
        path = Path(self.dataset.path).expanduser().absolute()
        return own_data(self.dataset.name, path, self.dataset.size, self.dataset.channels)

    @property
    def facts(self) -> DataSetFacts:
        assert self.dataset is not None
        return CATALOGUE[self.dataset.name] if self.own_data is None else self.own_data.facts

    @property
    def dataset_title(self) -> str | None:
        """The data set as a caption names it; None for free features."""
        if isinstance(self.dataset, OwnDataConfig):
            return f"{self.dataset.name} {Path(self.dataset.path or '').name}"
        return None if self.dataset is None else self.dataset.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images as the network sees them."""
        assert self.dataset is not None
        channels, height, width = self.facts.image_shape
        size = self.dataset.size
        return self.dataset.channels or channels, size or height, size or width

    @property
    def class_sizes(self) -> tuple[int, ...]:
        """Training samples that the data set has of each chosen class."""
        sizes = self.facts.class_sizes
        return sizes if self.classes is None else tuple(sizes[k] for k in self.classes)

    @property
    def num_classes(self) -> int:
        return len(self.counts) if self.is_free and self.counts is not None else len(self.class_sizes)

    @property
    def depth(self) -> int:
        """M (L for dufm), the number of weight matrices in the head."""
        assert self.head.depth is not None
        return self.head.depth

    def class_counts(self) -> list[int]:
        """Training samples per class, in label order."""
        if self.counts is not None:
            return list(self.counts)
        sizes = self.class_sizes
        order = seeded_class_order(len(sizes), self.seed) if self.class_order == "seed" else None
        return class_counts(sizes, self.imbalance, self.imbalance_profile or "exp", order)

    @property
    def num_samples(self) -> int:
        return sum(self.class_counts())

    @property
    def is_full_batch(self) -> bool:
        return bool(self.batch_size == "full")

    def weight_decays(self) -> tuple[float, ...]:
        """lam_W_1 .. lam_W_M, from the layer that reads the features on."""
        weight = self.decay.weight
        return tuple(weight) if isinstance(weight, list) else (float(weight),) * self.depth

    def feature_width(self) -> int:
        """d, the dimension of the features that the head reads."""
        if isinstance(self.model, ConvConfig):
            return conv_widths(self.model)[-1]
        assert isinstance(self.model, MLPConfig | DeepLinearConfig | FreeFeaturesConfig)
        return self.model.width

    def head_widths(self) -> tuple[int, ...]:
        """d and the head's M-1 hidden widths."""
        hidden = self.head.width or self.feature_width()
        return (self.feature_width(), *(hidden,) * (self.depth - 1))

    def problem(self) -> Problem:
        """The problem that this run poses to theory."""
        assert self.loss is not None
        return Problem(
            loss=self.loss,
            counts=tuple(float(count) for count in self.class_counts()),
            widths=self.head_widths(),
            bias=self.head.bias,
            weight_decays=self.weight_decays(),
            feature_decay=self.decay.feature,
            decay_mode=self.decay.mode,
            feature_sign="nonnegative" if self.has_nonnegative_features else "free",
            head="relu" if self.head.relu else "linear",
            free_features=self.model.name != "deep_linear",
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, as config.yaml holds them."""
        return plain(self)  # type: ignore[no-any-return]

    def identity(self) -> str:
        """A hash of everything that decides this run's numbers."""
        whole = self.as_dict()
        content = {k: v for k, v in whole.items() if k not in NOT_IDENTITY and not (k in ADDED and v == ADDED[k])}
        if self.own_data is not None:
            content["dataset"]["path"] = self.own_data.digest  # what lies there, not where
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]

    def directory(self) -> Path:
        """Where the run's records go."""
        if self.run_dir is not None:
            return Path(self.run_dir)
        default = self.model.name if self.dataset is None else f"{self.dataset.name}-{self.model.name}"
        return Path("runs") / f"{self.name or default}-M{self.depth}-{self.identity()}"

    def single(self, restart: int) -> "RunConfig":
        """One of several restarts as the run that it is by itself: the next seed, in a folder of its own."""
        seed = self.seed + restart
        return replace(self, restarts=1, seed=seed, run_dir=str(self.directory() / f"seed-{seed}"))


DATASETS = {**dict.fromkeys(CATALOGUE, DatasetConfig), "image_folder": OwnDataConfig, "npz": OwnDataConfig}
MODELS = {
    "mlp": MLPConfig,
    "deep_linear": DeepLinearConfig,
    "resnet18": ConvConfig,
    "resnet20": ConvConfig,
    "vgg11": ConvConfig,
    "vgg16": ConvConfig,
    "densenet": ConvConfig,
    "ufm": FreeFeaturesConfig,
    "ufm_relu": FreeFeaturesConfig,
    "dufm": FreeFeaturesConfig,
}
OPTIMIZERS = {"adam": AdamConfig, "sgd": SGDConfig, "lbfgs": LBFGSConfig}


STAGE_WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet20": (16, 32, 64),
    "vgg11": (64, 128, 256, 512, 512),
    "vgg16": (64, 128, 256, 512, 512),
}
# Five poolings of VGG and three of DenseNet halve the image.
SMALLEST_IMAGE = {"vgg11": 32, "vgg16": 32, "densenet": 8}
DENSENET_GROWTH = 12
DENSENET_LAYERS = (6, 12, 24, 16)


def conv_widths(model: ConvConfig) -> tuple[int, ...]:
    """Channels of a convolutional network's stages under its width multiplier, the last being the features'.

    A DenseNet's stages follow from its growth: so many channels more with each layer, half of them after each block.
    """
    if model.name != "densenet":
        return tuple(max(1, round(width * model.width)) for width in STAGE_WIDTHS[model.name])
    growth = max(1, round(DENSENET_GROWTH * model.width))
    widths = [2 * growth]
    for layers in DENSENET_LAYERS:
        widths.append((widths[-1] if len(widths) == 1 else widths[-1] // 2) + layers * growth)
    return tuple(widths)


def plain(value: Any) -> Any:
    """Dataclasses, lists and scalars as JSON-ready containers."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def known_keys() -> list[str]:
    """Every key that some run has, dotted, for the nearest one to a mistyped key."""
    schemas: list[tuple[str, Any]] = [("", RunConfig)]
    schemas += [("model.", schema) for schema in MODELS.values()]
    schemas += [("optimizer.", schema) for schema in OPTIMIZERS.values()]
    schemas += [("dataset.", schema) for schema in DATASETS.values()]
    schemas += [("head.", HeadConfig)]
    schemas += [("decay.", DecayConfig), ("schedule.", ScheduleConfig)]
    return sorted({prefix + f.name for prefix, schema in schemas for f in fields(schema)})


def resolve(composed: DictConfig) -> RunConfig:
    """Validate a configuration composed by Hydra, its `hydra` node included, and fill in what was left out.

    Raises UserError naming the key, the value and the choices.
    """
    hydra_node = composed.hydra
    # Unresolved, because an interpolation in a typed value is not one in this list.
    overrides: Any = OmegaConf.to_container(hydra_node.overrides.task, resolve=False)
    typed = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    choices = hydra_node.runtime.choices
    run = _typed_config(composed)
    run.experiment = choices.get("experiment")
    run.scale = choices.get("scale") if run.experiment else None
    if run.experiment is None:
        _refuse_typed(typed, "scale", "no experiment is chosen")
    elif not own_scales(run.experiment):
        run.scale = "paper"  # it is small enough to be the same at every scale
    _fill_in(run)
    _check_scalars(run)
    _check_model(run)
    if run.is_free:
        _check_free_features(run, typed)
    else:
        _refuse_typed(typed, "path", f"model={run.model.name} has no free features")
        _refuse_typed(typed, "restarts", f"model={run.model.name} has no free features; use -m seed=0,1,2")
        run.restarts, run.path = 1, None
        _check_images(run)
        _check_class_counts(run, typed)
        _check_batch_size(run, typed)
    _check_optimizer(run, typed)
    _check_head(run, typed)
    if run.head.frozen is not None:
        _check_frozen_head(run)
    _check_decay(run, typed)
    _check_schedule(run, typed)
    _check_device_options(run, typed)
    _check_sweep(run)
    _check_paths(run)
    return run


def _typed_config(composed: DictConfig) -> RunConfig:
    given = {}
    for key in map(str, composed):
        try:
            given[key] = composed[key]
        except OmegaConfBaseException as error:  # an interpolation that leads nowhere
            raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    del given["hydra"]
    schema = OmegaConf.structured(RunConfig)
    for group, schemas in (("dataset", DATASETS), ("model", MODELS), ("optimizer", OPTIMIZERS)):
        name = str(given[group].get("name")) if isinstance(given.get(group), DictConfig) else "null"
        _choice(group, name, list(schemas))
        schema[group] = OmegaConf.structured(schemas[name])
    known = list(_dotted_keys(OmegaConf.to_container(schema)))
    for key, value in given.items():
        members = [k for k in known if k.startswith(f"{key}.")]
        if members and not isinstance(value, DictConfig):
            raise UserError(f"{key}={value}: is a group of keys; set {', '.join(members)}")
    if not isinstance(given.get("counts"), ListConfig | None):
        raise UserError(f"counts={given['counts']}: must be a list with one number for each class, such as [50,50,10]")
    if not isinstance(given.get("classes"), ListConfig | None):
        raise UserError(f"classes={given['classes']}: must be a list of two or more classes, such as [0,1]")
    for key in _dotted_keys({k: _container(v) for k, v in given.items()}):
        if key not in known and not any(key.startswith(f"{k}.") for k in known):
            raise UserError(f"{key}: no such key{nearest(key, known)}")
    for key in known:
        if key not in ("experiment", "scale") and OmegaConf.select(composed, key, default=MISSING) == MISSING:
            raise UserError(f"{key}: is missing; a key cannot be deleted, only set")
    try:
        merged = OmegaConf.merge(schema, given)
        for key in known:  # OmegaConf lets groups and lists into a list of numbers
            value = OmegaConf.select(merged, key)
            if isinstance(value, ListConfig) and any(map(OmegaConf.is_config, value)):
                raise UserError(f"{key}={value}: must be a list of plain values")
        run = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(run, RunConfig)
    return run


def _container(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _choice(key: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        hint = nearest(str(value), choices)
        raise UserError(f"{key}={value}: not one of {', '.join(choices)}{hint}")


def _at_least(key: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"{key}={value}: must be a number of at least {least:g}")


def _positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{key}={value}: must be a number above 0")


def _refuse_typed(typed: set[str], key: str, reason: str) -> None:
    if key in typed:
        raise UserError(f"{key}: has no effect: {reason}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fill_in(run: RunConfig) -> None:
    """The defaults that depend on the kind of model."""
    free = run.is_free
    if run.loss is None:
        run.loss = "ce" if run.model.name == "ufm_relu" else "mse"
    if run.epochs is None:
        run.epochs = 30_000 if free else 300
    if run.dtype is None:
        run.dtype = "float64" if free else "float32"
    if run.head.frozen is not None and not free:
        _fill_in_frozen_head(run)
    if run.head.depth is None:
        run.head.depth = 3 if run.model.name == "dufm" else 1
    if run.head.relu is None:
        run.head.relu = run.model.name == "dufm"
    if run.schedule.drops is None:
        run.schedule.drops = [] if free else [0.6, 0.85]
    if run.decay.feature is None and run.decay.mode == "features":
        run.decay.feature = 5e-4 if free else 1e-5


def _frozen_config(run: RunConfig) -> dict[str, Any]:
    """The configuration of the free-feature run whose head is taken over."""
    from ncrun.records.read import load_record, require

    directory = Path(str(run.head.frozen))
    if not (directory / "manifest.json").is_file():
        several = (directory / "summary.json").is_file()
        hint = "it holds several restarts, name one of them" if several else "train one: experiment=sukenik2023/head"
        raise UserError(f"head.frozen={directory}: is not a run directory; {hint}")
    record = load_record(directory)
    if record.manifest["state"] != "done":
        raise UserError(f"head.frozen={directory}: that run is not finished ({record.manifest['state']})")
    if record.config["dataset"] is not None:
        name = record.config["model"]["name"]
        raise UserError(f"head.frozen={directory}: must be a run of model=dufm or ufm, not {name}")
    config, path = record.config, directory / "config.yaml"
    require(config, {"counts": list}, path)
    require(config["model"], {"width": int}, path, "model.")
    require(config["head"], {"depth": int, "relu": bool, "bias": bool, "width": int | None}, path, "head.")
    return config


def _fill_in_frozen_head(run: RunConfig) -> None:
    """What the frozen head decides."""
    theirs = _frozen_config(run)["head"]
    for key in ("depth", "relu", "width"):
        if getattr(run.head, key) is None:
            setattr(run.head, key, theirs[key])


def _check_frozen_head(run: RunConfig) -> None:
    """The head that is taken over has to fit the features, the classes, and what is typed of it."""
    theirs = _frozen_config(run)
    widths = (theirs["model"]["width"], *[theirs["head"]["width"] or theirs["model"]["width"]] * (run.depth - 1))
    for key, here, there in (
        ("head.depth", run.depth, theirs["head"]["depth"]),
        ("head.relu", run.head.relu, theirs["head"]["relu"]),
        ("head.bias", run.head.bias, theirs["head"]["bias"]),
        ("classes", run.num_classes, len(theirs["counts"])),
        ("features of dimension", run.feature_width(), widths[0]),
        ("head.width", run.head_widths()[1:], widths[1:]),
    ):
        if here != there:
            raise UserError(f"head.frozen={run.head.frozen}: does not fit: {key} {here} here, {there} there")


def _check_scalars(run: RunConfig) -> None:
    _choice("loss", run.loss, ["mse", "ce"])
    _choice("dtype", run.dtype, ["float32", "float64"])
    assert run.epochs is not None
    _choice("device", run.device, ["auto", "cpu", "cuda"])
    if not 0 <= run.seed < 2**63:
        raise UserError(f"seed={run.seed}: must lie in 0..2^63-1")
    _at_least("epochs", run.epochs, 1)
    if run.measure not in ("auto", "every", "log") and not (_is_whole(run.measure) and run.measure >= 1):
        raise UserError(f"measure={run.measure}: must be auto, every, log or a whole number of epochs from 1 on")
    if run.threads != "auto" and not (_is_whole(run.threads) and run.threads >= 1):
        raise UserError(f"threads={run.threads}: must be auto or a whole number from 1 on")
    if run.progress not in ("auto", True, False):
        raise UserError(f"progress={run.progress}: must be auto, true or false")


def _check_model(run: RunConfig) -> None:
    if isinstance(run.model, ConvConfig):
        _positive("model.width", run.model.width)
        return
    if isinstance(run.model, MLPConfig):
        _choice("model.features", run.model.features, ["linear", "relu"])
        if run.model.batch_norm and run.model.features == "relu":
            raise UserError("model.features=relu: has no effect with model.batch_norm=true, which ends in a BatchNorm")
    assert isinstance(run.model, MLPConfig | DeepLinearConfig | FreeFeaturesConfig)
    _at_least("model.width", run.model.width, 1)
    if isinstance(run.model, FreeFeaturesConfig):
        _positive("model.feature_std", run.model.feature_std)
        if run.model.weight_std is not None:
            _positive("model.weight_std", run.model.weight_std)
    else:
        _at_least("model.depth", run.model.depth, 1)


def _check_free_features(run: RunConfig, typed: set[str]) -> None:
    """Free features have no data set, so counts are all there is to them."""
    name = run.model.name
    of_data = ("subset", "data_dir", "classes", "random_labels", "augment")
    for key in ("dataset", *(f"dataset.{f.name}" for f in fields(OwnDataConfig)), *of_data):
        _refuse_typed(typed, key, f"model={name} has no data set")
    run.augment = []
    _refuse_typed(typed, "taps", f"model={name} has no backbone")
    _refuse_typed(typed, "head.frozen", f"model={name} trains its own head")
    run.taps, run.head.frozen = [], None
    for key in ("imbalance", "imbalance_profile", "class_order"):
        _refuse_typed(typed, key, f"model={name} has no data set; give each class its number by counts=[...]")
    run.dataset = run.imbalance = run.imbalance_profile = run.class_order = run.subset = None
    if run.counts is None:
        raise UserError(f"counts: model={name} needs the samples of each class, such as counts=[100,100,50,50]")
    if len(run.counts) < 2:
        raise UserError(f"counts={run.counts}: needs at least two classes")
    for k, count in enumerate(run.counts):
        if count < 1:
            raise UserError(f"counts: class {k} needs at least 1 sample, not {count}")
    if run.batch_size not in (None, "full"):
        raise UserError(f"batch_size={run.batch_size}: model={name} trains on all its features at once; leave it out")
    run.batch_size = "full"
    if run.decay.mode != "features":
        raise UserError(f"decay.mode={run.decay.mode}: model={name} knows only features, the theorems' objective")
    if name == "ufm_relu" and run.head.depth != 1:
        raise UserError(f"head.depth={run.head.depth}: model=ufm_relu has one linear layer; model=ufm takes more")
    if run.head.relu != (name == "dufm"):
        raise UserError(f"head.relu={run.head.relu}: model=dufm is the one with a ReLU between its layers, not {name}")
    _at_least("restarts", run.restarts, 1)
    if run.restarts > 1 and isinstance(run.optimizer, LBFGSConfig):
        raise UserError(
            f"restarts={run.restarts}: optimizer=lbfgs cannot be batched; take optimizer=sgd or adam, or -m seed=0,1,2"
        )
    if run.path is not None:
        if not isinstance(run.optimizer, LBFGSConfig):
            raise UserError(f"path={run.path}: needs optimizer=lbfgs, which settles at each decay")
        if not run.path:
            raise UserError("path=[]: needs at least one factor on all decays")
        for factor in run.path:
            _positive("path", factor)


def _check_optimizer(run: RunConfig, typed: set[str]) -> None:
    if isinstance(run.optimizer, LBFGSConfig):
        if not run.is_free:
            raise UserError(f"optimizer=lbfgs: needs free features (model=ufm, ufm_relu, dufm), not {run.model.name}")
        for key in ("step", "drops", "gamma"):
            _refuse_typed(typed, f"schedule.{key}", "optimizer=lbfgs has no learning rate")
        _at_least("optimizer.tolerance", run.optimizer.tolerance, 0)
        _at_least("optimizer.history", run.optimizer.history, 1)
        _at_least("optimizer.kicks", run.optimizer.kicks, 0)
        return
    assert isinstance(run.optimizer, AdamConfig | SGDConfig)
    _positive("optimizer.lr", run.optimizer.lr)
    if isinstance(run.optimizer, SGDConfig) and not 0 <= run.optimizer.momentum < 1:
        raise UserError(f"optimizer.momentum={run.optimizer.momentum}: must lie in [0, 1)")
    if isinstance(run.optimizer, AdamConfig):
        betas = run.optimizer.betas
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"optimizer.betas={betas}: must be two numbers in [0, 1)")


def _check_images(run: RunConfig) -> None:
    """The images as the data set has them, and as they are made to be."""
    assert run.dataset is not None
    name, channels, size = run.dataset.name, run.dataset.channels, run.dataset.size
    if size is not None:
        _at_least("dataset.size", size, 1)
    for kind in run.augment:
        _choice("augment", kind, AUGMENTATIONS)
    if isinstance(run.dataset, OwnDataConfig) and not run.dataset.path:
        what = "FILE.npz, an .npz file" if name == "npz" else "DIR, a folder of images"
        raise UserError(f"dataset={name}: say where the data lie by dataset.path={what}")
    if name == "image_folder":
        if size is None:
            raise UserError("dataset.size=null: the images of a folder may differ in size; give one for all")
        if channels not in (1, 3):
            raise UserError(f"dataset.channels={channels}: the images of a folder are read as 1 (grey) or 3 (RGB)")
    own = run.facts.image_shape[0]
    if run.facts.holds_vectors:
        for key, value in (("size", size), ("channels", channels)):
            if value is not None:
                raise UserError(f"dataset.{key}={value}: has no effect: {name} holds vectors of {own} numbers")
        if run.augment:
            raise UserError(f"augment={run.augment}: needs images, and {name} holds vectors of {own} numbers")
        if isinstance(run.model, ConvConfig):
            raise UserError(
                f"model={run.model.name}: needs images, and {name} holds vectors of {own} numbers; mlp takes them"
            )
    elif channels not in (None, own, 3):
        kind, choices = ("grey", "1 or 3") if own == 1 else ("coloured", "3")
        raise UserError(f"dataset.channels={channels}: the images of {name} are {kind}; it can be {choices}, or null")
    least = SMALLEST_IMAGE.get(run.model.name, 1)
    if min(run.image_shape[1:]) < least:
        raise UserError(
            f"model={run.model.name}: its poolings need images of at least {least} x {least}, not"
            f" {run.image_shape[1]} x {run.image_shape[2]}; set dataset.size={least}"
        )


def _check_classes(run: RunConfig) -> None:
    if run.classes is None:
        return
    assert run.dataset is not None
    available = run.facts.num_classes
    if len(run.classes) < 2 or len(set(run.classes)) < len(run.classes):
        raise UserError(f"classes={run.classes}: must be two or more different ones")
    for k in run.classes:
        if not 0 <= k < available:
            raise UserError(f"classes={run.classes}: {run.dataset.name} has the classes 0 to {available - 1}, not {k}")


def _check_class_counts(run: RunConfig, typed: set[str]) -> None:
    assert run.dataset is not None
    _check_classes(run)
    sizes = run.class_sizes
    _choice("imbalance_profile", run.imbalance_profile, PROFILES)
    _choice("class_order", run.class_order, ["list", "seed"])
    _choice("subset", run.subset, ["seed", "first"])
    if run.counts is not None:
        for key in ("imbalance", "imbalance_profile", "class_order"):
            _refuse_typed(typed, key, "counts is set")
        if len(run.counts) != len(sizes):
            raise UserError(
                f"counts={run.counts}: {len(run.counts)} counts for the {len(sizes)} classes of {run.dataset.name}"
            )
        for k, count, size in zip(run.classes or range(len(sizes)), run.counts, sizes, strict=True):
            if not 1 <= count <= size:
                raise UserError(f"counts: class {k} of {run.dataset.name} holds 1 to {size} samples, not {count}")
        run.imbalance = None
    elif run.imbalance is not None:
        if 1 < run.imbalance < math.inf:
            hint = f" (n_max/n_min = {run.imbalance:g} is imbalance={1 / run.imbalance:g})"
            raise UserError(f"imbalance={run.imbalance:g}: must lie in (0, 1], it is n_min/n_max{hint}")
        if not 0 < run.imbalance <= 1:
            raise UserError(f"imbalance={run.imbalance:g}: must lie in (0, 1], it is n_min/n_max; 1 is balanced")
    if run.imbalance is None:
        if run.counts is None:
            for key in ("imbalance_profile", "class_order"):
                _refuse_typed(typed, key, "imbalance is not set")
        run.imbalance_profile = run.class_order = None
    if not 0 <= run.random_labels <= 1:
        raise UserError(f"random_labels={run.random_labels}: must lie in [0, 1], a share of the training samples")
    if run.class_counts() == list(sizes):
        _refuse_typed(typed, "subset", "every sample is taken")
        run.subset = None


def _check_batch_size(run: RunConfig, typed: set[str]) -> None:
    N = run.num_samples
    if run.batch_size is None:
        run.batch_size = min(DEFAULT_BATCH_SIZE, N)
    elif run.batch_size != "full" and not _is_whole(run.batch_size):
        raise UserError(f"batch_size={run.batch_size}: must be full or a whole number")
    if run.is_full_batch:
        return
    if not 1 <= run.batch_size <= N:
        raise UserError(f"batch_size={run.batch_size}: must be full or lie in 1..{N}, the number of training samples")
    has_batch_norm = isinstance(run.model, ConvConfig) or getattr(run.model, "batch_norm", False)
    if run.batch_size == 1 and has_batch_norm:
        raise UserError(f"batch_size=1: BatchNorm in model={run.model.name} needs at least 2 samples in a batch")


def _check_head(run: RunConfig, typed: set[str]) -> None:
    if run.head.relu and run.head.bias:
        owner = "model=dufm" if run.is_free else "head.relu=true"
        raise UserError(f"head.bias=True: {owner} has no bias")
    _at_least("head.depth", run.depth, 1)
    if run.head.relu and run.depth == 1 and not run.is_free:
        raise UserError("head.relu=True: has no effect with head.depth=1, which has nothing between its layers")
    if run.head.width is not None:
        _at_least("head.width", run.head.width, 1)
    if run.head.depth == 1:
        _refuse_typed(typed, "head.width", "head.depth=1 has no hidden layer")
        run.head.width = None


def _check_decay(run: RunConfig, typed: set[str]) -> None:
    decay = run.decay
    _choice("decay.mode", decay.mode, ["features", "parameters"])
    weights = decay.weight if isinstance(decay.weight, list) else [decay.weight]
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise UserError(f"decay.weight={decay.weight}: must be a number, or a list of one for each head layer")
        _at_least("decay.weight", weight, 0)
    if isinstance(decay.weight, list) and len(weights) != run.depth:
        raise UserError(f"decay.weight={decay.weight}: {len(weights)} numbers for head.depth={run.depth} layers")
    decay.weight = [float(w) for w in weights] if isinstance(decay.weight, list) else float(decay.weight)
    if decay.mode == "parameters":
        _refuse_typed(typed, "decay.feature", "decay.mode=parameters decays all parameters by decay.weight")
        if isinstance(decay.weight, list):
            raise UserError(f"decay.weight={decay.weight}: decay.mode=parameters takes a single number")
        decay.feature = None
        return
    assert decay.feature is not None
    _at_least("decay.feature", decay.feature, 0)
    zero = [key for key, value in (("weight", min(weights)), ("feature", decay.feature)) if value == 0]
    unregularised = run.loss == "mse" and max(weights) == decay.feature == 0
    if run.is_free and zero and not unregularised:
        raise UserError(f"decay.{zero[0]}=0: the objective then has no minimiser (its infimum is not attained)")


def _check_schedule(run: RunConfig, typed: set[str]) -> None:
    schedule = run.schedule
    _positive("schedule.gamma", schedule.gamma)
    if schedule.step is not None:
        _at_least("schedule.step", schedule.step, 1)
        _refuse_typed(typed, "schedule.drops", "schedule.step is set")
        schedule.drops = []
    for drop in schedule.drops or []:
        if not 0 < drop < 1:
            raise UserError(f"schedule.drops={schedule.drops}: each is a fraction of the training, in (0, 1)")


def _check_device_options(run: RunConfig, typed: set[str]) -> None:
    _choice("precision", run.precision, ["full", "tf32", "bfloat16"])
    if run.is_free:
        for key in ("precision", "compile"):
            _refuse_typed(typed, key, f"model={run.model.name} trains by products written out, in its dtype")
    if run.precision != "full" and run.dtype == "float64":
        raise UserError(f"precision={run.precision}: has no effect with dtype=float64")
    if run.cuda_graphs and isinstance(run.optimizer, LBFGSConfig):
        raise UserError("cuda_graphs=true: has no effect: optimizer=lbfgs takes its steps on the CPU")
    if run.cuda_graphs and run.compile:
        raise UserError("cuda_graphs=true: cannot record what compile=true makes; choose one")


def _check_sweep(run: RunConfig) -> None:
    if run.jobs != "auto" and not (_is_whole(run.jobs) and run.jobs >= 1):
        raise UserError(f"jobs={run.jobs}: must be auto (one for each core) or a whole number from 1 on")
    if not run.together:
        return
    if run.jobs != 1:
        raise UserError(f"jobs={run.jobs}: has no effect with together=true, which trains in one process")
    if not run.is_free or isinstance(run.optimizer, LBFGSConfig):
        what = "optimizer=lbfgs" if run.is_free else f"model={run.model.name}"
        raise UserError(
            f"together=true: needs free features with optimizer=sgd or adam, not {what}; jobs=N trains side by side"
        )
    if run.restarts > 1:
        raise UserError(f"restarts={run.restarts}: with together=true let the sweep say it: seed=0,1,2")


def _check_paths(run: RunConfig) -> None:
    for key in ("run_dir", "data_dir", "name"):
        if getattr(run, key) == "":
            raise UserError(f"{key}=: is empty; leave the key out for its default")
    if run.name is not None and (Path(run.name).name != run.name or run.name == ".."):
        raise UserError(f"name={run.name}: must be a plain name; run_dir= takes a path")
    if run.data_dir is not None and not Path(run.data_dir).expanduser().is_dir():
        raise UserError(f"data_dir={run.data_dir}: no such folder")


def data_directory(run: RunConfig) -> Path:
    """Where this run's data sets lie: data_dir, else $NCRUN_DATA, else the user's cache folder."""
    if run.data_dir is not None:
        return Path(run.data_dir).expanduser()
    if os.environ.get("NCRUN_DATA"):
        return Path(os.environ["NCRUN_DATA"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "ncrun" / "data"
