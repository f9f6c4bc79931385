"""The section of results/README.md on what everybody trains: features after a ReLU and one layer with a bias."""

from collections import Counter
from collections.abc import Sequence

from results_numbers import (
    Runs,
    last,
    number,
    over,
    percent,
    setting,
    span,
    table,
    to_balanced,
    to_prediction,
    value_of,
)

from ncrun.figures.sharing import phase_of
from ncrun.figures.with_bias import to_bias_free
from ncrun.records.read import Record
from ncrun.records.summary import distance

NETWORKS = (
    ("standard-network", "cpu"),
    ("standard-network", "real"),
    ("standard-convolutional", "cpu"),
    ("standard-convolutional", "real"),
)
HEAD = (
    "experiment",
    "loss",
    "NC1",
    "to the prediction",
    "to the one without a bias",
    "to the balanced one",
    "above the optimum",
    "test accuracy",
)


def standard(runs: Runs) -> str:
    groups: list[tuple[str, list[Record]]] = []
    for name, scale in NETWORKS:
        found = runs.of(f"beyond/{name}", scale)
        for data, loss in sorted({(value_of(r, "dataset.name"), value_of(r, "loss")) for r in found}):
            own = [r for r in found if (value_of(r, "dataset.name"), value_of(r, "loss")) == (data, loss)]
            groups.append((f"{name}, {scale}: {data}", own))
    rows = [
        [
            name,
            str(value_of(group[0], "loss")),
            over(group, last("nc1")),
            over(group, to_prediction),
            over(group, largest_to_bias_free),
            over(group, to_balanced),
            over(group, last("gap"), percent),
            over(group, last("test_accuracy")),
        ]
        for name, group in groups
    ]
    settings = "\n".join(f"- {name}, {scale}: {setting(runs.of(f'beyond/{name}', scale))}" for name, scale in NETWORKS)
    mlps = [group for name, group in groups if name.startswith("standard-network")]
    narrow = [record for scale in ("cpu", "real") for record in runs.of("beyond/standard-convolutional", scale)]
    times_nearer = [(largest_to_bias_free(r) or 0) / (to_prediction(r) or 1) for group in mlps for r in group]
    return f"""## beyond/standard-network, standard-convolutional, sharing-phase

*Claim* (certified; [proofs](../docs/proofs.md)): features after a ReLU, one linear layer with a bias, either loss, any counts. Class means are
orthogonal as long as the counts do not differ much. Beyond an imbalance that hardly depends on the decay, rare classes share directions. Without a bias they never do.

*Runs* (five frequent classes, and five with a tenth of the samples; for the convolutional network two and two):

{settings}

{table(HEAD, rows)}

*It held*: each MLP ends {over([r for group in mlps for r in group], to_prediction)} from the prediction, {span(times_nearer)} times nearer than to the one without a bias. The narrow ResNet18 ends
{over(narrow, to_prediction)} from the prediction and {over(narrow, last("gap"), percent)} above the optimum.

![beyond/standard-network at scale real](beyond/standard-network-real.png)
![Gram matrices](beyond/standard-network-real-grams.png)
![beyond/standard-network at scale cpu](beyond/standard-network-cpu.png)
![beyond/standard-convolutional at scale cpu](beyond/standard-convolutional-cpu.png)
![beyond/standard-convolutional at scale real](beyond/standard-convolutional-real.png)

{phases(runs.of("beyond/sharing-phase", "paper"))}

![beyond/sharing-phase](beyond/sharing-phase-paper.png)
"""


def phases(records: Sequence[Record]) -> str:
    found = Counter(phase_of(record) for record in records)
    verdicts = Counter(record.manifest["verdict"]["word"] for record in records)
    excess = max(abs(record.manifest["verdict"]["excess"]) for record in records)
    words = ", ".join(f"{count} {word}" for word, count in found.most_common())
    judged = ", ".join(f"{count} {word}" for word, count in verdicts.most_common())
    return (
        f"The phases of four classes in {len(records)} runs of free features, one start of L-BFGS each: {words}. Verdicts:"
        f" {judged}; the largest relative distance of a loss from the certified one is {number(excess)}."
    )


def largest_to_bias_free(record: Record) -> float | None:
    return distance(to_bias_free(record))
