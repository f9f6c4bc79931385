"""The sections of results/README.md on the networks of Dang et al. 2023."""

from collections.abc import Sequence

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
    to_balanced,
    to_prediction,
    value_of,
)

from ncrun.figures.classes import cosines
from ncrun.records.read import Record
from ncrun.records.summary import distance
from ncrun.theory.predict import predict

NETWORK = ("nc1", "nc2_w", "nc2_h", "nc3")
OPPOSITE = -0.9
STEPS = (0, 50, 100, 198, 404, 600, 650, 700, 800, 1100)
PAPER_STEPS = (0, 100, 1000, 3000, 6000, 9000, 12000)


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def measured(records: Sequence[Record]) -> list[str]:
    """NC1, NC2 of both sides, NC3, and how far the loss is above the optimum."""
    return [*(over(records, last(key)) for key in NETWORK), over(records, last("gap"), percent)]


def development(records: Sequence[Record], names: Sequence[str], steps: Sequence[int]) -> str:
    """Of a run in each: distance to the prediction and to the balanced one, and loss above the optimum, over the
    steps."""
    rows = []
    for step in steps:
        cells = [str(row_at(records[0], step)["step"])]
        for record in records:
            row = dict(row_at(record, step))
            here, there = number(distance(row)), number(distance(row, "balanced."))
            cells += [here, there, number(row["nc1"]), percent(row["gap"])]
        rows.append(cells)
    head = [
        f"{name}: {column}" for name in names for column in ("to the prediction", "to the balanced one", "NC1", "gap")
    ]
    return table(["step", *head], rows)


def imbalanced(runs: Runs) -> str:
    name = "dang2023/mlp-imbalanced"
    cpu, real = ([runs.of(name, scale, head__depth=depth) for depth in (1, 3, 6)] for scale in ("cpu", "real"))
    one, three = (runs.of(name, "real", head__depth=depth, seed=0)[0] for depth in (1, 3))
    paper = [runs.of(name, "paper", head__depth=depth)[0] for depth in (1, 3, 6)]
    rows, real_rows = (
        [
            [str(value_of(group[0], "head.depth")), *measured(group), over(group, to_balanced), over(group, nearer)]
            for group in groups
        ]
        for groups in (cpu, real)
    )
    head = ["M", "NC1", "NC2 of W", "NC2 of H", "NC3", "above the optimum", "to the balanced one", "times nearer"]
    emnist = runs.of("dang2023/mlp-imbalanced-emnist", "cpu")
    return f"""## dang2023/mlp-imbalanced

*Claim* (Dang et al. 2023, Theorems 3 and 4; squared loss, no bias): at the optimum every class collapses to its mean, and
classifier and means have orthogonal directions. Their lengths are functions of the class counts and of the depth M of the linear
head.

*Runs, scale cpu*: {setting(runs.of(name, "cpu"))}.

{table(head, rows)}

*Runs, scale real* (the first images of each class, as in the released code): {setting(runs.of(name, "real"))}.

{table(head, real_rows)}

The development with one seed (from {value_of(one, "epochs")} on by L-BFGS):

{development([one, three], ["M = 1", "M = 3"], STEPS)}

Test accuracy {over(runs.of(name, "real"), last("test_accuracy"))}.

*It held*: on digits and on CIFAR-10 the geometry is that of the imbalanced prediction for every depth, and far from the balanced prediction.

*Runs, scale paper* (the authors' own setting, on an H200 with other runs beside it, with `precision=tf32` and `cuda_graphs=true`): {setting(paper)}.

{development(paper, ["M = 1", "M = 3", "M = 6"], PAPER_STEPS)}

Test accuracy {span([row_at(record)["test_accuracy"] for record in paper])}. *It held*: all are at the imbalanced prediction, {span([nearer(record) for record in paper])} times nearer to it than to the balanced one.
With one layer the means moved away from it again near the end, while the loss kept falling. Whether Adam or the rounding of TF32 causes this was not examined. (M = 3 was interrupted by a time limit and
continued from its checkpoint.)

![mlp-imbalanced at scale paper](dang2023/mlp-imbalanced-paper.png)

![mlp-imbalanced at scale cpu](dang2023/mlp-imbalanced-cpu.png)
![mlp-imbalanced at scale real](dang2023/mlp-imbalanced-real.png)

The ledger splits the gap into parts that are at least zero, over training. At first the means lack the geometry, then head and features are out of balance, and at the end only spread within the classes is
left.

![the ledger of mlp-imbalanced](dang2023/mlp-imbalanced-cpu-ledger.png)

More figures: [every class and the formula](dang2023/mlp-imbalanced-cpu-classes.png), [angles](dang2023/mlp-imbalanced-cpu-angles.png), [Gram matrices, predicted and
measured](dang2023/mlp-imbalanced-cpu-grams.png), [the field's usual metrics](dang2023/mlp-imbalanced-cpu-usual.png), [ranks and singular values by
layer](dang2023/mlp-imbalanced-cpu-ranks.png). Every experiment below has the same.

## dang2023/mlp-imbalanced-emnist

*Claim*: as above, for three different class counts. *Runs, scale cpu* (digits instead of EMNIST): {setting(emnist)}; M = {value_of(emnist[0], "head.depth")}.
*It held*: {over(emnist, to_prediction)} from the prediction ({over(emnist, to_balanced)} from the balanced one), loss {over(emnist, last("gap"), percent)} above
the optimum.

![mlp-imbalanced-emnist](dang2023/mlp-imbalanced-emnist-cpu.png)
"""


