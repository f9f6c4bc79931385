"""Meters across two processes of torch.distributed (gloo), each with its own part of the samples."""

import socket
from pathlib import Path

import torch
from samples import COUNTS, assert_same, fill, head, samples
from torch import distributed, multiprocessing

import ncrun

K = len(COUNTS)


def in_another_process(_: int, port: int, folder: Path) -> None:
    one_rank(1, port, folder)


def one_rank(rank: int, port: int, folder: Path) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        check(rank, folder)
    finally:
        distributed.destroy_process_group()


def check(rank: int, folder: Path) -> None:
    features, labels = samples()
    mine = torch.argsort(labels)[:60] if rank == 0 else torch.argsort(labels)[60:]  # no rank has all classes
    weights, bias = head(2)
    own = fill(ncrun.CollapseMeter(K), features[mine], labels[mine])
    meter = own.reduced()
    second = fill(ncrun.SecondPass(meter.means(), weights, bias), features[mine], labels[mine]).reduced()
    assert own.seen.num_classes == K
    assert float(own.sums.counts.sum()) == len(mine)  # its own samples are still its own
    one, two = meter.compute(weights, bias, nonnegative_features=False), second.compute(nonnegative_features=False)
    torch.save([one.metrics, two.metrics], folder / f"{rank}.pt")
    whole = ncrun.measure(features, labels, weights, bias, nonnegative_features=False)
    assert_same(one, whole)
    assert_same(two, whole)


def test_two_ranks(tmp_path: Path) -> None:
    """Equal to the whole, and to each other in every bit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = multiprocessing.spawn(in_another_process, (port, tmp_path), nprocs=1, join=False)
    one_rank(0, port, tmp_path)
    while not other.join():
        pass
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second
