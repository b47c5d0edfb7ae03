"""Several processes as one, by torch.distributed: gloo between CPUs, NCCL between GPUs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nerfkit.ranks import Launch, LostRankError, Ranks, launched
from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

__all__ = ["ProcessGroup", "is_first_to_ask", "join_group"]

# a process that reads many photos, or writes a report, keeps the others waiting
PATIENCE = timedelta(minutes=30)


class ProcessGroup(Ranks):
    """This process among those of a run.

    Parameters
    ----------
    launch : Launch
        How it was started.
    """

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size = launch.rank, launch.size

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add the tensors of all processes, in place, to the same bits in each; they lie on their devices."""
        with self._noticing_loss():
            dist.all_reduce(tensor)
        return tensor

    def first_says(self, text: str) -> str:
        """The ``text`` that the first process gave."""
        said = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(said)])
        with self._noticing_loss():
            dist.broadcast(length, 0)
            said = said if self.is_first else torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(said, 0)
        return bytes(said.tolist()).decode()

    def check_same(self, values: Mapping[str, int]) -> None:
        """Raise the same NerfkitError in all processes where numbers differ between them, by name."""
        own = torch.tensor(list(values.values()), dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with self._noticing_loss():
            dist.all_gather(found, own)
        differs = (torch.stack(found) != found[0]).any(0)
        named = [name for name, is_other in zip(values, differs.tolist(), strict=True) if is_other]
        if named:
            raise NerfkitError(
                f"the processes of this run have other {', '.join(named)} each; wanted the same in all {self.size}",
                where="torchrun", fix="start them with the same words, on machines that see the same files",
            )  # fmt: skip

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape and dtype and in memory, for the first; none for the others."""
        found = [torch.empty_like(tensor) for _ in range(self.size)] if self.is_first else []
        with self._noticing_loss():
            dist.gather(tensor, found if self.is_first else None)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        self.sum_(torch.zeros(1))

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise LostRankError(
                f"another of the {self.size} processes of this run ended before it was done ({_first_line(error)})",
                where="torchrun",
                fix="see below which one, and by what signal: 9 is often a lack of memory; go on with --resume RUN, or "
                "let torchrun do so: --max-restarts 3",
            ) from error


def join_group(launch: Launch, device: str) -> ProcessGroup:
    """Meet the other processes of a run, once in the life of this one.

    Raises
    ------
    MissingCapabilityError
        There is no GPU for each process of this machine.
    LostRankError
        Another process ended before they met.
    """
    if not dist.is_initialized():
        _take_device(launch, device)
        try:
            # small things lie in memory also where gradients lie on GPUs
            backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
            dist.init_process_group(backend, store=_store(), rank=launch.rank, world_size=launch.size, timeout=PATIENCE)
        except RuntimeError as error:
            raise LostRankError(
                f"the {launch.size} processes of this run did not meet ({_first_line(error)})", where="torchrun",
                fix="see below which one ended, or whether the machines reach one another",
            ) from error  # fmt: skip
    return ProcessGroup(launch)


def is_first_to_ask(question: str) -> bool:
    """Whether no process of this run has asked before; also where the others can no longer be reached."""
    try:
        return _store().add(question, 1) == 1
    except RuntimeError:
        # said twice is better than not at all
        return True


@functools.cache
def _store() -> dist.Store:  # pyright: ignore[reportPrivateImportUsage]
    """What torchrun lets its processes keep words in, those of each start apart: it keeps the same one for all."""
    launch = launched()
    store = next(rendezvous("env://", timeout=PATIENCE))[0]
    name = f"nerfkit/{launch.n_restarts}/{launch.size}"
    return dist.PrefixStore(name, store)  # pyright: ignore[reportPrivateImportUsage]


def _take_device(launch: Launch, device: str) -> None:
    if device == "cpu":
        return
    n_gpus = torch.cuda.device_count()
    if launch.local_rank >= n_gpus:
        raise MissingCapabilityError(
            f"each of {launch.local_size} processes wants a GPU of its own; this machine has {n_gpus}",
            where="torchrun --nproc-per-node", fix=f"give {n_gpus}, or --device cpu",
        )  # fmt: skip
    torch.cuda.set_device(launch.local_rank)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