def balanced(runs: Runs) -> str:
    name = "dang2023/mlp-balanced"
    rows = {}
    for scale in ("cpu", "real"):
        groups = [
            runs.of(name, scale, head__depth=depth, head__bias=bias) for bias in (False, True) for depth in (1, 3, 6)
        ]
        rows[scale] = [
            [
                yes(value_of(group[0], "head.bias")),
                str(value_of(group[0], "head.depth")),
                *measured(group),
                over(group, last("test_accuracy")),
            ]
            for group in groups
        ]
    real, paper = runs.of(name, "real"), runs.of(name, "paper")[0]
    head = ["bias", "M", "NC1", "NC2 of W", "NC2 of H", "NC3", "above the optimum", "test accuracy"]
    return f"""## dang2023/mlp-balanced

*Claim* (Theorem 1): without bias an orthogonal frame, with an unregularised last-layer bias a simplex ETF, for every depth.

*Runs, scale cpu*: {setting(runs.of(name, "cpu"))}.

{table(head, rows["cpu"])}

*Runs, scale real* (the first images of each class): {setting(real)}.

{table(head, rows["real"])}

*It held*, on digits and on CIFAR-10.

*Run, scale paper* (the authors' own setting, M = 1 without a bias, on an H200 with `cuda_graphs=true`): {setting([paper])}. It ends {number(to_prediction(paper))} from the prediction and {percent(row_at(paper)["gap"])}
above the optimum. NC1 is {number(row_at(paper)["nc1"])}: classes collapse, but not onto the optimum. This network has BatchNorm, and training penalises the features of a batch, normalised by that batch, while
the theorem and the measurement are about the features by its fixed statistics; `freeze_norm` makes the two one, and was not part of the authors' setting.

![mlp-balanced](dang2023/mlp-balanced-cpu.png)
![mlp-balanced on CIFAR-10](dang2023/mlp-balanced-real.png)
"""


def cross_entropy(runs: Runs) -> str:
    name = "dang2023/cross-entropy-balanced"
    rows = []
    for scale, depths in (("cpu", (1, 3)), ("real", (1, 3, 6)), ("paper", (1,))):
        for depth in depths:
            group = runs.of(name, scale, head__depth=depth)
            rows.append(
                [scale, str(depth), *against_claim(group), over(group, last("nc1")), ranks(group), accuracy(group)]
            )
    head = ["scale", "M", "grade", "distance to the ETF", "loss from the claimed value", "from the lowest known", "NC1"]
    prediction = predict(runs.of(name, "real", head__depth=3)[0].problem)
    known = prediction.best_known
    assert known is not None
    return f"""## dang2023/cross-entropy-balanced

*Claim* (Theorem 2; cross-entropy, last-layer bias, equal counts): a simplex ETF for every depth. For M = 1 this is proven. For M >= 2 it is false at these decays: lower values are known, and ncrun shows
them beside the claim.

*Runs, scale cpu*: {setting(runs.of(name, "cpu"))}.
*Runs, scale real*: {setting(runs.of(name, "real"))}.
*Run, scale paper* (on an H200 with `cuda_graphs=true`; it has BatchNorm, as mlp-balanced above): {setting(runs.of(name, "paper"))}.

{table([*head, "large singular values of the means", "test accuracy"], rows)}

*It held for one layer, and not for more*: ordinary training from the default initialisation finds a lower value. Its class means have fewer large singular values than the {prediction.mean_rank} of a
simplex. (Large means above a tenth of the largest. NC1 is large because it divides by the spread of the means in all their directions, and it is tiny in the others.) The lowest known configuration at scale
real: {known.name}.

![cross-entropy-balanced](dang2023/cross-entropy-balanced-cpu.png)
![ranks by layer](dang2023/cross-entropy-balanced-cpu-ranks.png)
![the refutation](dang2023/cross-entropy-balanced-cpu-refutation.png)

The figure of the refutation orders the classes by a clustering. At scale cpu {opposite(runs.of(name, "cpu", head__depth=3))} of the {prediction.problem.num_classes} classes have a partner whose classifier
row points in the opposite direction (a cosine below {OPPOSITE:g}). The lowest known configuration is different from what was trained.

![cross-entropy-balanced on CIFAR-10](dang2023/cross-entropy-balanced-real.png)
![the refutation on CIFAR-10](dang2023/cross-entropy-balanced-real-refutation.png)
![ranks by layer on CIFAR-10](dang2023/cross-entropy-balanced-real-ranks.png)
"""


