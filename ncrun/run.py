"""One run, with all decisions that training, recording and predicting need.

It is frozen, and None never means a default: the rules of ncrun.config have filled everything in. A room below gets the
part that it needs: a Problem, a DataRequest, a ModelSpec, an identity.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ncrun.data.request import DataRequest, FreeSamples, FreeTargets
from ncrun.models.spec import ModelSpec
from ncrun.problem import Problem


@dataclass(frozen=True)
class Optimizer:
    """An optimiser. Decay is a term of the objective, never the optimiser's.

    name: the value of optimizer=.
    """

    name: str = ""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    lr: the learning rate at the start.
    betas: decay rates of its two moments.
    """

    name: str = "adam"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent; with full batches, gradient descent.

    lr: the learning rate at the start.
    momentum: weight of the earlier steps; 0: no momentum.
    """

    name: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """For free features: runs until the gradient vanishes. scipy's L-BFGS-B, which keeps features of ufm_relu within
    their bound.

    tolerance: for each entry of the gradient, in units in which every decay is 1.
    history: number of stored steps; twice as many need fewer iterations, but each takes more than twice the time.
    kicks: number of small random perturbations at a stationary point that must not lead lower before the run ends; they
    free it from saddles.
    """

    name: str = "lbfgs"
    tolerance: float = 1e-9
    history: int = 10
    kicks: int = 3


OPTIMIZERS: dict[str, Optimizer] = {each.name: each for each in (Adam(), SGD(), LBFGS())}


@dataclass(frozen=True)
class Descent:
    """How the objective is minimised.

    epochs: for free features, iterations. batch_size: samples of a step; the whole training set if is_full_batch.
    drops: shares of the training after which the learning rate is multiplied by gamma; drop_every: number of epochs
    after which it is multiplied instead, 0 for never. norms_fixed_after: epochs after which BatchNorm's statistics are
    fixed, 0 for never. finish: most iterations of L-BFGS after the epochs; 0 for none. path: factors on all decays,
    minimised at one after the other; () for none.
    measure: auto, every, log, or a number of epochs. snapshots: about how many are stored, 0 for none. dtype: of the
    parameters. precision: of a network's matrix products.
    """

    optimizer: Optimizer
    epochs: int
    batch_size: int
    is_full_batch: bool
    seed: int
    drops: tuple[float, ...]
    drop_every: int
    gamma: float
    norms_fixed_after: int
    finish: int
    path: tuple[float, ...]
    measure: str | int
    snapshots: int
    dtype: str
    precision: str

    @property
    def most_epochs(self) -> int:
        """Including the iterations of the finish, which may end earlier."""
        return self.epochs + self.finish


@dataclass(frozen=True)
class Machine:
    """Where and how fast a run is trained; this changes at most the last bits of its numbers. device: auto, cpu or
    cuda. threads: a number, or auto. progress: whether a live display is shown: True, False, or auto (in a terminal).
    stream: whether images are read when they are needed, or auto (if they do not fit); stream_cache: gigabytes of
    images to keep; stream_workers: reading processes; both a number, or auto."""

    device: str
    threads: int | Literal["auto"]
    compile: bool
    cuda_graphs: bool
    progress: bool | Literal["auto"]
    stream: bool | Literal["auto"]
    stream_cache: float | Literal["auto"]
    stream_workers: int | Literal["auto"]


@dataclass(frozen=True)
class Run:
    """frozen_head: the run directory whose trained head is used; taps: layers of the backbone that are measured;
    loggers: keys of the run's loggers.

    directory: of the record. identity: a hash of everything that decides the run's numbers. config: every key with its
    value, as config.yaml holds them. about: the manifest's entries about the run's origin (experiment, scale, words of
    captions).
    """

    problem: Problem
    data: DataRequest | FreeSamples | FreeTargets
    model: ModelSpec
    descent: Descent
    machine: Machine
    taps: tuple[str, ...]
    loggers: tuple[str, ...]
    frozen_head: Path | None
    directory: Path
    identity: str
    config: dict[str, Any]
    about: dict[str, Any]

    @property
    def is_free(self) -> bool:
        """Whether the features are parameters themselves: no inputs, no backbone."""
        return self.model.is_free


@dataclass(frozen=True)
class Job:
    """The work of one command line: a run, or with restarts several runs that differ in their seed.

    directory, identity, config: of the job; for a single run they are its own. at_once: in a sweep, the number of jobs
    trained at once (0: one for each core); together: a whole sweep in as few programs as its shapes allow; dry_run:
    only print what would be trained.
    """

    runs: tuple[Run, ...]
    directory: Path
    identity: str
    config: dict[str, Any]
    at_once: int
    together: bool
    dry_run: bool

    @property
    def is_group(self) -> bool:
        """Whether the directory holds several runs and their summary."""
        return self.runs[0].directory != self.directory
