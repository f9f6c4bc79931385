"""Every key of a configuration with its type (None if it has a computed default), and how a composed configuration is
read."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncrun.checks import choice
from ncrun.config.mistakes import no_such_key, wrong_type
from ncrun.data import SOURCES, Source
from ncrun.errors import UserError
from ncrun.models import MODELS, ModelSpec
from ncrun.run import OPTIMIZERS, Optimizer

LONGEST_TEXT = 4000
LARGEST_WHOLE = 10**100  # floats reach up to 10^308


def _key(meaning: str, **default: Any) -> Any:
    """A field with its meaning, which `ncrun train --help KEY` and `--cfg job` print. Without a default here, the value
    is in configs/train.yaml. The keys of a model, data set or optimiser are explained in its own docstring."""
    return field(**(default or {"default": MISSING}), metadata={"meaning": meaning})


@dataclass(frozen=True)
class HeadSettings:
    depth: int | None = _key(
        "number M of linear layers in the head (dufm: L, with ReLUs between them); default: 1 (dufm: 3), or that of"
        " head.frozen"
    )
    width: int | None = _key("width of the hidden layers of the head; default: as wide as the features")
    bias: bool = _key("whether the last layer has a bias, which decay.bias may decay")
    relu: bool | None = _key(
        "whether ReLUs stand between the layers of the head (deep unconstrained features); default: false (dufm: true)"
    )
    frozen: str | None = _key(
        "directory of a finished run of model=dufm or ufm, whose head is used and not trained further; its weights are"
        " part of the run's identity; default: the head is trained"
    )


@dataclass(frozen=True)
class DecaySettings:
    mode: str = _key(
        "features: decay of head and features, as in the theorems; parameters: plain weight decay of all parameters"
    )
    weight: Any = _key("lam_W: a number, or a list of M numbers, the first for the layer that reads the features")
    feature: float | None = _key("lam_H, for mode features; default: 1e-5 (free features: 5e-4)")
    bias: float = _key("lam_b of the last layer's bias, for mode features; 0: no decay")


@dataclass(frozen=True)
class ScheduleSettings:
    drops: list[float] | None = _key(
        "shares of the training after which the learning rate is multiplied by gamma; default: [0.6, 0.85] (free"
        " features: none)"
    )
    step: int | None = _key("multiply by gamma every so many epochs, instead of drops; default: drops decide")
    gamma: float = _key("the factor of each drop")


@dataclass(frozen=True)
class Settings:
    """The keys of one run, as composed or, after the rules, filled in.

    Their names and order are those of config.yaml, and a run's identity is a hash of them.
    """

    dataset: Source | None = _key("the data set; free features have none")
    model: ModelSpec = _key("the network, or free features")
    optimizer: Optimizer = _key("the optimiser; default: adam (free features: lbfgs)")
    seed: int = _key("seed of the initial weights, the batches and all other random numbers")
    restarts: int = _key(
        "for free features: number of starts (seeds seed, seed + 1, ..) in one batched program; each is a run"
    )
    loss: str | None = _key("mse: 1/(2N) ||logits - Y||^2; ce: mean cross-entropy; default: mse (ufm_relu: ce)")
    label_smoothing: float = _key(
        "for ce: the share of each label, in [0, 1), that is spread evenly over all classes (Szegedy et al. 2016)"
    )
    class_weights: Any = _key(
        "for ce: weight of a sample of each class in the sum, which is divided by N: null (all 1), balanced (N / (K"
        " n_k), as in scikit-learn), or a list of K positive numbers"
    )
    logit_adjustment: float = _key(
        "for ce: tau; training adds tau log(n_k / N) to the logits, decisions do not (Menon et al. 2021: 1)"
    )
    epochs: int | None = _key(
        "epochs of training; for free features an epoch is an iteration; default: 300 (free features: 30000)"
    )
    batch_size: Any = _key("samples per batch: an integer or full; default: min(128, N) (free features: full)")
    imbalance: float | None = _key("n_min / n_max, in (0, 1]; default: all samples, with their true counts")
    imbalance_profile: str | None = _key("how counts fall from the largest to the smallest: exp, step or linear")
    class_order: str | None = _key("which classes are rare: list (the last ones) or seed (drawn)")
    counts: list[int] | None = _key("number of samples of each class, instead of imbalance; default: imbalance decides")
    classes: list[int] | None = _key("which classes of the data set to use, such as [0,1]; default: all")
    random_labels: float = _key(
        "share of the training labels that is permuted among their samples, the field's standard control"
    )
    subset: str | None = _key("which samples of a class to use: seed (drawn) or first (in the data set's order)")
    head: HeadSettings = _key("the deep linear head", default_factory=HeadSettings)
    decay: DecaySettings = _key("the decay terms in the objective", default_factory=DecaySettings)
    schedule: ScheduleSettings = _key("the learning rate over time", default_factory=ScheduleSettings)
    freeze_norm: float | None = _key(
        "share of the epochs, in (0, 1], after which BatchNorm uses fixed statistics of the whole training set, so"
        " that the trained and the measured network agree; default: statistics of each batch"
    )
    finish: str | None = _key(
        "lbfgs: after the epochs, minimise the full-batch objective by L-BFGS in full precision, where an iteration"
        " counts as an epoch; default: training ends with the epochs"
    )
    finish_iterations: int | None = _key(
        "most iterations of finish, which ends earlier if rounding leaves no descent; default: 500"
    )
    path: list[float] | None = _key(
        "for free features with lbfgs: factors on all decays; the run is minimised at one after the other, each from"
        " the last solution; default: none"
    )
    augment: list[str] = _key(
        "random changes to the training images: crop (moved by up to an eighth of their size), flip (mirrored)"
    )
    taps: list[str] = _key("layers of the backbone that are measured, too, such as [linear2,relu2]")
    dtype: str | None = _key(
        "float32 or float64, for training; metrics are always float64; default: float32 (free features: float64)"
    )
    precision: str = _key("precision of a network's matrix products in training: full, tf32 (on a GPU) or bfloat16")
    compile: bool = _key("for networks on a GPU: fuse the training's kernels by torch.compile")
    cuda_graphs: bool = _key(
        "on a GPU: record one training step and replay it; for models so small that launching kernels takes most time"
    )
    measure: Any = _key(
        "when to measure: auto (every epoch; with full batches about 200 log-spaced ones), every, log, or an integer k"
        " (every k epochs)"
    )
    snapshots: Any = _key(
        "how often, log-spaced, the features of a few samples are stored for kind=collapse-seen: a number, auto (16)"
        " or false"
    )
    device: str = _key("auto, cpu or cuda")
    threads: Any = _key(
        "CPU threads: an integer, or auto (OMP_NUM_THREADS, else the cores that this process may use; free features: 1)"
    )
    jobs: Any = _key(
        "with -m: runs trained at once, each with its share of the cores or a GPU: a number, or auto (one for each GPU"
        " if there are several, else for each core)"
    )
    together: bool = _key(
        "with -m, for free features with sgd or adam: train runs of equal shapes in one batched program"
    )
    dry_run: bool = _key("print the state, the prediction and the cost of each run; train and write nothing")
    stream: Any = _key(
        "for image_folder and npz: read images when they are needed, in other processes, instead of holding them in"
        " memory: true, false, or auto (true if they would fill more than half of it); see docs/scale.md"
    )
    stream_cache: Any = _key("with stream: gigabytes of images to keep, or auto (a quarter of the memory)")
    stream_workers: Any = _key(
        "with stream: number of reading processes, or auto (the number of threads=auto); 0: read in this process"
    )
    progress: Any = _key("show a live display: auto (in a terminal), true or false")
    logger: list[str] = _key("loggers besides the record: tensorboard, wandb, mlflow; see docs/loggers.md")
    data_dir: str | None = _key("folder of the data sets; default: $NCRUN_DATA, else a cache folder of the user")
    run_dir: str | None = _key("directory of the record; default: runs/<name>-<hash of this configuration>")
    name: str | None = _key("first part of the run directory's name; default: data set and model")
    extend: list[str] = _key(
        "your own files that add losses, models, data sets, metrics, theorems and figures; see docs/extend.md"
    )
    experiment: str | None = _key(
        "an experiment, such as dang2023/mlp-imbalanced: its setting, and with -m its grid; default: none",
        default=None,
    )
    scale: str | None = _key("scale of an experiment: cpu, real or paper; default: paper", default=None)


def settings_of(composed: DictConfig) -> Settings:
    """A composed configuration without its `hydra` and `recipe` nodes. Raises UserError for a missing or unknown key or
    a wrong type."""
    given = _nodes(composed)
    schema = OmegaConf.structured(Settings)
    _set_writable(schema)
    for group, schemas in choices().items():
        name = str(given[group].get("name")) if isinstance(given.get(group), DictConfig) else "null"
        choice(group, name, list(schemas))
        schema[group] = OmegaConf.structured(schemas[name])
        _set_writable(schema[group])
    known = list(_dotted_keys(OmegaConf.to_container(schema)))
    _check_keys(given, composed, known)
    for key in known:
        _check_plain(key, OmegaConf.select(composed, key))
    try:
        merged = OmegaConf.merge(schema, given)
        for key in known:  # OmegaConf accepts groups and lists in a list of numbers
            value = OmegaConf.select(merged, key)
            if isinstance(value, ListConfig) and any(map(OmegaConf.is_config, value)):
                raise UserError(f"{key}={value}: must be a list of plain values")
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise UserError(wrong_type(key, error, OmegaConf.select(composed, key.partition("[")[0]))) from error
    assert isinstance(settings, Settings)
    return settings


def known_keys() -> list[str]:
    """Every dotted key of any run, to suggest one for a mistyped key."""
    schemas: list[tuple[str, Any]] = [("", Settings), ("head.", HeadSettings), ("decay.", DecaySettings)]
    schemas += [("schedule.", ScheduleSettings)]
    for group, of_group in choices().items():
        schemas += [(f"{group}.", schema) for schema in of_group.values()]
    return sorted({prefix + f.name for prefix, schema in schemas for f in fields(schema)})


def plain(value: Any) -> Any:
    """Dataclasses, lists and scalars as JSON-ready containers."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def choices() -> dict[str, dict[str, Any]]:
    """By group, each choice as an object with its defaults."""
    datasets, models = {each.key: each for each in SOURCES}, {each.key: each for each in MODELS}
    return {"dataset": datasets, "model": models, "optimizer": dict(OPTIMIZERS)}


