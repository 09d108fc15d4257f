"""Several processes that train one network together, each on its share of every batch.

`torchrun` starts the processes and tells each its place in environment variables. A process that nobody started so is
alone: then everything here does nothing, and `training.fit` needs no second version of its loop.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

# DistributedDataParallel imports it. If that were after the processes have joined, its defaults would hold their group
# until Python ends, and threads of gloo that are alive then abort it now and then (seen with PyTorch 2.11).
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Result = TypeVar("Result")

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others. One that dies is noticed at once, one that hangs after this time."""


@contextmanager
def joined(timeout: timedelta = TIMEOUT) -> Iterator[None]:
    """Join the processes that `torchrun` started, over NCCL with a GPU for each or over gloo on CPUs.

    Without torchrun's environment, or where the processes are joined already, it does nothing. Delete a model that
    `wrapped` returned before the end: it would keep threads of the backend alive.

    Raises:
        ValueError: if a machine has GPUs, but fewer than processes.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and local >= gpus:
        raise ValueError(
            f"process {local + 1} of this machine has no GPU, there are {gpus}; say --nproc-per-node={gpus}"
        )
    device = torch.device("cuda", local) if gpus else None
    if device:
        torch.cuda.set_device(device)  # what "cuda" means in this process
    dist.init_process_group("nccl" if gpus else "gloo", timeout=timeout, device_id=device)
    yield
    dist.destroy_process_group()  # not after an error: the others may be stuck, and it would wait for them


def place() -> tuple[int, int]:
    """(rank, processes): which process this is, from 0, and how many train together; (0, 1) for one alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wrapped(model: nn.Module) -> nn.Module:
    """The model, which from now on averages its gradients over the processes and has the weights of the first."""
    if place()[1] == 1:
        return model
    # It also copies the running statistics of batch normalisation from the first process before each forward pass.
    return DistributedDataParallel(model)


def summed(values: Tensor) -> Tensor:
    """The sum of all processes' values, in every process; written into `values`, which is returned."""
    if place()[1] > 1:
        dist.all_reduce(values)
    return values


def by_first(action: Callable[[], Result]) -> Result:
    """What `action` returns in the first process, in every process; the others wait for it and do nothing."""
    rank, processes = place()
    if processes == 1:
        return action()
    result = [action() if rank == 0 else None]
    dist.broadcast_object_list(result)
    return result[0]


def first_of_machine_first(action: Callable[[], Result]) -> Result:
    """What `action` returns. One process of each machine goes first, the others after it: a download is made once."""
    if place()[1] == 1:
        return action()
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    result = action() if first else None
    dist.barrier()
    return result if first else action()


def gathered(value: object) -> list:
    """The values of all processes, in every process."""
    values = [value] * place()[1]
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values
