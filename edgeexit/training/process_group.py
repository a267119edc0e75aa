"""The processes that train one network together: one, unless `torchrun` started several.

edgeexit train ...                                        one process: the GPU if there is one, else the CPU
torchrun --nproc-per-node 4 -m edgeexit train ...         four processes, a GPU each, gradients averaged by DistributedDataParallel
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous


@dataclass(frozen=True)
class ProcessGroup:
    """A place among the processes that train together.

    Attributes:
        device: device of this process.
        rank: number of this process from 0; 0 writes the files.
        size: number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def select_share(self, batch: Tensor) -> Tensor:
        """The part of a batch's indices that is for this process. All parts are of one length, so that the average of means is the mean."""
        return batch[: len(batch) // self.size * self.size][self.rank :: self.size]

    def wrap_model(self, module: nn.Module) -> nn.Module:
        """The module, with gradients averaged over the processes where there are several."""
        return module if self.size == 1 else nn.parallel.DistributedDataParallel(module)

    def sum_over_processes(self, value: Tensor) -> Tensor:
        """The sum of `value` over the processes."""
        if self.size > 1:
            value = value.to(self.device)
            distributed.all_reduce(value)
        return value.cpu()

    def share_from_main(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value that the process which leads has, in every process."""
        held = [value]
        if self.size > 1:
            distributed.broadcast_object_list(held, device=self.device)
        return held[0]

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """The group that `torchrun` describes in the environment, or this process alone.

    The wrapped modules end before the group does, those in the frames of an exception, too. What averages gradients must not hold the last
    reference to the group: it would drop it with the GIL held and wait for gloo's threads, one of which may be waiting for the GIL (seen in
    torch 2.13, on leaving right after a step).
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = _choose_device(int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1 or distributed.is_initialized():
        yield ProcessGroup(device, rank, size)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=_open_store(), rank=rank, world_size=size)
    held = distributed.group.WORLD
    try:
        yield ProcessGroup(device, rank, size)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        gc.collect()
        distributed.destroy_process_group()
        del held


def _open_store() -> Any:
    """A place of its own, for each group, in the store through which processes find each other.

    `torchrun` keeps one store for as long as its processes live, and torch numbers groups from 0 again when the last one is left. The
    second training in the same processes would find the addresses of the first, and wait for sockets that are closed.
    """
    store, rank, _ = next(rendezvous("env://"))
    joined = store.add(f"edgeexit/joined by {rank}", 1)
    return distributed.PrefixStore(f"edgeexit/{joined}", store)  # type: ignore[attr-defined]  # torch exports it, untyped


def _choose_device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