def against_claim(records: Sequence[Record]) -> list[str]:
    """Grade, distance, and the loss relative to the claimed value and to the lowest that theory knows today."""
    prediction = predict(records[0].problem)
    claimed, best = prediction.objective, prediction.best_known
    assert claimed is not None
    losses = [row_at(record)["loss"] for record in records]
    from_best = span([loss / best.objective - 1 for loss in losses], percent) if best and best.objective else ""
    from_claim = span([loss / claimed - 1 for loss in losses], percent)
    return [prediction.claim, over(records, to_prediction), from_claim, from_best]


def ranks(records: Sequence[Record]) -> str:
    """How many singular values of the class means are above a tenth of the largest."""
    found = []
    for record in records:
        assert record.measured is not None
        values = record.measured["singular_values"]["head.1"]
        found.append(sum(value > 0.1 * values[0] for value in values))
    return " to ".join(map(str, sorted({min(found), max(found)})))


def opposite(records: Sequence[Record]) -> str:
    """How many classes have another one whose classifier row points the other way."""
    found = []
    for record in records:
        assert record.measured is not None
        found.append(int((cosines(record.measured["weight_gram"]).min(axis=0) < OPPOSITE).sum()))
    return " to ".join(map(str, sorted({min(found), max(found)})))


def accuracy(records: Sequence[Record]) -> str:
    return over(records, last("test_accuracy"))


def convolutional(runs: Runs) -> str:
    names = ("dang2023/convolutional-balanced", "dang2023/convolutional-balanced-emnist")
    small = [record for name in names for record in runs.of(name, "cpu")]
    real = runs.of(names[0], "real")
    flat, deep = ([r for r in real if (value_of(r, "head.depth") == 1) is one] for one in (True, False))
    rows = [
        [
            f"{group[0].manifest['experiment'].partition('/')[2]}, {group[0].manifest['scale']}",
            value_of(group[0], "dataset.name"),
            value_of(group[0], "model.name"),
            str(value_of(group[0], "head.depth")),
            over(group, last("nc1")),
            over(group, to_prediction),
            accuracy(group),
        ]
        for group in (*by_setting(small), *by_setting(real, "dataset.name", "head.depth"))
    ]
    return f"""## dang2023/convolutional-balanced and convolutional-balanced-emnist

*Claim*: as for mlp-balanced, with ResNet18 and VGG16 under plain weight decay on all parameters. No theorem covers these minima: the target is the shape at vanishing decay (`transferred`).

*Runs, scale cpu* (four of the digits at 32 x 32): {setting(small)}.
*Runs, scale real* (four classes, the first images of each): {setting(real)}.

{table(["experiment", "data", "network", "M", "NC1", "distance to the target", "test accuracy"], rows)}

*It held to {over(small, to_prediction)}* on digits, and on real images to {over(deep, to_prediction)} with heads of three and six layers. With one layer real images end {over(flat, to_prediction)} away
from the target. The decay is far from vanishing, because runs this short need a large one.

![convolutional-balanced](dang2023/convolutional-balanced-cpu.png)
![convolutional-balanced at scale real](dang2023/convolutional-balanced-real.png)
"""
