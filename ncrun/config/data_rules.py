"""The rules for the samples of a run: free features have only counts, networks have a data set."""

import math
from dataclasses import dataclass, fields, replace

from ncrun.checks import choice
from ncrun.config.schema import Settings
from ncrun.config.target_rules import free_targets, without_classes
from ncrun.config.typed import Typed, is_whole
from ncrun.data import SOURCES, Source
from ncrun.data.counts import PROFILES, class_counts, seeded_class_order
from ncrun.data.folder import data_folder
from ncrun.data.request import AUGMENTATIONS, DataRequest, FreeSamples, FreeTargets
from ncrun.errors import UserError
from ncrun.targets import Targets

DEFAULT_BATCH_SIZE = 128


@dataclass(frozen=True)
class Samples:
    """counts: one for each class; () with targets. request: which samples to load."""

    counts: tuple[int, ...]
    request: DataRequest | FreeSamples | FreeTargets

    @property
    def targets(self) -> Targets | None:
        """The moments of the targets, if there are targets instead of classes."""
        return None if isinstance(self.request, FreeSamples) else self.request.source.facts.targets

    @property
    def num_outputs(self) -> int:
        """The number of outputs of the head: classes, or numbers of a target."""
        return len(self.counts) if self.targets is None else self.targets.num_outputs


def free_samples(given: Settings, typed: Typed) -> tuple[Settings, Samples]:
    """Free features have no data set, only counts, or the targets of a data set."""
    name = given.model.name
    if (on_targets := free_targets(given, typed)) is not None:
        settled = without_classes(given, typed, on_targets.source)
        return _of_free_features(settled), Samples((), on_targets)
    of_data = ("subset", "data_dir", "classes", "random_labels", "augment")
    for key in ("dataset", *(f"dataset.{f.name}" for source in SOURCES for f in fields(source)), *of_data):
        typed.refuse(key, f"model={name} has no data set")
    typed.refuse("taps", f"model={name} has no backbone")
    typed.refuse("head.frozen", f"model={name} trains its own head")
    for key in ("imbalance", "imbalance_profile", "class_order"):
        typed.refuse(key, f"model={name} has no data set; give the samples of each class by counts=[...]")
    if given.counts is None:
        raise UserError(f"counts: model={name} needs the samples of each class, such as counts=[100,100,50,50]")
    if len(given.counts) < 2:
        raise UserError(f"counts={given.counts}: needs at least two classes")
    for k, count in enumerate(given.counts):
        if count < 1:
            raise UserError(f"counts: class {k} needs at least 1 sample, not {count}")
    settled = replace(
        given,
        dataset=None,
        imbalance=None,
        imbalance_profile=None,
        class_order=None,
        subset=None,
    )
    counts = tuple(given.counts)
    return _of_free_features(settled), Samples(counts, FreeSamples(counts))


def _of_free_features(given: Settings) -> Settings:
    """Clears the keys that need a network or a data set's inputs. Raises UserError if one is given."""
    name = given.model.name
    if given.batch_size not in (None, "full"):
        raise UserError(
            f"batch_size={given.batch_size}: model={name} trains on all its features at once; do not set batch_size"
        )
    if given.decay.mode != "features":
        raise UserError(f"decay.mode={given.decay.mode}: model={name} takes only decay.mode=features")
    return replace(given, augment=[], taps=[], batch_size="full", head=replace(given.head, frozen=None))


def data_set_samples(given: Settings, typed: Typed) -> tuple[Settings, Samples]:
    """The samples of a data set: image shape, classes, and samples per class."""
    source = given.dataset
    assert source is not None
    _check_images(given, source)
    counts: tuple[int, ...] = ()
    if source.facts.targets is not None:
        _check_random_labels(given)
        settled = without_classes(given, typed, source)
    else:
        _check_classes(given, source)
        settled, counts = _counts(given, typed, source)
    request = DataRequest(
        source=source,
        folder=data_folder(given.data_dir),
        counts=counts,
        classes=None if settled.classes is None else tuple(settled.classes),
        subset=settled.subset or "first",
        seed=given.seed,
        random_labels=given.random_labels,
        augment=tuple(given.augment),
    )
    return _with_batch_size(settled, request.num_samples), Samples(counts, request)


