"""Words of captions and legends about runs: data, network, training, prediction, and the paper's experiment."""

from collections.abc import Sequence

from ncrun.figures.descent_words import OPTIMIZER_WORDS, descent_words
from ncrun.figures.phrases import any_of, each
from ncrun.losses import LOSSES, described
from ncrun.records import groups
from ncrun.records.read import Record

# Words for names in old records, which do not hold their own words. (The registries of data sets and networks would
# import torch; newer manifests hold the words.)
DATASET_WORDS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "emnist_letters": "EMNIST Letters",
}
MODEL_WORDS = {
    "mlp": "MLP",
    "deep_linear": "linear network",
    "resnet18": "ResNet18",
    "resnet20": "ResNet20",
    "vgg11": "VGG11",
    "vgg16": "VGG16",
    "densenet": "DenseNet",
    "ufm": "free features",
    "ufm_relu": "free non-negative features",
    "dufm": "free features under a ReLU head",
}
# More class counts than this are given as a range.
MOST_SIZES = 3
BAND_WORDS = "Line: median of the seeds; band: smallest to largest."
CLAIM_WORDS = {
    "proven": "proven",
    "certified": "certified by a convex program",
    "open": "claimed, neither proven nor refuted",
    "refuted": "claimed, and refuted as an optimum",
    "transferred": "the limit at vanishing decay up to scale, transferred from a theorem about another objective",
}


def model_name(record: Record) -> str:
    """The network's name."""
    return _name(record, "model", record.config["model"]["name"], MODEL_WORDS)


def dataset_name(record: Record) -> str:
    """The data set's name; "" for free features."""
    return _name(record, "dataset", record.manifest["dataset"] or "", _known("dataset.name"))


def value_words(key: str, value: object) -> str:
    """A value of a configuration key, as a name if it has one."""
    return _known(key).get(str(value)) or groups.words(value)


def _known(key: str) -> dict[str, str]:
    """The words for a configuration key's values."""
    return {
        "dataset.name": DATASET_WORDS,
        "model.name": MODEL_WORDS,
        "loss": {loss.key: loss.words for loss in LOSSES},
        "optimizer.name": OPTIMIZER_WORDS,
    }.get(key, {})


def loss_words(record: Record) -> str:
    """The loss' name with its options; for a user's own loss, its key."""
    if record.posed is not None and record.posed.loss in LOSSES:
        return described(record.posed)
    return _name(record, "loss", record.config["loss"], _known("loss"))


def _name(record: Record, kind: str, key: str, known: dict[str, str]) -> str:
    """The record's own words, because the entry may be a user's own; else those of the key, or the key."""
    held = record.manifest.get("words") or {}
    return str(held.get(kind) or known.get(key, key))


def time_word(records: Sequence[Record]) -> str:
    """The word for an epoch; with free features it is an iteration."""
    return "iteration" if records[0].is_free else "epoch"


def source_words(record: Record) -> str:
    """How a figure relates to a paper's experiment: its setting, a smaller one, or one on real images; "" without an
    experiment."""
    held = record.manifest.get("caption")
    if not held:
        return ""
    words, kind = held["words"], held["kind"]
    scale = record.manifest["scale"]
    if scale == "paper":
        return f"{kind} {words}; our run."
    version = "A small version of" if scale == "cpu" else "On real images, with changes that keep it affordable:"
    return f"{version} {kind[0].lower()}{kind[1:]} {words}."


def band_words(records: Sequence[Record]) -> str:
    """The meaning of a band, if there is one."""
    return BAND_WORDS if len({record.config["seed"] for record in records}) > 1 else ""


def setting_words(*records: Record) -> str:
    """Scale, data, network and epochs in one phrase; all values if records differ in them."""
    free = [record for record in records if record.is_free]
    if 0 < len(free) < len(records):
        return f"{setting_words(*free)} {setting_words(*(r for r in records if not r.is_free))}"
    if records[0].is_free:
        return _free_feature_words(records)
    scales = dict.fromkeys(record.manifest["scale"] for record in records if record.manifest["scale"])
    scale = f"Scale {' or '.join(scales)}: " if scales else ""
    sizes = each(records, _sizes)
    data = f"{each(records, dataset_words)}, {sizes}"
    if " or " in sizes:  # each data set has its own classes
        data = each(records, lambda r: f"{dataset_words(r)}, {_sizes(r)}")
    network = (each(records, _network_words), _head_words(records), each(records, loss_words))
    return f"{scale}{data}; {', '.join(network)}, {each(records, _decay_words)}; {descent_words(records)}."


