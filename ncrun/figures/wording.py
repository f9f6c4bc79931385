"""What captions and legends say of runs: data, network, training, prediction, and the paper's experiment."""

from collections.abc import Callable, Iterable, Sequence

from ncrun.losses import LOSSES, described
from ncrun.records.read import Record

# Names in records from before they held their own words; figures colour data sets in this order.
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
OPTIMIZER_WORDS = {"sgd": "gradient descent", "adam": "Adam"}
BAND_WORDS = "Line: median of the seeds; band: smallest to largest."
CLAIM_WORDS = {
    "proven": "proven",
    "certified": "certified by a convex program",
    "open": "claimed, neither proven nor refuted",
    "refuted": "claimed, and refuted as an optimum",
    "transferred": "the shape at vanishing decay, transferred from a theorem about another objective",
}


def model_name(record: Record) -> str:
    """What people call the network."""
    return _name(record, "model", record.config["model"]["name"], MODEL_WORDS)


def dataset_name(record: Record) -> str:
    """What people call the data set; "" of free features."""
    return _name(record, "dataset", record.manifest["dataset"] or "", DATASET_WORDS)


def loss_words(record: Record) -> str:
    """What people call the loss, with its options; of one that is a user's own, its key."""
    if record.posed is not None and record.posed.loss in LOSSES:
        return described(record.posed)
    return _name(record, "loss", record.config["loss"], {loss.key: loss.words for loss in LOSSES})


def _name(record: Record, kind: str, key: str, known: dict[str, str]) -> str:
    """The record's own words, for what it names may be a user's own; else those of the key, or the key."""
    held = record.manifest.get("words") or {}
    return str(held.get(kind) or known.get(key, key))


def time_word(records: Sequence[Record]) -> str:
    """What an epoch is called: with free features it is one iteration."""
    return "iteration" if records[0].is_free else "epoch"


def source_words(record: Record) -> str:
    """How a figure relates to a paper's experiment: its setting, a smaller one, or one on real images; "" for runs that
    belong to none."""
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
    """What a band means, if there can be one."""
    return BAND_WORDS if len({record.config["seed"] for record in records}) > 1 else ""


def setting_words(*records: Record) -> str:
    """Scale, data, network and epochs in one phrase; of records that differ in them, each."""
    free = [record for record in records if record.is_free]
    if 0 < len(free) < len(records):
        return f"{setting_words(*free)} {setting_words(*(r for r in records if not r.is_free))}"
    seed_words = _seed_words([record.config["seed"] for record in records])
    if records[0].is_free:
        return _free_feature_words(records, seed_words)
    scales = dict.fromkeys(record.manifest["scale"] for record in records if record.manifest["scale"])
    scale = f"Scale {' or '.join(scales)}: " if scales else ""
    sizes = _each(records, lambda r: f"{r.manifest['num_samples']} samples, {_class_sizes(r)}")
    data = f"{_each(records, dataset_words)}, {sizes}"
    if " or " in sizes:  # each data set has its own
        data = _each(records, lambda r: f"{dataset_words(r)}, {r.manifest['num_samples']} samples, {_class_sizes(r)}")
    parts = [
        _head_words(records),
        _each(records, loss_words),
        _each(records, _decay_words),
        _each(records, _batch_words),
        f"{_each(records, lambda r: format(r.config['epochs'], 'd'))} epochs{_arriving_words(records)}",
        seed_words,
    ]
    return f"{scale}{data}; {_each(records, _network_words)}, {', '.join(filter(None, parts))}."


def _each(records: Sequence[Record], words: Callable[[Record], str]) -> str:
    """The words of every record that has its own."""
    return _any_of(dict.fromkeys(map(words, records)))


def _any_of(things: Iterable[object]) -> str:
    """a, b or c"""
    *first, last = map(str, things)
    return f"{', '.join(first)} or {last}" if first else last


def _seed_words(seeds: Iterable[int]) -> str:
    found = sorted(set(seeds))
    if len(found) == 1:
        return f"seed {found[0]}"
    if found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}" if len(found) > 2 else f"seeds {found[0]} and {found[1]}"
    return f"seeds {', '.join(map(str, found))}"


def _free_feature_words(records: Sequence[Record], seed_words: str) -> str:
    optimizers = dict.fromkeys(record.config["optimizer"]["name"] for record in records)
    descent = " or ".join(
        _descent_words([record for record in records if record.config["optimizer"]["name"] == name])
        for name in optimizers
    )
    words = _each(records, model_name)
    width = _any_of(sorted({record.config["model"]["width"] for record in records}))
    return (
        f"{words[0].upper()}{words[1:]}, dimension {width}, {_each(records, _class_sizes)};"
        f" {_each(records, loss_words)}, {_each(records, _decay_words)}, {descent}, {seed_words}."
    )


def _descent_words(records: Sequence[Record]) -> str:
    """Of free features under one optimiser."""
    optimizer = records[0].config["optimizer"]
    if optimizer["name"] == "lbfgs":
        return "L-BFGS until the gradient is gone"
    momentum = _each(records, lambda record: f"{record.config['optimizer'].get('momentum', 0):g}")
    name = OPTIMIZER_WORDS.get(optimizer["name"], optimizer["name"])
    name += f", momentum {momentum}" if "momentum" in optimizer else ""
    epochs = _each(records, lambda record: f"{record.config['epochs']:,}")
    rate = _each(records, lambda record: f"{record.config['optimizer']['lr']:g}")
    return f"{epochs} iterations of {name}, learning rate {rate}"


def dataset_words(record: Record) -> str:
    """The data set with what is made of it."""
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
        words += f" of {model['depth']} layers"
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
    """The heads: what kind, how deep, with a bias or without."""
    heads = [record.config["head"] for record in records]
    kinds = "ReLU head" if is_relu_head(records[0]) else "linear head"
    words = f"{kinds} of depth {_any_of(sorted({head['depth'] for head in heads}))}"
    biases = {head["bias"] for head in heads}
    words += {(True,): " with bias", (False, True): " with and without bias"}.get(tuple(sorted(biases)), "")
    return words + (", frozen" if heads[0].get("frozen") else "")


def centres_means(record: Record) -> bool:
    """Whether its matrices are of centred class means: with a bias, but for features after a ReLU. In older records,
    which do not hold their problem, with any bias."""
    return bool(record.config["head"]["bias"]) if record.posed is None else record.posed.centres_means


def is_relu_head(record: Record) -> bool:
    """Whether there is a ReLU between the layers of the head. (Old records have no key for it.)"""
    return bool(record.config["head"].get("relu", record.config["model"]["name"] == "dufm"))


def _batch_words(record: Record) -> str:
    size = record.config["batch_size"]
    return "full batch" if size == "full" else f"batch {size}"


def _arriving_words(records: Sequence[Record]) -> str:
    """What comes after BatchNorm's batches, and after the epochs. (Old records have no key for either.)"""
    shares = dict.fromkeys(f"{share:.0%}" for r in records if (share := r.config.get("freeze_norm")))
    counts = dict.fromkeys(count for r in records if (count := r.config.get("finish_iterations")))
    words = f", BatchNorm fixed from {_any_of(shares)} of them on" if shares else ""
    return f"{words}, then up to {_any_of(counts)} iterations of L-BFGS" if counts else words


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
    return f"{min(counts)} per class" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} per class"


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
