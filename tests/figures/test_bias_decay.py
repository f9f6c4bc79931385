"""The drawing of a decayed bias: measured angles on the predicted curve."""

import numpy as np
import pytest
from figure_runs import Runs, caption_of
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS

pytestmark = pytest.mark.usefixtures("closed")
UFM = ("model=ufm", "counts=[9,9,9]", "model.width=4", "decay.weight=5e-3", "decay.feature=5e-3", "head.bias=true")
DECAYS = (0.01, 0.3, 3.0)


def test_measured_angles_lie_on_the_predicted_curve(runs: Runs) -> None:
    """Settled free features, the simplex' cosine -1/2 at the weakest decay: 1e-6 where they settle, and 2e-3 from a
    curve of straight pieces."""
    records = [record for decay in DECAYS for record in runs.train(*UFM, f"decay.bias={decay}", "measure=30000")]
    figure = DRAWINGS["bias-decay"].draw(records)
    caption_of(figure)
    cosines, distances = figure.axes
    curve, dots = cosines.get_lines()[:2]
    assert list(dots.get_xdata()) == list(DECAYS)
    assert dots.get_ydata()[0] == pytest.approx(-1 / 2, abs=1e-6)
    assert -1 / 2 < dots.get_ydata()[1] < dots.get_ydata()[2] < 0
    read = np.interp(np.log(DECAYS), np.log(curve.get_xdata()), curve.get_ydata())
    assert dots.get_ydata() == pytest.approx(read, abs=2e-3)
    to_prediction, to_undecayed = (line.get_ydata() for line in distances.get_lines())
    assert max(to_prediction) < 1e-6
    assert min(to_undecayed[1:]) > 0.05
    plt.close(figure)


def test_other_runs_are_refused(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"decay\.bias"):
        DRAWINGS["bias-decay"].draw(runs("M1-0"))
