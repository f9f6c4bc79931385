"""One run: everything that training, recording and predicting need to know of it, decided.

Frozen, and nothing in it is None for "as usual": rules have filled everything in (ncrun.config). A room below takes the
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
    """Decay is a term of the objective, never the optimiser's.

    name: what users type as optimizer=.
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
    """Stochastic gradient descent; of full batches, gradient descent.

    lr: the learning rate at the start.
    momentum: of the steps before; 0 is the plain descent.
    """

    name: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """For free features: runs until the gradient is gone. scipy's L-BFGS-B, which keeps features of ufm_relu within
    their bound.

    tolerance: on each entry of the gradient, in units in which every decay is 1.
    history: twice as many take fewer iterations, of more than twice the time.
    kicks: at rest, so many small random kicks that lead no lower before it counts as settled: they free it from
    saddles.
    """

    name: str = "lbfgs"
    tolerance: float = 1e-9
    history: int = 10
    kicks: int = 3


OPTIMIZERS: dict[str, Optimizer] = {each.name: each for each in (Adam(), SGD(), LBFGS())}


@dataclass(frozen=True)
class Descent:
    """How the objective is descended.

    epochs: of free features, iterations. batch_size: samples of a step; the whole training set where is_full_batch.
    drops: fractions of the training after which the learning rate is multiplied by gamma; drop_every: epochs after
    each of which it is instead, 0 for never. norms_fixed_after: epochs after which BatchNorm's statistics are fixed, 0
    for never. finish: iterations of L-BFGS after the epochs, at most; 0 for none. path: factors on all decays, settled
    at one after the other; () for none.
    measure: auto, every, log, or a number of epochs. snapshots: how many about are kept, 0 for none. dtype: of the
    parameters. precision: of a network's products.
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
        """With those of the finish, which may end before."""
        return self.epochs + self.finish


@dataclass(frozen=True)
class Machine:
    """What decides where and how fast, and no more than the last bits. device: auto, cpu or cuda. threads: a number, or
    auto. progress: whether a live display is shown: True, False, or auto for in a terminal. stream: whether images are
    read as they are needed, or auto for where they do not fit; stream_cache: gigabytes of them that are kept;
    stream_workers: processes that read; both a number, or auto."""

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
    """frozen_head: the run directory whose trained head is taken over; taps: layers of the backbone that are measured;
    loggers: who follows the run beside its record.

    directory: where the records go. identity: a hash of all that decides the run's numbers. config: every key with its
    value, as config.yaml holds them. about: what the manifest says of where the run comes from (experiment, scale,
    words of captions).
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
    """What one command line trains: a run, or with restarts several that differ in their seed.

    directory, identity, config: of the whole; of a single run they are its own. at_once: of a sweep, how many jobs are
    trained side by side (0: one for each core); together: a whole sweep in as few programs as its shapes allow;
    dry_run: nothing is trained, only said what would be.
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
        """Whether the directory holds several runs and a summary of them."""
        return self.runs[0].directory != self.directory
