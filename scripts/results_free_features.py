"""The sections of results/README.md on free features: the problems of the theorems themselves."""

from results_dang2023 import yes
from results_numbers import (
    Runs,
    last,
    number,
    over,
    percent,
    row_at,
    seconds,
    setting,
    table,
    to_prediction,
    value_of,
)

from ncrun.records.read import Record


def direct_2023(runs: Runs) -> str:
    rows = []
    both = [record for name in ("imbalanced", "balanced") for record in runs.of(f"dang2023/direct-{name}", "paper")]
    for name, bias in (("imbalanced", False), ("balanced", False), ("balanced", True)):
        for depth in (1, 3, 6):
            fast, slow = (
                runs.of(
                    f"dang2023/direct-{name}",
                    "paper",
                    head__depth=depth,
                    head__bias=bias,
                    optimizer__momentum=momentum,
                )
                for momentum in (0.9, 0.0)
            )
            cells = [over(fast, last(key)) for key in ("gap", "nc1")]
            rows.append(
                [name, yes(bias), str(depth), *cells, over(fast, to_prediction), over(slow, last("gap"), percent)]
            )
    head = ["counts", "bias", "M", "gap, momentum 0.9", "NC1", "largest of NC2, NC3", "gap, momentum 0"]
    words = sorted(
        {record.manifest["verdict"]["word"] for record in both if value_of(record, "optimizer.momentum") == 0}
    )
    return f"""## dang2023/direct-imbalanced and direct-balanced

*Claim*: as for mlp-imbalanced and mlp-balanced. The features are parameters, so the optimum can be reached.

*Runs*: the authors' setting, once with momentum as in their released code, and once without as in the paper: {setting(both)}. The gap is
loss / optimum - 1.

{table(head, rows)}

*It held*, to float64. The verdict on the runs without momentum: {", ".join(words)}.

![direct-imbalanced](dang2023/direct-imbalanced-paper.png)
![direct-balanced](dang2023/direct-balanced-paper.png)

## dang2023/geometry-3d

Three classes in three dimensions, L-BFGS: orthogonal frame, simplex ETF, general orthogonal frame, and the imbalanced case with a
bias. NC2 and NC3 are at most {number(max(to_prediction(record) or 0 for record in runs.of("dang2023/geometry-3d", "paper")))}. The paper has a similar picture; class counts and decays are ours.

![geometry-3d](dang2023/geometry-3d-paper.png)
"""


def phases(runs: Runs) -> str:
    names = ("dang2023/phase", "dang2024/phase", "sukenik2023/phase")
    rows, excess = [], 0.0
    words = ("global optimum", "at the claim", "missing classes", "dead", "local optimum", "not converged")
    for name in names:
        found = runs.of(name, "paper")
        for depth in sorted({value_of(record, "head.depth") for record in found}):
            own = [record for record in found if value_of(record, "head.depth") == depth]
            verdicts = [record.manifest["verdict"] for record in own]
            metastable = sum(is_metastable(record) for record in own)
            kinds = [sum(verdict["word"] == word for verdict in verdicts) for word in words]
            rows.append([name, str(depth), str(len(own)), *map(str, kinds), str(metastable)])
            near = [abs(v["excess"]) for v in verdicts if v["word"] in words[:2]]
            excess = max(excess, *near)
    return f"""## Phase diagrams

These show which classes survive, over imbalance ratio and decay. Each dot is one start of L-BFGS, and no run is omitted. The verdicts:

{table(["experiment", "M", "runs", *words, "metastable"], rows)}

Metastable runs keep a class that the optimum gives up. They lie between the threshold of the optimum and the larger one up to which a local minimum with the class is predicted. Runs with missing classes are
stuck: with two or more layers zero is a local minimum at every decay. Among the runs at the optimum or at the claim, the largest relative distance of a loss from the predicted one is {number(excess)}.

![dang2023/phase](dang2023/phase-paper.png)
![dang2024/phase](dang2024/phase-paper.png)
![sukenik2023/phase](sukenik2023/phase-paper.png)

## dang2023/hysteresis

The decay is swept up and down, and each point starts from the last solution. With one layer the solution returns on the same path. With two and three layers a class survives until its local minimum vanishes,
jumps to zero, and stays there.

![hysteresis](dang2023/hysteresis-paper.png)
"""