def _sizes(record: Record) -> str:
    return f"{record.manifest['num_samples']:,} samples, {_class_sizes(record)}"


def _free_feature_words(records: Sequence[Record]) -> str:
    words = each(records, model_name)
    width = any_of(sorted({record.config["model"]["width"] for record in records}))
    sizes = dict.fromkeys(map(_class_sizes, records))
    if len(sizes) > MOST_SIZES:
        counts = [record.manifest["class_counts"] for record in records]
        smallest, largest = min(map(min, counts)), max(map(max, counts))
        sizes = {f"{any_of(sorted(set(map(len, counts))))} classes of {smallest:,} to {largest:,} samples": None}
    return (
        f"{words[0].upper()}{words[1:]}, dimension {width}, {any_of(sizes)};"
        f" {each(records, loss_words)}, {each(records, _decay_words)}; {descent_words(records)}."
    )


def dataset_words(record: Record) -> str:
    """The data set with its changes: size, classes, random labels."""
    dataset, words = record.config["dataset"], dataset_name(record)
    if dataset.get("size"):
        words += f" at {dataset['size']} x {dataset['size']}"
    if record.config.get("classes"):
        *first, last = map(str, record.config["classes"])
        words = f"classes {', '.join(first)} and {last} of {words}"
    share = record.config.get("random_labels", 0)
    return f"{words} with {share:.0%} random labels" if share else words


def _network_words(record: Record) -> str:
    model = record.config["model"]
    words, width = model_name(record), model.get("width")
    if "depth" in model:
        words += f" of {model['depth']} layer{'s' * (model['depth'] != 1)}"
    if isinstance(width, float):  # a multiplier
        words += f" of {width:g} times its width" if width != 1 else ""
    elif isinstance(width, int):
        words += f" of width {width}"
    ending = []
    if model.get("batch_norm"):
        ending.append("BatchNorm")
    if model.get("features") == "relu" or model.get("feature_norm") is False:
        ending.append("non-negative features")
    return f"{words} with {' and '.join(ending)}" if ending else words


def _head_words(records: Sequence[Record]) -> str:
    """The heads: kind, depth, and bias."""
    heads = [record.config["head"] for record in records]
    kinds = "ReLU head" if is_relu_head(records[0]) else "linear head"
    words = f"{kinds} of depth {any_of(sorted({head['depth'] for head in heads}))}"
    biases = {head["bias"] for head in heads}
    words += {(True,): " with bias", (False, True): " with and without bias"}.get(tuple(sorted(biases)), "")
    return words + (", frozen" if heads[0].get("frozen") else "")


def centres_means(record: Record) -> bool:
    """Whether its matrices are of centred class means: with a bias, except for features after a ReLU. In older records,
    which do not hold their problem, with any bias."""
    return bool(record.config["head"]["bias"]) if record.posed is None else record.posed.centres_means


def is_relu_head(record: Record) -> bool:
    """Whether there is a ReLU between the layers of the head. (Old records have no key for it.)"""
    return bool(record.config["head"].get("relu", record.config["model"]["name"] == "dufm"))


def _class_sizes(record: Record) -> str:
    counts = record.manifest["class_counts"]
    if record.on_targets:
        targets = record.problem.targets
        assert targets is not None
        samples = f" for {record.manifest['num_samples']} samples of {dataset_name(record)}"
        return targets.words + (samples if record.is_free else "")
    if record.is_free:
        few = ", ".join(map(str, counts)) if len(counts) <= 6 else f"{min(counts)} to {max(counts)}"
        return f"{len(counts)} classes of {counts[0] if min(counts) == max(counts) else few} samples"
    sizes = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return f"{len(counts)} classes of {sizes}"


def _decay_words(record: Record) -> str:
    decays = record.manifest["effective_decays"]
    weights = sorted(set(decays["weight"]))
    if record.config["decay"]["mode"] == "parameters":
        return f"decay {weights[0]:g} on all parameters"
    bias_decay = record.config["decay"].get("bias")
    bias = f", {bias_decay:g} on the bias" if bias_decay else ""
    if weights == [decays["feature"]] and not bias:
        return f"all decays {weights[0]:g}"
    return f"decay {', '.join(f'{w:g}' for w in weights)} on weights and {decays['feature']:g} on features{bias}"