def _check_images(given: Settings, source: Source) -> None:
    """The shape of the images in the data set, and after resizing."""
    for kind in given.augment:
        choice("augment", kind, AUGMENTATIONS)
    source.check()
    model = given.model
    if source.facts.holds_vectors:
        vectors = f"{source.name} holds vectors of {source.facts.image_shape[0]} numbers"
        if given.augment:
            raise UserError(f"augment={given.augment}: needs images, and {vectors}")
        if model.needs_images:
            raise UserError(f"model={model.name}: needs images, and {vectors}; mlp takes them")
    least, (_, height, width) = model.smallest_image, source.image_shape
    if min(height, width) < least:
        raise UserError(
            f"model={model.name}: its poolings need images of at least {least} x {least}, not"
            f" {height} x {width}; set dataset.size={least}"
        )


def _with_batch_size(given: Settings, N: int) -> Settings:
    size = given.batch_size
    if size is None:
        return replace(given, batch_size=min(DEFAULT_BATCH_SIZE, N))
    if size == "full":
        return given
    if not is_whole(size):
        raise UserError(f"batch_size={size}: must be full or a whole number")
    if not 1 <= size <= N:
        raise UserError(f"batch_size={size}: must be full or lie in 1..{N}, the number of training samples")
    if size == 1 and given.model.has_batch_norm:
        raise UserError(f"batch_size=1: BatchNorm in model={given.model.name} needs at least 2 samples in a batch")
    return given


def _check_classes(given: Settings, source: Source) -> None:
    if given.classes is None:
        return
    available = source.facts.num_classes
    if len(given.classes) < 2 or len(set(given.classes)) < len(given.classes):
        raise UserError(f"classes={given.classes}: must be two or more different ones")
    for k in given.classes:
        if not 0 <= k < available:
            raise UserError(f"classes={given.classes}: {source.key} has the classes 0 to {available - 1}, not {k}")


def _counts(given: Settings, typed: Typed, source: Source) -> tuple[Settings, tuple[int, ...]]:
    """The samples of each class. Keys without effect become None in the settings."""
    sizes = source.facts.class_sizes
    if given.classes is not None:
        sizes = tuple(sizes[k] for k in given.classes)
    choice("imbalance_profile", given.imbalance_profile, PROFILES)
    choice("class_order", given.class_order, ["list", "seed"])
    choice("subset", given.subset, ["seed", "first"])
    imbalance, profile, order = given.imbalance, given.imbalance_profile, given.class_order
    if given.counts is not None:
        for key in ("imbalance", "imbalance_profile", "class_order"):
            typed.refuse(key, "counts is set")
        if len(given.counts) != len(sizes):
            raise UserError(
                f"counts={given.counts}: {len(given.counts)} counts for the {len(sizes)} classes of {source.key}"
            )
        for k, count, size in zip(given.classes or range(len(sizes)), given.counts, sizes, strict=True):
            if not 1 <= count <= size:
                raise UserError(f"counts: class {k} of {source.key} holds 1 to {size} samples, not {count}")
        imbalance = None
    elif imbalance is not None:
        if 1 < imbalance < math.inf:
            hint = f" (n_max/n_min = {imbalance:g} is imbalance={1 / imbalance:g})"
            raise UserError(f"imbalance={imbalance:g}: is n_min/n_max, and must lie in (0, 1]{hint}")
        if not 0 < imbalance <= 1:
            raise UserError(f"imbalance={imbalance:g}: is n_min/n_max, and must lie in (0, 1]; 1 is balanced")
    if imbalance is None:
        if given.counts is None:
            for key in ("imbalance_profile", "class_order"):
                typed.refuse(key, "imbalance is not set")
        profile = order = None
    _check_random_labels(given)
    if given.counts is not None:
        counts = tuple(given.counts)
    else:
        rare = seeded_class_order(len(sizes), given.seed) if order == "seed" else None
        counts = tuple(class_counts(sizes, imbalance, profile or "exp", rare))
    subset = given.subset
    if counts == tuple(sizes):
        typed.refuse("subset", "all samples are used")
        subset = None
    settled = replace(given, imbalance=imbalance, imbalance_profile=profile, class_order=order, subset=subset)
    return settled, counts


def _check_random_labels(given: Settings) -> None:
    if not 0 <= given.random_labels <= 1:
        raise UserError(f"random_labels={given.random_labels}: must lie in [0, 1], a share of the training samples")
