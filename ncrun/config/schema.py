"""Every key of a configuration with its type, null where it may be left out; and a composed configuration as such."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncrun.checks import choice
from ncrun.data import SOURCES, Source
from ncrun.errors import UserError, nearest
from ncrun.models import MODELS, ModelSpec
from ncrun.run import OPTIMIZERS, Optimizer

LONGEST_TEXT = 4000
LARGEST_WHOLE = 10**100  # of floats there are some up to 10^308


def _key(meaning: str, **default: Any) -> Any:
    """A field with what it means, said here and nowhere else: `ncrun train --help KEY` and `--cfg job` print it. No
    default: the configuration has to have it, and configs/train.yaml says with which value. Of the keys of a model,
    data set or optimiser its own docstring says what they mean."""
    return field(**(default or {"default": MISSING}), metadata={"meaning": meaning})


@dataclass(frozen=True)
class HeadSettings:
    depth: int | None = _key(
        "M, the number of linear layers of the head (dufm: L, with a ReLU between them); left out: 1 "
        "(dufm: 3), or that of head.frozen"
    )
    width: int | None = _key("width of the hidden layers of the head; left out: as wide as the features")
    bias: bool = _key("a bias in the last layer, which decay.bias may decay")
    relu: bool | None = _key(
        "a ReLU between the layers of the head (deep unconstrained features); left out: false (dufm: true)"
    )
    frozen: str | None = _key(
        "a finished run of model=dufm or ufm whose trained head is taken over and not trained further; "
        "other weights there make another run; left out: the head is trained"
    )


@dataclass(frozen=True)
class DecaySettings:
    mode: str = _key(
        "features: on head and features, as in the theorems; parameters: plain weight decay on all parameters"
    )
    weight: Any = _key("lam_W: a number, or a list of M numbers from the layer that reads the features on")
    feature: float | None = _key("lam_H, of mode features; left out: 1e-5 (free features: 5e-4)")
    bias: float = _key("lam_b of the last layer's bias, of mode features; 0: it is not decayed")


@dataclass(frozen=True)
class ScheduleSettings:
    drops: list[float] | None = _key(
        "fractions of the training after which the learning rate is multiplied by gamma; left out: [0.6, "
        "0.85] (free features: none)"
    )
    step: int | None = _key("instead of drops: every so many epochs; left out: drops decide")
    gamma: float = _key("the factor of each drop")


@dataclass(frozen=True)
class Settings:
    """The keys of one run, as composed or (after the rules) filled in.

    Their names and order are those of config.yaml, and a run's identity is a hash of them.
    """

    dataset: Source | None = _key("what is trained on; free features have none")
    model: ModelSpec = _key("the network, or free features")
    optimizer: Optimizer = _key("how the objective is descended; left out: adam (free features: lbfgs)")
    seed: int = _key("of the initial weights, the batches, and what else is drawn")
    restarts: int = _key(
        "free features: so many starts (seeds seed, seed + 1, ..) in one batched program, each a run of its own"
    )
    loss: str | None = _key("mse: 1/(2N) ||logits - Y||^2; ce: mean cross-entropy; left out: mse (ufm_relu: ce)")
    label_smoothing: float = _key(
        "of ce: this share of each target, in [0, 1), is spread evenly over all classes (Szegedy et al. 2016)"
    )
    class_weights: Any = _key(
        "of ce: what a sample of each class weighs in the sum, which stays divided by N: null (all 1), balanced "
        "(N / (K n_k), as scikit-learn has it), or a list of K positive numbers"
    )
    logit_adjustment: float = _key(
        "of ce: tau; in training tau log(n_k / N) is added to the logits, in decisions it is not (Menon et al. 2021: 1)"
    )
    epochs: int | None = _key("of free features one is one iteration; left out: 300 (free features: 30000)")
    batch_size: Any = _key("an integer, or full; left out: min(128, N) (free features: full)")
    imbalance: float | None = _key("n_min / n_max in (0, 1]; left out: all data with their true counts")
    imbalance_profile: str | None = _key("how class sizes fall from the largest to the smallest: exp, step or linear")
    class_order: str | None = _key("which class is rare: list (the last ones) or seed (drawn)")
    counts: list[int] | None = _key("explicit samples of each class; wins over imbalance; left out: imbalance decides")
    classes: list[int] | None = _key("which classes of the data set, such as [0,1]; left out: all")
    random_labels: float = _key(
        "this share of the training labels is dealt out anew among their samples, the field's standard control"
    )
    subset: str | None = _key("which samples of a class: seed (drawn) or first (in the data set's order)")
    head: HeadSettings = _key("the deep linear head", default_factory=HeadSettings)
    decay: DecaySettings = _key("the penalties in the objective", default_factory=DecaySettings)
    schedule: ScheduleSettings = _key("of the learning rate", default_factory=ScheduleSettings)
    freeze_norm: float | None = _key(
        "from this share of the epochs on, in (0, 1], BatchNorm has the statistics of the whole training set, computed "
        "once, so that what is trained is what is measured; left out: those of each batch"
    )
    finish: str | None = _key(
        "lbfgs: after the epochs the network descends the full-batch objective by L-BFGS, an iteration counting as an "
        "epoch, in full precision; left out: training ends with the epochs"
    )
    finish_iterations: int | None = _key("at most; it ends before where rounding leaves no descent; left out: 500")
    path: list[float] | None = _key(
        "free features with lbfgs: factors on all decays, settled at one after the other, each from the "
        "last solution; left out: none"
    )
    augment: list[str] = _key(
        "random changes to the training images: crop (moved by up to an eighth of their size), flip (mirrored)"
    )
    taps: list[str] = _key("layers of the backbone to measure too, such as [linear2,relu2]")
    dtype: str | None = _key(
        "for training: float32 or float64; left out: float32 (free features: float64); metrics are always float64"
    )
    precision: str = _key("of a network's matrix products in training: full, tf32 (on a GPU) or bfloat16")
    compile: bool = _key("networks on a GPU: let torch.compile fuse the training's kernels")
    cuda_graphs: bool = _key(
        "on a GPU: record one training step and replay it, for models so small that launching kernels takes longest"
    )
    measure: Any = _key(
        "when: auto (every epoch; of full batches about 200 log-spaced ones), every, log, or an integer k: "
        "every k epochs"
    )
    snapshots: Any = _key(
        "how many moments of training, log-spaced, keep few samples for pictures (kind=collapse-seen): a number, auto: "
        "16, or false"
    )
    device: str = _key("auto, cpu or cuda")
    threads: Any = _key(
        "CPU threads: an integer, or auto: OMP_NUM_THREADS, else the cores that this process may use (free features: 1)"
    )
    jobs: Any = _key(
        "of -m: runs trained side by side, each with its share of the cores, or a GPU: a number, or auto: one for each "
        "of several GPUs, else for each core"
    )
    together: bool = _key("of -m, free features with sgd or adam: runs of equal shapes in one batched program")
    dry_run: bool = _key("say of each run what it would predict and cost, and where it stands; train and write nothing")
    stream: Any = _key(
        "of image_folder and npz: images are read as they are needed, by other processes, in place of being held in "
        "memory: true, false, or auto (where they would take more than half of it); see docs/scale.md"
    )
    stream_cache: Any = _key("of stream: gigabytes of images that are kept; auto: a quarter of the memory")
    stream_workers: Any = _key("of stream: processes that read; 0: none but this one; auto: as many as threads=auto is")
    progress: Any = _key("a live display: auto (in a terminal), true or false")
    logger: list[str] = _key("who follows beside the record: tensorboard, wandb, mlflow; see docs/loggers.md")
    data_dir: str | None = _key("where the data sets lie; left out: $NCRUN_DATA, else a cache folder of the user")
    run_dir: str | None = _key("where the records go; left out: runs/<name>-<hash of this configuration>")
    name: str | None = _key("first part of the run directory's name; left out: data set and model")
    extend: list[str] = _key(
        "a user's own files that add losses, models, data sets, metrics, theorems and figures; see docs/extend.md"
    )
    experiment: str | None = _key(
        "an experiment of the papers, such as dang2023/mlp-imbalanced: its setting, and with -m its grid; "
        "left out: none",
        default=None,
    )
    scale: str | None = _key("of an experiment: cpu, real or paper; left out: paper", default=None)


def settings_of(composed: DictConfig) -> Settings:
    """A composed configuration, its `hydra` and `recipe` nodes left out. Raises UserError for a key that is missing,
    unknown, or of another type."""
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
        for key in known:  # OmegaConf lets groups and lists into a list of numbers
            value = OmegaConf.select(merged, key)
            if isinstance(value, ListConfig) and any(map(OmegaConf.is_config, value)):
                raise UserError(f"{key}={value}: must be a list of plain values")
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(settings, Settings)
    return settings


def known_keys() -> list[str]:
    """Every key that some run has, dotted, for the nearest one to a mistyped key."""
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
    """By group, the schema of each choice: the object with its defaults."""
    datasets, models = {each.key: each for each in SOURCES}, {each.key: each for each in MODELS}
    return {"dataset": datasets, "model": models, "optimizer": dict(OPTIMIZERS)}


def _nodes(composed: DictConfig) -> dict[str, Any]:
    given = {}
    for key in map(str, composed):
        if key in ("hydra", "recipe"):
            continue
        try:
            given[key] = composed[key]
        except OmegaConfBaseException as error:  # an interpolation that leads nowhere
            raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    return given


def _check_keys(given: dict[str, Any], composed: DictConfig, known: list[str]) -> None:
    for key, value in given.items():
        members = [k for k in known if k.startswith(f"{key}.")]
        if members and not isinstance(value, DictConfig):
            raise UserError(f"{key}={value}: is a group of keys; set {', '.join(members)}")
    if not isinstance(given.get("counts"), ListConfig | None):
        raise UserError(f"counts={given['counts']}: must be a list with one number for each class, such as [50,50,10]")
    if not isinstance(given.get("classes"), ListConfig | None):
        raise UserError(f"classes={given['classes']}: must be a list of two or more classes, such as [0,1]")
    for key in _dotted_keys({k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in given.items()}):
        if key not in known and not any(key.startswith(f"{k}.") for k in known):
            raise UserError(f"{key}: no such key{nearest(key, known)}")
    for key in known:
        if key != "experiment" and OmegaConf.select(composed, key, default=MISSING) == MISSING:
            raise UserError(f"{key}: is missing; a key cannot be deleted, only set")


def _check_plain(key: str, value: Any) -> None:
    """What OmegaConf cannot make a number of, and what no file system or terminal takes. Raises UserError."""
    for each in value if isinstance(value, ListConfig) else (value,):
        if isinstance(each, int) and abs(each) >= LARGEST_WHOLE:
            raise UserError(f"{key}: is a number of {len(str(abs(each)))} digits, and no key takes one")
        if isinstance(each, str) and not (each.isprintable() and len(each) <= LONGEST_TEXT):
            raise UserError(f"{key}={each!a}: must be at most {LONGEST_TEXT} characters that can be printed")


def _set_writable(node: Any) -> None:
    """OmegaConf takes a frozen dataclass for one that must not even be merged into."""
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
