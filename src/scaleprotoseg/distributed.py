"""Several processes that work on one task: starting them, splitting the work, and combining the results.

A process knows its position from the environment variables that ``torchrun`` sets (RANK, LOCAL_RANK, WORLD_SIZE,
MASTER_ADDR, MASTER_PORT); :func:`in_processes` sets the same ones. With one process, all functions that communicate do
nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, spawn

from scaleprotoseg.errors import UserError

_T = TypeVar("_T")


def was_started() -> bool:
    """Return True if this process was started as one of several, by :func:`in_processes` or by ``torchrun``."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()


@contextmanager
def process_group() -> Iterator[None]:
    """Connect this process to the others for the duration of a block, if it was started as one of several."""
    if not was_started() or os.environ["WORLD_SIZE"] == "1" or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    yield
    # Skipped after an error: the other processes may never get here, and the launcher stops them.
    dist.barrier()
    dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Return True for the main process, which writes files and prints messages."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes have called this function."""
    if dist.is_initialized():
        dist.barrier()


def shard(count: int) -> range:
    """Return the indices of this process's shard of ``count`` items.

    A shard is consecutive; the shards of all processes, in order, are all items in order.

    >>> shard(5)  # with one process
    range(0, 5)
    """
    return range(count * rank() // world_size(), count * (rank() + 1) // world_size())


def gather(value: _T) -> list[_T]:
    """Return the values of all processes by rank, on every process. Tensors should be on the CPU."""
    if not dist.is_initialized():
        return [value]
    values: list[_T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # all are filled


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Copy the values of the main process's tensors to all processes, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def average(value: Tensor) -> Tensor:
    """Return the mean of a floating-point tensor over all processes; no gradient flows through it."""
    if not dist.is_initialized():
        return value
    total = value.detach().double()
    dist.all_reduce(total)
    return (total / world_size()).to(value.dtype)


def fastest_device() -> torch.device:
    """Return the accelerator that PyTorch finds (CUDA, MPS, ...), else the CPU.

    Without CUDA, several processes share the CPU.
    """
    if world_size() > 1 and not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def in_processes(work: Callable[[Sequence[str]], None], arguments: Sequence[str], devices: int, nodes: int) -> None:
    """Run ``work(arguments)`` in one process per device of this machine, and return when all processes have ended.

    With several machines, the same command is started on each of them, with MASTER_ADDR, MASTER_PORT and NODE_RANK set.

    Args:
        work: A function that can be imported by its name.
        arguments: Arguments of the function.
        devices: Number of processes on this machine.
        nodes: Number of machines.

    Raises:
        UserError: The error of the first process that fails; or if there are fewer GPUs than asked for, or the
            variables for several machines are missing.
    """
    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise UserError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs; ask for no more")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if nodes > 1 and missing:
        raise UserError(f"--num_nodes {nodes}: set {', '.join(missing)} on every machine, or start with torchrun")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    if nodes > 1:
        address |= {name: os.environ[name] for name in address}
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        spawn(_work, (work, list(arguments), devices, nodes, address, errors), nprocs=devices)  # type: ignore[no-untyped-call]
    except ProcessException as error:
        if not errors.empty():
            raise UserError(errors.get()) from error
        if not isinstance(error, ProcessExitedException):
            raise
        if error.signal_name is None:
            raise SystemExit(error.exit_code) from error
        raise UserError(
            f"process {error.error_index} was ended by {error.signal_name}; if memory ran out, use fewer devices or "
            "smaller crops"
        ) from error


def _work(
    local_rank: int,
    work: Callable[[Sequence[str]], None],
    arguments: list[str],
    devices: int,
    nodes: int,
    address: dict[str, str],
    errors: SimpleQueue[str],
) -> None:
    """Run the work as one of the processes; a user error is passed on through the queue."""
    position = {
        "LOCAL_RANK": local_rank,
        "RANK": int(address["NODE_RANK"]) * devices + local_rank,
        "WORLD_SIZE": devices * nodes,
        "LOCAL_WORLD_SIZE": devices,
    }
    os.environ |= address | {name: str(value) for name, value in position.items()}
    try:
        work(arguments)
    except UserError as error:
        errors.put(str(error))
        raise SystemExit(1) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