def is_metastable(record: Record) -> bool:
    """Whether a class is kept that the optimum gives up."""
    margins, classes = row_at(record)["class.margin"], record.theory["classes"]
    return any(
        margin > 1e-3 and each["collapsed"] and (each.get("decay_to_vanish") or 0) > 1
        for margin, each in zip(margins, classes, strict=True)
    )


def direct_2024(runs: Runs) -> str:
    records = runs.of("dang2024/direct", "paper")
    rows = []
    for record in sorted(
        records, key=lambda each: max(each.manifest["class_counts"]) / min(each.manifest["class_counts"])
    ):
        counts, classes = record.manifest["class_counts"], record.theory["classes"]
        gone = sum(entry["collapsed"] for entry in classes)
        lost = sum(margin < 1e-3 for margin in row_at(record)["class.margin"])
        rows.append([number(max(counts) / min(counts)), str(gone), str(lost), record.manifest["verdict"]["word"]])
    return f"""## dang2024/direct

*Claim* (Dang et al. 2024; cross-entropy, non-negative features): class means are orthogonal, and the norms and angles of the classifier
are functions of the class counts. Classes that are rare enough are lost.

*Runs*: free features, {len(records[0].manifest["class_counts"])} classes: {setting(records)}.

{table(["imbalance ratio", "classes lost as predicted", "as measured", "verdict"], rows)}

*It held*: the gap is at most {number(max(abs(row_at(record)["gap"]) for record in records))}, and NC2 and NC3 are at most {number(max(to_prediction(record) or 0 for record in records))}.

![dang2024/direct](dang2024/direct-paper.png)
![Gram matrices](dang2024/direct-paper-grams.png)
"""


def dufm(runs: Runs) -> str:
    rows = []
    for depth in (3, 6):
        group = runs.of("sukenik2023/dufm", "paper", head__depth=depth)
        total = f"{number(max(map(seconds, group)))} s"
        rows.append([str(depth), over(group, last("gap"), percent), over(group, last(f"head.{depth}.nc1")), total])
    words = sorted({record.manifest["verdict"]["word"] for record in runs.of("sukenik2023/dufm", "paper")})
    widths = (4, 8, 16, 32, 64)
    wide = [
        [
            str(depth),
            *(
                over(
                    runs.of("sukenik2023/dufm-width", "paper", head__depth=depth, model__width=width),
                    last("gap"),
                    percent,
                )
                for width in widths
            ),
        ]
        for depth in (3, 6)
    ]
    all_wide = runs.of("sukenik2023/dufm-width", "paper")
    return f"""## sukenik2023/dufm

*Claim* (Sukenik et al. 2023; two balanced classes, ReLU between the layers): deep neural collapse from layer 2 on.

*Runs*: a reconstruction of the setting (no code was released), all seeds in one program: {setting(runs.of("sukenik2023/dufm", "paper"))}.

{table(["L", "above the optimum", "DNC1 of the last layer", "time for all seeds"], rows)}

*It held as far as the runs went*: every seed approaches the proven optimum, and DNC1 has vanished; the verdict is `{", ".join(words)}`.

![dufm](sukenik2023/dufm-paper.png)

## sukenik2023/dufm-width

*Claim* (the paper's remark on width): wide heads find the optimum; narrow heads may not.

*Runs*: {setting(all_wide)}. Loss above the proven optimum, by width:

{table(["L", *map(str, widths)], wide)}

*It held*: wide heads come within a few per cent of the optimum from every start; narrow heads do not. Verdicts: {", ".join(sorted({record.manifest["verdict"]["word"] for record in all_wide}))}.

![dufm-width](sukenik2023/dufm-width-paper.png)
"""
