"""The frozen head: a run takes it from a finished run of free features and does not train it."""

from dataclasses import dataclass
from pathlib import Path

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records.files import DamagedFile, seal_of
from ncrun.records.read import load_record


@dataclass(frozen=True)
class FrozenHead:
    """problem, width (head.width): of the run that trained the head. digest: of the trained weights, so that another
    head makes another run."""

    directory: Path
    problem: Problem
    width: int | None
    digest: str

    @property
    def is_relu(self) -> bool:
        return self.problem.head == "relu"


def read_frozen_head(typed: str) -> FrozenHead:
    """Raises UserError if the directory holds no finished run of free features."""
    directory = Path(typed)
    if not (directory / "manifest.json").is_file():
        several = (directory / "summary.json").is_file()
        hint = "it holds several restarts; name one of them" if several else "train one: experiment=sukenik2023/head"
        raise UserError(f"head.frozen={directory}: is not a run directory; {hint}")
    record = load_record(directory)
    if record.manifest["state"] != "done":
        raise UserError(f"head.frozen={directory}: that run is not finished ({record.manifest['state']})")
    if record.config["dataset"] is not None:
        name = record.config["model"]["name"]
        raise UserError(f"head.frozen={directory}: must be a run of model=dufm or ufm, not {name}")
    digest = record.manifest.get("head_digest")
    if digest is None:  # old runs have no digest of the head, so that of the checkpoint is used
        try:
            digest = seal_of(directory / "checkpoint.pt")
        except (DamagedFile, OSError) as error:
            raise UserError(f"head.frozen={directory}: its checkpoint.pt cannot be used ({error})") from error
    return FrozenHead(directory, record.problem, record.config["head"]["width"], str(digest))


def check_fits(head: FrozenHead, depth: int, relu: bool, bias: bool, num_classes: int, widths: tuple[int, ...]) -> None:
    """Checks that the frozen head fits the features, the classes and the given keys of the head."""
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
            raise UserError(
                f"head.frozen={head.directory}: does not fit: {key} {here} in this run, {there} in that one"
            )
