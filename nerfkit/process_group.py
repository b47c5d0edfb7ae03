"""Several processes as one, by torch.distributed: gloo between CPUs, NCCL between GPUs."""

from __future__ import annotations

import functools
import math
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nerfkit.ranks import RESTART, Launch, LostRankError, Ranks, launched
from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

__all__ = ["TIMEOUT_VARIABLE", "ProcessGroup", "is_first_to_ask", "join_group"]

# environment variable of the seconds after which a process that does not answer is given up, and how many they are
# without it: a process that reads many photos, or writes a report, keeps the others waiting
TIMEOUT_VARIABLE, TIMEOUT = "NERFKIT_RANK_TIMEOUT", 1800.0
# seconds that processes have to say that they are still there when one is lost, and for a word of what keeps the words
ROLL_CALL, WORD = 5.0, 10.0

Said = TypeVar("Said")


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
                f"{self._lost()} ({_first_line(error)})", where="torchrun", fix=f"give the command again, {RESTART}"
            ) from error

    def _lost(self) -> str:
        """Which processes do not answer any more, in words."""
        absent = _answered(lambda store: _absent(store, self.rank, self.size), ROLL_CALL + WORD)
        if absent is None:
            return (
                f"another of the {self.size} processes of this run is gone, and what they keep words in, at "
                f"{os.environ.get('MASTER_ADDR')}, cannot be reached"
            )
        if not absent:
            return f"the {self.size} processes of this run do not reach one another"
        named = ", ".join(f"{rank} (on {host})" if host else f"{rank}" for rank, host in absent)
        return (
            f"rank {named} of the {self.size} processes of this run is gone: it ended, or its machine is not reached "
            f"for {_timeout():g} s"
        )


def join_group(launch: Launch, device: str) -> ProcessGroup:
    """Meet the other processes of a run, once in the life of this one.

    Raises
    ------
    MissingCapabilityError
        There is no GPU for each process of this machine.
    LostRankError
        Another process ended before they met.
    NerfkitError
        ``NERFKIT_RANK_TIMEOUT`` is no number of seconds.
    """
    if not dist.is_initialized():
        _take_device(launch, device)
        try:
            # small things lie in memory also where gradients lie on GPUs
            backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
            store, timeout = _store(), timedelta(seconds=_timeout())
            store.set(f"host/{launch.rank}", platform.node())
            dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size, timeout=timeout)
        except RuntimeError as error:
            raise LostRankError(
                f"the {launch.size} processes of this run did not meet ({_first_line(error)})", where="torchrun",
                fix="see below which one ended, or whether the machines reach one another",
            ) from error  # fmt: skip
    return ProcessGroup(launch)


def is_first_to_ask(question: str) -> bool:
    """Whether no process of this run has asked before; also where the others can no longer be reached."""
    # said twice is better than not at all
    return _answered(lambda store: store.add(question, 1), WORD) in (1, None)


def _absent(
    store: dist.Store, rank: int, size: int,  # pyright: ignore[reportPrivateImportUsage]
) -> Sequence[tuple[int, str]]:  # fmt: skip
    """Ranks that do not say that they are here while this one does, and their machines where these are known."""
    store.set(f"here/{rank}", "")
    until = time.monotonic() + ROLL_CALL
    while not store.check([f"here/{other}" for other in range(size)]) and time.monotonic() < until:
        time.sleep(0.05)
    absent = [other for other in range(size) if not store.check([f"here/{other}"])]
    known = [store.check([f"host/{other}"]) for other in absent]
    return [(k, store.get(f"host/{k}").decode() if is_known else "") for k, is_known in zip(absent, known, strict=True)]


def _answered(
    ask: Callable[[dist.Store], Said], seconds: float,  # pyright: ignore[reportPrivateImportUsage]
) -> Said | None:  # fmt: skip
    """What is found in what processes keep words in; None where it cannot be reached, which may never be said."""
    said: list[Said] = []

    def call() -> None:
        # torch's errors, and what is wrong with the environment, which is told where they meet
        with suppress(RuntimeError, ValueError, NerfkitError):
            said.append(ask(_store()))

    # a machine that is cut off closes no connection: whoever waits for its word waits in torch, for ever
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0] if said else None


def _timeout() -> float:
    """Seconds after which a process that does not answer is given up."""
    text = os.environ.get(TIMEOUT_VARIABLE)
    if text is None:
        return TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise NerfkitError(
            f"must be seconds, above 0; got {text!r}", where=TIMEOUT_VARIABLE, fix="give a number, or unset it"
        )
    return seconds


@functools.cache
def _store() -> dist.Store:  # pyright: ignore[reportPrivateImportUsage]
    """What torchrun lets its processes keep words in, those of each start apart: it keeps the same one for all."""
    launch = launched()
    store = next(rendezvous("env://", timeout=timedelta(seconds=_timeout())))[0]
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
    # without the place in gloo's sources
    return re.sub(r"^\[[^\]]*\] ", "", str(error).partition("\n")[0])
