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


@dataclass(frozen=True)
class HeadSettings:
    depth: int | None = MISSING
    width: int | None = MISSING
    bias: bool = MISSING
    relu: bool | None = MISSING
    frozen: str | None = MISSING


@dataclass(frozen=True)
class DecaySettings:
    mode: str = MISSING
    weight: Any = MISSING
    feature: float | None = MISSING


@dataclass(frozen=True)
class ScheduleSettings:
    drops: list[float] | None = MISSING
    step: int | None = MISSING
    gamma: float = MISSING


@dataclass(frozen=True)
class Settings:
    """The keys of one run, as composed or (after the rules) filled in. See configs/train.yaml for what each means.

    Their names and order are those of config.yaml, and a run's identity is a hash of them.
    """

    dataset: Source | None = MISSING
    model: ModelSpec = MISSING
    optimizer: Optimizer = MISSING
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
    head: HeadSettings = field(default_factory=HeadSettings)
    decay: DecaySettings = field(default_factory=DecaySettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
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
    extend: list[str] = MISSING
    experiment: str | None = None
    scale: str | None = None


def settings_of(composed: DictConfig) -> Settings:
    """A composed configuration, its `hydra` and `recipe` nodes left out. Raises UserError for a key that is missing,
    unknown, or of another type."""
    given = _nodes(composed)
    schema = OmegaConf.structured(Settings)
    _set_writable(schema)
    for group, schemas in _choices().items():
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
    for group, of_group in _choices().items():
        schemas += [(f"{group}.", schema) for schema in of_group.values()]
    return sorted({prefix + f.name for prefix, schema in schemas for f in fields(schema)})


def plain(value: Any) -> Any:
    """Dataclasses, lists and scalars as JSON-ready containers."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _choices() -> dict[str, dict[str, Any]]:
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
