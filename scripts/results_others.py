"""The sections of results/README.md on the networks of Dang et al. 2024, of Sukenik et al. 2023, and on CIFAR-10."""

from collections.abc import Sequence

from results_dang2023 import development
from results_numbers import (
    Runs,
    by_setting,
    last,
    nearer,
    number,
    over,
    percent,
    row_at,
    setting,
    span,
    table,
    times,
    to_balanced,
    to_prediction,
    value_of,
)

from ncrun.records.read import Record


def networks_2024(runs: Runs) -> str:
    scales = {"mlp": ("cpu", "real", "paper"), "mlp-cifar10": ("cpu", "real"), "mlp-cifar100": ("cpu",)}
    mlps = [(name, scale) for name, its in scales.items() for scale in its]
    groups: list[tuple[str, list[Record]]] = []
    for name, scale in mlps:
        found = runs.of(f"dang2024/{name}", scale)
        for data in dict.fromkeys(value_of(record, "dataset.name") for record in found):
            own = [record for record in found if value_of(record, "dataset.name") == data]
            groups.append((f"{name}, {scale}: {data}", own))
    rows = [
        [
            name,
            over(group, last("nc1")),
            over(group, to_prediction),
            over(group, to_balanced),
            over(group, nearer),
            over(group, last("gap"), percent),
            over(group, last("test_accuracy")),
        ]
        for name, group in groups
    ]
    head = ["experiment", "NC1", "to the prediction", "to the balanced one", "times nearer", "above the optimum"]
    sets = ("mnist", "fashion_mnist")
    mnist, fashion = (runs.of("dang2024/mlp", "real", dataset__name=name, seed=0)[0] for name in sets)
    settings = "\n".join(f"- {name.partition(':')[0]}: {setting(group)}" for name, group in groups)
    return f"""## dang2024/mlp, mlp-cifar10, mlp-cifar100

*Claim* (Dang et al. 2024; cross-entropy, no bias, non-negative features): class means are orthogonal. Their norms, and the
norms and angles of the classifier, are functions of the class counts.

*Runs* (scale cpu: digits, with the proportions of each experiment's class counts; scale real: the first images of each class; scale
paper: the authors' own setting, on an H200 with other runs beside it, with `cuda_graphs=true`):

{settings}

{table([*head, "test accuracy"], rows)}

The development on the real data with one seed (from {value_of(mnist, "epochs")} on by L-BFGS):

{development([mnist, fashion], ["MNIST", "FashionMNIST"], (0, 50, 100, 200, 300, 340, 400, 500, 600, 800))}

*It held*: every run ends at the imbalanced prediction, {span([nearer(record) for _, group in groups for record in group])} times nearer than to the balanced one.
The data are fitted long before the geometry is reached. On CIFAR-10 Adam with its usual betas killed the network. The gradients become small but the steps do not, and after one jump every feature was zero on
every image. ReLU features have no gradient there. The betas above avoid this.

![dang2024/mlp at scale cpu](dang2024/mlp-cpu.png)
![dang2024/mlp at scale real](dang2024/mlp-real.png)
![dang2024/mlp at scale paper](dang2024/mlp-paper.png)
![dang2024/mlp-cifar10 at scale real](dang2024/mlp-cifar10-real.png)
"""


def convolutional_2024(runs: Runs) -> str:
    names = ("convolutional", "convolutional-cifar10", "convolutional-cifar100")
    small = [record for name in names for record in runs.of(f"dang2024/{name}", "cpu")]
    real = [record for name in names[:2] for record in runs.of(f"dang2024/{name}", "real")]
    rows = [
        [
            f"{group[0].manifest['experiment'].partition('/')[2]}, {group[0].manifest['scale']}",
            value_of(group[0], "dataset.name"),
            value_of(group[0], "model.name"),
            over(group, last("nc1")),
            over(group, to_prediction),
            over(group, to_balanced),
            over(group, last("gap"), percent),
        ]
        for group in (*by_setting(small), *by_setting(real, "model.name", "dataset.name"))
    ]
    head = ["experiment", "data", "network", "NC1", "to the prediction", "to the balanced one", "above the optimum"]
    return f"""## dang2024/convolutional, convolutional-cifar10, convolutional-cifar100

*Claim*: as above, for ResNet18, VGG11 and DenseNet with post-ReLU features.

*Runs, scale cpu* (four of the digits at 32 x 32): {setting(small)}.
*Runs, scale real* (five classes, the first images of each): {setting(real)}.

{table(head, rows)}

*It held*: every network ends at the imbalanced prediction, {over((*small, *real), nearer)} times nearer than to the balanced one. Without fixed
BatchNorm statistics and without L-BFGS they stopped well short of it ([how far](bench/arrival.md)).

![dang2024/convolutional](dang2024/convolutional-cpu.png)
![dang2024/convolutional at scale real](dang2024/convolutional-real.png)
![dang2024/convolutional-cifar10 at scale real](dang2024/convolutional-cifar10-real.png)
"""


