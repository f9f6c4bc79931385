"""The section of results/README.md on a convolutional network that is taken to its prediction."""

from pathlib import Path

from results_numbers import Runs, number, percent, setting, table

from ncrun.records.read import find_records

# Records without an experiment, of a run that was stopped: neither in other sections nor in the papers' tables.
ARCHIVE = Path(__file__).resolve().parents[1] / "results" / "resnet18-cifar10.zip"
SHOWN = (0, 60, 180, 300, 340, 400, 500, 700, 900)


def arrival(runs: Runs) -> str:
    (record,) = find_records(ARCHIVE, ("done", "interrupted"))
    config, rows = record.config, [dict(row) for row in record.metrics.to_dict("records")]
    chosen = [next(row for row in rows if row["epoch"] >= epoch) for epoch in SHOWN] + [rows[-1]]
    switch = config["epochs"]
    cells = [
        [
            str(row["epoch"]),
            "Adam" if row["epoch"] <= switch else "L-BFGS",
            f"{row['seconds']:.0f} s",
            number(row["nc1"]),
            number(max(row["nc2_w"], row["nc2_h"], row["nc3"])),
            number(max(row["balanced.nc2_w"], row["balanced.nc2_h"], row["balanced.nc3"])),
            percent(row["gap"]),
            f"{row['test_accuracy']:.3f}",
        ]
        for row in chosen
    ]
    head = [
        "epoch",
        "by",
        "time",
        "NC1",
        "to the prediction",
        "to the balanced one",
        "above the optimum",
        "test accuracy",
    ]
    before, after = next(row for row in rows if row["epoch"] == switch), rows[-1]
    return f"""## A ResNet18 on CIFAR-10, taken to its prediction

*Run*: `freeze_norm={config["freeze_norm"]} finish={config["finish"]}` ([arriving](../docs/arrival.md)) on a GPU ({record.manifest["device"]}) on the first images of each class of
CIFAR-10, {sum(record.manifest["class_counts"]):,} in all: {setting([record])}; non-negative
features, cross-entropy. It was stopped by its time limit, after {int(after["epoch"]) - switch} of {config["finish_iterations"]:,} iterations.

{table(head, cells)}

Adam alone ends {number(max(before["nc2_w"], before["nc2_h"], before["nc3"]))} from the prediction and {percent(before["gap"])} above the optimum. L-BFGS
on the same network, whose BatchNorm has fixed statistics by then, reaches {number(max(after["nc2_w"], after["nc2_h"], after["nc3"]))} and {percent(after["gap"])}. So the optimiser
had kept it away.

![A ResNet18 on CIFAR-10](resnet18-cifar10.png)
"""