def _nodes(composed: DictConfig) -> dict[str, Any]:
    given = {}
    for key in map(str, composed):
        if key in ("hydra", "recipe"):
            continue
        try:
            given[key] = composed[key]
        except OmegaConfBaseException as error:  # an interpolation that does not resolve
            raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    return given


def _check_keys(given: dict[str, Any], composed: DictConfig, known: list[str]) -> None:
    for key, value in given.items():
        members = [k for k in known if k.startswith(f"{key}.")]
        if members and not isinstance(value, DictConfig):
            raise UserError(f"{key}={value}: is a group of keys; set {', '.join(members)}")
    if not isinstance(given.get("counts"), ListConfig | None):
        raise UserError(f"counts={given['counts']}: must be a list of one number for each class, such as [50,50,10]")
    if not isinstance(given.get("classes"), ListConfig | None):
        raise UserError(f"classes={given['classes']}: must be a list of two or more classes, such as [0,1]")
    for key in _dotted_keys({k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in given.items()}):
        if key not in known and not any(key.startswith(f"{k}.") for k in known):
            raise UserError(no_such_key(key, known))
    for key in known:
        if key != "experiment" and OmegaConf.select(composed, key, default=MISSING) == MISSING:
            raise UserError(f"{key}: a key can be set, not deleted")


def _check_plain(key: str, value: Any) -> None:
    """Refuses numbers that OmegaConf cannot read, and text that no file system or terminal accepts. Raises
    UserError."""
    for each in value if isinstance(value, ListConfig) else (value,):
        if isinstance(each, int) and abs(each) >= LARGEST_WHOLE:
            raise UserError(f"{key}: has a number of {len(str(abs(each)))} digits, which no key takes")
        if isinstance(each, str) and not (each.isprintable() and len(each) <= LONGEST_TEXT):
            raise UserError(f"{key}={each!a}: must have at most {LONGEST_TEXT} characters, all printable")


def _set_writable(node: Any) -> None:
    """OmegaConf refuses to merge anything into a frozen dataclass."""
    if isinstance(node, DictConfig):
        OmegaConf.set_readonly(node, False)
        for key in node:
            if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
                _set_writable(node._get_node(key))


def _dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