def layers(records: Sequence[Record], key: str) -> str:
    """A column of every layer of the head, over layers and runs."""
    depth = int(value_of(records[0], "head.depth"))
    columns = [f"head.{layer}.{key}" for layer in range(1, depth + 1)]
    return span([row_at(record).get(column) for record in records for column in columns])


def relu_heads(runs: Runs) -> str:
    scales = {"end-to-end": ("cpu", "real", "paper"), "frozen-head": ("cpu", "real")}
    groups = [(name, scale) for name, its in scales.items() for scale in its]
    found = {(name, scale): runs.of(f"sukenik2023/{name}", scale) for name, scale in groups}
    rows = [
        [
            f"{name}, {scale}",
            over(group, last("nc1")),
            over(group, to_prediction),
            over(group, last("gap"), percent),
            layers(group, "dnc2"),
            layers(group, "pre_dnc2"),
            layers(group, "dnc3"),
        ]
        for (name, scale), group in found.items()
    ]
    settings = "\n".join(f"- {name}, {scale}: {setting(group)}" for (name, scale), group in found.items())
    head = ["experiment", "NC1", "to the prediction", "above the optimum", "DNC2 by layer", "before its ReLU", "DNC3"]
    trained = runs.of("sukenik2023/head", "paper")
    return f"""## sukenik2023/end-to-end and frozen-head

*Claim* (Sukenik et al. 2023; two balanced classes, ReLU head): training end to end reaches deep neural collapse. So does training
a backbone below a frozen head that was trained on free features.

*Runs*:

{settings}

{table(head, rows)}

DNC2 is a condition number. The head of frozen-head was trained by L-BFGS to {over(trained, last("gap"), percent)} above its proven optimum (`sukenik2023/head`, {times(trained)}).

*It held*: end to end, the runs are at the optimum in loss and in geometry, at scale paper (a ResNet20 with BatchNorm, by gradient descent alone, on an H200 with `cuda_graphs=true`) nearly so. Below a frozen head the backbone produces what the upper layers of the head need; in its
first layer a difference may remain.

![end-to-end at scale real](sukenik2023/end-to-end-real.png)
![end-to-end at scale paper](sukenik2023/end-to-end-paper.png)
![frozen-head](sukenik2023/frozen-head-cpu.png)
![frozen-head at scale real](sukenik2023/frozen-head-real.png)
"""


def cifar(runs: Runs) -> str:
    (record,) = runs.of(None, dataset__name="cifar10")
    rows = []
    for step in (0, 10, 40, 80, 120):
        row = next(row for row in map(dict, record.metrics.to_dict("records")) if row["epoch"] >= step)
        balanced = number(row["balanced.nc2_w"])
        cells = [number(row["nc1"]), number(row["nc2_w"]), balanced, percent(row["gap"])]
        rows.append([str(row["epoch"]), f"{row['train_accuracy']:.4f}", *cells])
    head = [
        "epoch",
        "training accuracy",
        "NC1",
        "NC2 of W",
        "the same, to the balanced prediction",
        "above the optimum",
    ]
    return f"""## CIFAR-10 with imbalance 0.1

*Run*: `ncrun train dataset=cifar10 imbalance=0.1 optimizer.lr=3e-4 epochs=120` on the real data: {setting([record])};
{percent(record.manifest["measuring_share"])} of the time was spent measuring every epoch.

{table(head, rows)}

At the start the network has exactly the balanced geometry (its head is orthogonal). It ends {number(to_prediction(record))} from the imbalanced prediction (the
largest of NC2 and NC3).

![CIFAR-10 with imbalance 0.1](cifar10-imbalance-0.1.png)
"""


def mnist(runs: Runs) -> str:
    (record,) = runs.of(None, dataset__name="mnist")
    last = dict(record.metrics.iloc[-1])
    return f"""## MNIST, collapse seen

*Run*: the one of the README's first picture ([its commands](../docs/plots.md#collapse-seen)): {setting([record])}. It ends at NC1 {number(last["nc1"])}, {number(to_prediction(record))} from the imbalanced
prediction (the largest of NC2 and NC3), {percent(last["gap"])} above the proven optimum, with a test accuracy of {last["test_accuracy"]:.2%}. `mnist-imbalanced.zip` also holds its snapshots.

![Samples at the start, in between and at the end](../docs/collapse.gif)
"""
