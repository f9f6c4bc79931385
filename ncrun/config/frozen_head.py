"""The head that a run takes over from a finished run of free features, and trains no further."""

from dataclasses import dataclass
from pathlib import Path

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records.files import DamagedFile, seal_of
from ncrun.records.read import load_record


@dataclass(frozen=True)
class FrozenHead:
    """problem: that of the run it was trained in. width: head.width there. digest: of the trained weights, by which
    another head makes another run."""

    directory: Path
    problem: Problem
    width: int | None
    digest: str

    @property
    def is_relu(self) -> bool:
        return self.problem.head == "relu"


def read_frozen_head(typed: str) -> FrozenHead:
    """Raises UserError if there is no finished run of free features in that directory."""
    directory = Path(typed)
    if not (directory / "manifest.json").is_file():
        several = (directory / "summary.json").is_file()
        hint = "it holds several restarts, name one of them" if several else "train one: experiment=sukenik2023/head"
        raise UserError(f"head.frozen={directory}: is not a run directory; {hint}")
    record = load_record(directory)
    if record.manifest["state"] != "done":
        raise UserError(f"head.frozen={directory}: that run is not finished ({record.manifest['state']})")
    if record.config["dataset"] is not None:
        name = record.config["model"]["name"]
        raise UserError(f"head.frozen={directory}: must be a run of model=dufm or ufm, not {name}")
    digest = record.manifest.get("head_digest")
    if digest is None:  # of a run from before heads had one: its whole checkpoint stands for it
        try:
            digest = seal_of(directory / "checkpoint.pt")
        except (DamagedFile, OSError) as error:
            raise UserError(f"head.frozen={directory}: no usable checkpoint.pt there ({error})") from error
    return FrozenHead(directory, record.problem, record.config["head"]["width"], str(digest))


def check_fits(head: FrozenHead, depth: int, relu: bool, bias: bool, num_classes: int, widths: tuple[int, ...]) -> None:
    """The head that is taken over has to fit the features, the classes, and what is typed of it."""
    trained = head.problem
    for key, here, there in (
        ("head.depth", depth, trained.depth),
        ("head.relu", relu, head.is_relu),
        ("head.bias", bias, trained.bias),
        ("classes", num_classes, trained.num_classes),
        ("features of dimension", widths[0], trained.widths[0]),
        ("head.width", widths[1:], trained.widths[1:]),
    ):
        if here != there:
            raise UserError(f"head.frozen={head.directory}: does not fit: {key} {here} here, {there} there")
