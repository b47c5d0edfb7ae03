"""The processes that work on one run: those that torchrun started, numbered by their rank, or one alone.

``torchrun --nproc-per-node 2 -m nerfkit train DATA`` starts two. What they tell one another is in
:mod:`nerfkit.process_group`, which only they load: a process alone has no part in it and pays nothing for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "RESTART", "Launch", "LostRankError", "Ranks", "join", "launched", "may_speak"]


# what else to do where a process was lost than to go on by hand
RESTART = "or let torchrun do so: --max-restarts 3; signal 9 in its table is often a lack of memory"


class LostRankError(NerfkitError):
    """Another process of the run ended before the run did; it has said why, unless it was killed."""

    exit_code = 1


@dataclass(frozen=True)
class Launch:
    """What a launcher says of this process, in the environment that torchrun makes and others follow.

    Parameters
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are on all machines.
    local_rank, local_size : int
        The same on this machine.
    n_restarts : int
        How often torchrun has started them anew after one ended.
    may_restart : bool
        Whether it would.
    job : str
        What is the same for all its starts and no other job's; empty without torchrun.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    n_restarts: int = 0
    may_restart: bool = False
    job: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """How this process was started; alone unless a launcher says another thing.

    Examples
    --------
    >>> launched({}) == Launch()
    True
    >>> words = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    >>> launched(words).size
    2
    """
    words = os.environ if environment is None else environment
    # a queue of jobs may set WORLD_SIZE for purposes of its own; with an address it is meant for torch
    if "RANK" not in words or "MASTER_ADDR" not in words:
        return Launch()
    numbers = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    numbers |= {"TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0}
    try:
        rank, size, local_rank, local_size, n_restarts, most = (int(words.get(name, x)) for name, x in numbers.items())
    except ValueError as error:
        raise NerfkitError(
            f"{', '.join(numbers)} must be numbers, as torchrun sets them; {error}", where="environment",
            fix="start with torchrun, or unset them",
        ) from error  # fmt: skip
    return Launch(rank, size, local_rank, local_size, n_restarts, most > 0, _job(words))


def _job(words: Mapping[str, str]) -> str:
    identity = words.get("TORCHELASTIC_RUN_ID")
    if identity is None:
        return ""
    # without --rdzv-id all jobs are called none; then the process that starts ours anew tells them apart
    return identity if identity != "none" else f"{words['MASTER_ADDR']}-{os.getppid()}"


class Ranks:
    """A process alone; :class:`nerfkit.process_group.ProcessGroup` is one of several.

    Attributes
    ----------
    rank, size : int
        As in :class:`Launch`.
    """

    rank, size = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Which of ``n`` things are this process's; in the order of the ranks they are all of them.

        Examples
        --------
        >>> ALONE.part(5)
        slice(0, 5, None)
        """
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add the tensors of all processes, in place, to the same bits in each."""
        return tensor

    def first_says(self, text: str) -> str:
        """The ``text`` that the first process gave."""
        return text

    def check_same(self, values: Mapping[str, int]) -> None:
        """Raise NerfkitError where numbers differ between processes that must not; the names say what they are of."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape and dtype, in their order, for the first; none for the others."""
        return [tensor]

    def wait(self) -> None:
        """Until all processes are here."""


ALONE = Ranks()


def join(device: str) -> Ranks:
    """The processes that this one was started with, met by all of them; ``device`` is "cpu" or "cuda"."""
    launch = launched()
    if launch.size == 1:
        return ALONE
    from nerfkit.process_group import join_group

    return join_group(launch, device)


def may_speak() -> bool:
    """Whether this process is the one that tells how a run of several ended: the first of them that asks."""
    try:
        is_alone = launched().size == 1
    except NerfkitError:
        # the environment is what is to be told of
        return True
    if is_alone:
        return True
    from nerfkit.process_group import is_first_to_ask

    return is_first_to_ask("ending")
