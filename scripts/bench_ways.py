"""Ways to the optimum compared, at about the same number of gradients: schedules, betas, averaged weights, momentum,
L-BFGS.

    python scripts/bench_ways.py [--experiment NAME] [--seeds N] [--gradients N] [--out FILE]

The network, data and objective of experiments at scale cpu (default: two MLPs on digits), trained with full batches.
Each way starts at the same weights. Prints the rows, and writes the tables (default: results/bench/ways.md).
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_timing import machine
from results_numbers import percent, span, table
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR
from torch.optim.swa_utils import AveragedModel

from ncrun import cli
from ncrun.config.planning import job_of
from ncrun.data.tensors import RunData, load
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.records.read import find_records
from ncrun.records.summary import distance
from ncrun.run import Adam, Run
from ncrun.theory import predict
from ncrun.training.evaluate import Evaluator
from ncrun.training.program import network_of

OUT = Path(__file__).parents[1] / "results" / "bench" / "ways.md"
EXPERIMENTS = ("dang2024/mlp", "dang2023/mlp-imbalanced")
INTRODUCTION = """# Ways to the optimum

Written by `scripts/bench_ways.py`: the network, data and objective of an experiment at scale cpu on digits, with full
batches and {gradients} gradients (an iteration of L-BFGS takes 1 to 1.2). Each way starts at the same weights. Distance
to the prediction: the largest of NC2 of classifier and means, and NC3. Ranges are over {seeds} seeds.
"""
# Of the averaged weights: from this share of the gradients on.
AVERAGED = 0.5
Row = dict[str, object]
Scheduled = Callable[[torch.optim.Optimizer, int], LRScheduler]


@dataclass(frozen=True)
class Way:
    """An optimiser and its schedule. rate: default: the recipe's. averages: whether the mean of the later weights is
    measured in place of the last ones."""

    words: str
    optimiser: Callable[[list[torch.nn.Parameter], float], torch.optim.Optimizer]
    schedule: Scheduled
    rate: float | None = None
    averages: bool = False


def adam(*betas: float) -> Callable[[list[torch.nn.Parameter], float], torch.optim.Optimizer]:
    return lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, betas=betas)  # type: ignore[arg-type]


def momentum(parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def drops(optimiser: torch.optim.Optimizer, gradients: int) -> LRScheduler:
    """As ncrun's default: after 60 and 85 %."""
    return MultiStepLR(optimiser, [int(0.6 * gradients), int(0.85 * gradients)])


def cosine(optimiser: torch.optim.Optimizer, gradients: int) -> LRScheduler:
    return CosineAnnealingLR(optimiser, gradients)


def constant(optimiser: torch.optim.Optimizer, gradients: int) -> LRScheduler:
    return LambdaLR(optimiser, lambda step: 1.0)


USUAL, SHORT = adam(0.9, 0.999), adam(0.9, 0.95)
WAYS = (
    Way("Adam, betas 0.9 and 0.999, rate drops twice", USUAL, drops),
    Way("Adam, betas 0.9 and 0.95, rate drops twice", SHORT, drops),
    Way("Adam, betas 0.9 and 0.95, cosine", SHORT, cosine),
    Way("Adam, betas 0.9 and 0.95, constant rate", SHORT, constant),
    Way("the same, mean of the weights of the second half", SHORT, constant, averages=True),
    Way("gradient descent with momentum 0.9, rate 0.1, drops twice", momentum, drops, rate=0.1),
    Way("the same, constant rate, mean of the weights of the second half", momentum, constant, rate=0.1, averages=True),
)


class Task:
    """One run's network, data and prediction."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.data: RunData = load(run.data, torch.device("cpu"), torch.float32)
        self.objective = Objective.of(run.problem)
        self.evaluator = Evaluator(self.data, self.objective, predict(run.problem))

    def descended(self, way: Way, gradients: int) -> Row:
        """The last row of metrics after so many full-batch gradients."""
        network = network_of(self.run)
        assert isinstance(network, Network)
        assert isinstance(self.run.descent.optimizer, Adam)
        optimiser = way.optimiser(list(network.parameters()), way.rate or self.run.descent.optimizer.lr)
        schedule, mean = way.schedule(optimiser, gradients), AveragedModel(network)
        network.train()
        for step in range(gradients):
            optimiser.zero_grad()
            self.loss(network).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if step >= AVERAGED * gradients:
                mean.update_parameters(network)
        last = mean.module if way.averages else network
        assert isinstance(last, Network)
        return self.evaluator(last.eval())

    def loss(self, network: Network) -> torch.Tensor:
        features, logits = network(self.data.train_images)
        head, labels = network.head, self.data.train_labels
        return self.objective.on_batch(logits, labels, features, head.weights, head.bias, network.parameters())


def finished(typed: Sequence[str], gradients: int) -> Row:
    """The last row of ncrun's own run with the finish, whose epochs and iterations take as many gradients."""
    (run,) = job_of(typed).runs
    iterations = gradients - run.descent.epochs
    with tempfile.TemporaryDirectory() as folder:
        told = [f"finish_iterations={iterations}", "threads=1", "progress=false", f"run_dir={folder}/run"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.run(["train", *typed, *told]) == 0
        (record,) = find_records(Path(folder))
        return {str(key): value for key, value in record.metrics.iloc[-1].items()}


def cells(rows: Sequence[Row]) -> list[str]:
    return [span([distance(row) for row in rows]), span([float(str(row["gap"])) for row in rows], percent)]


def compared(experiment: str, seeds: Sequence[int], gradients: int) -> str:
    """A table, a row for each way."""
    typed = [[f"experiment={experiment}", "scale=cpu", "dataset=digits", f"seed={seed}"] for seed in seeds]
    tasks = [Task(job_of(each).runs[0]) for each in typed]
    rows = []
    for way in WAYS:
        rows.append([way.words, *cells([task.descended(way, gradients) for task in tasks])])
        print(rows[-1], flush=True)
    epochs = tasks[0].run.descent.epochs
    words = f"{epochs} epochs of the recipe's Adam, then {gradients - epochs} iterations of L-BFGS"
    rows.append([words, *cells([finished(each, gradients) for each in typed])])
    print(rows[-1], flush=True)
    return table(["way", "to the prediction", "above the optimum"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Ways to the optimum, compared at about the same number of gradients")
    parser.add_argument("--experiment", action="append", help=f"at scale cpu ({', '.join(EXPERIMENTS)})")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gradients", type=int, default=1500, help="full-batch gradients of each way")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = [INTRODUCTION.format(seeds=options.seeds, gradients=options.gradients)]
    for experiment in options.experiment or EXPERIMENTS:
        parts.append(f"## {experiment}\n\n{compared(experiment, range(options.seeds), options.gradients)}\n")
    parts.append("; ".join(f"{key}: {value}" for key, value in machine().items()) + "\n")
    options.out.write_text("\n".join(parts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
