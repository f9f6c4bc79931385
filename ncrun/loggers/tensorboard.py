"""TensorBoard: event files in the folder tensorboard/ of the run.

They are written again from the record whenever a process continues the run, so they hold what the record holds.
"""

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from ncrun.loggers.logger import Logged, Outcome, Row, Session

FOLDER = "tensorboard"
EVENTS = "events.out.tfevents.*"


class TensorBoard(Session):
    """A tag for each column, its prediction under predicted/, and both on one chart."""

    def __init__(self, run: Logged) -> None:
        folder = run.path / FOLDER
        for file in folder.glob(EVENTS):
            file.unlink()
        self._run = run
        self._writer = SummaryWriter(str(folder))
        text = yaml.safe_dump(dict(run.config), sort_keys=False)
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
        charts = {key: ["Multiline", [f"^{key}$", f"^predicted/{key}$"]] for key in run.predicted}
        if charts:
            self._writer.add_custom_scalars({"measured and predicted": charts})

    def row(self, row: Row) -> None:
        for key, value in self._run.scalars(row).items():
            self._writer.add_scalar(key, value, row["epoch"])
        self._writer.flush()

    def end(self, outcome: Outcome) -> None:
        epoch = outcome.row.get("epoch", 0)
        header, lines = self._run.class_table(outcome.row)
        table = [header, ["---"] * len(header), *lines]
        self._writer.add_text("classes", "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in table), epoch)
        facts = [("summary", outcome.words), *outcome.facts.items()]
        self._writer.add_text("outcome", "\n".join(f"- {key}: {value}" for key, value in facts), epoch)
        if outcome.picture is not None:
            with Image.open(outcome.picture) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image("curves", pixels, epoch, dataformats="HWC")
        self._writer.close()


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else "" if value is None else str(value)


def open_session(run: Logged) -> TensorBoard:
    return TensorBoard(run)
