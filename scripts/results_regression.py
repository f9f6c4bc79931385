"""The section of results/README.md on targets of numbers."""

from results_numbers import Runs, last, over, percent, setting, table, to_prediction, value_of

HEAD = (
    "data set",
    "layers",
    "NRC1",
    "NRC2",
    "NRC3",
    "to the prediction",
    "its features alone",
    "above the optimum",
    "R² in training",
    "R² on the test split",
)


def regression(runs: Runs) -> str:
    found = runs.of("beyond/regression", "cpu")
    rows = []
    for data in dict.fromkeys(value_of(record, "dataset.name") for record in found):
        for depth in (1, 2):
            group = runs.of("beyond/regression", "cpu", dataset__name=data, head__depth=depth)
            measured = [over(group, last(key)) for key in ("nrc1", "nrc2", "nrc3")]
            fit = [over(group, last(key), percent) for key in ("gap", "r2", "test.r2")]
            near = [over(group, to_prediction), over(group, last("nc2_h"))]
            rows.append([str(data), str(depth), *measured, *near, *fit])
    return f"""## beyond/regression

*Claim* (proven; [docs/regression.md](../docs/regression.md)): with the squared loss on any targets, features and classifier lie along the principal directions of the targets.

*Runs*: {setting(found)}.

{table(HEAD, rows)}

*It held*: loss, W Wᵀ, features and outputs reach the prediction for one layer and for two. NRC3 compares with the optimum of one layer, so it does not vanish for two. NRC1 and NRC2 divide the features of every
sample by their norm, so the remaining noise counts most where a target is near the mean. At these decays the optimum fits the training targets almost exactly, and so do the networks. This says little about test
samples, and nothing about the four men in linnerud's test split.

![beyond/regression](beyond/regression-cpu.png)
"""
