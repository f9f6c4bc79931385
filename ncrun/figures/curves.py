"""curves.png of one run: loss and accuracy, and the collapse metrics against its prediction.

python -m ncrun.figures.curves RUN_DIRECTORY
"""

import sys
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncrun.figures import panels
from ncrun.records.read import Record, load_record


def run_curves(record: Record) -> Figure:
    """Four panels over epochs: loss with the optimum as a line, errors, NC1, and distances to prediction and
    baseline."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.0), layout="constrained")
    frame = record.metrics[record.metrics["epoch"] > 0]

    def lines(ax: Axes, keys: dict[str, str], title: str) -> None:
        for key, label in keys.items():
            if key not in frame or frame[key].isna().all():
                continue
            style = {"color": "C0", **panels.BASELINE} if key.startswith("balanced") else {}
            panels.line(ax, frame["epoch"], frame[key], label=label, **style)
        ax.set(xscale="log", yscale="log", xlabel="epoch", title=title)
        if ax.get_legend_handles_labels()[0]:
            ax.legend()

    lines(axes[0], {"loss": "measured"}, "loss")
    optimum = record.theory["objective"]
    if optimum is not None:
        axes[0].axhline(optimum, label="optimum, " + record.theory["claim"], **panels.PREDICTION)
        axes[0].legend()
    errors = frame.assign(train_error=1 - frame["train_accuracy"], test_error=1 - frame["test_accuracy"])
    for key, label in (("train_error", "train"), ("test_error", "test")):
        axes[1].plot(errors["epoch"], errors[key], label=label)
    axes[1].set(xscale="log", xlabel="epoch", title="classification error", ylim=(0, None))
    axes[1].legend()
    lines(axes[2], {"nc1": "train", "test.nc1": "test"}, "NC1: within-class spread")
    distances = {
        "nc2_w": "NC2 classifier",
        "nc2_h": "NC2 means",
        "nc3": "NC3",
        "balanced.nc2_w": "NC2 classifier to balanced",
    }
    if record.theory["claim"] == "none":
        distances = {"etf_w": "classifier", "etf_h": "means"}
    title = "distance to a simplex ETF" if record.theory["claim"] == "none" else "distance to the prediction"
    lines(axes[3], distances, title)
    panels.caption(figure, panels.setting_words(record))
    return figure


if __name__ == "__main__":
    panels.use_style()
    directory = Path(sys.argv[1])
    run_curves(load_record(directory)).savefig(directory / "curves.png")
