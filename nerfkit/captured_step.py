"""A training step as a CUDA graph: recorded once for each size, then started as one piece.

A step of some milliseconds is a hundred launches and more, each of which the host has to prepare; played from a graph
they follow one another without gaps. ``--set captured=true`` has training do so. It has not run on a GPU yet
(docs/benchmarks.md), so it is off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from nerfkit.adam_optimizer import Adam
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Capturable", "CapturedStep", "capture", "refusal", "rounded_size", "training_step"]

T = TypeVar("T")


@runtime_checkable
class Capturable(Protocol):
    """What a problem has besides :class:`nerfkit.fitting.Fittable` so that its steps can be captured.

    What :meth:`compare` gives beside the loss is handed to :meth:`look` as it is; both tensors and numbers that
    follow from the size will do.
    """

    def check_capture(self) -> None:
        """Raise a :func:`refusal` where a step would wait for the device."""
        ...

    def generators(self) -> list[torch.Generator]:
        """All that a step draws from."""
        ...

    def size(self) -> int:
        """Of the next step, as :func:`rounded_size` gives it."""
        ...

    def compare(self, size: int) -> tuple[Tensor, Any]:
        """The loss of a new batch, and what :meth:`look` wants to see of it; it waits for nothing."""
        ...

    def look(self, step: int, compared: Any) -> dict[str, float]:
        """Figures for the log; now and then from what :meth:`compare` gave, which the next step overwrites."""
        ...


class CapturedStep(Generic[T]):
    """Plays a function of a size that launches work on a GPU.

    Parameters
    ----------
    run : callable
        From a size to tensors. It must not wait for the GPU, nor read from the host what changes from call to call;
        the tensors keep their place, and the next call, with whatever size, may overwrite them.
    generators : sequence of torch.Generator
        On the GPU; what ``run`` draws from them goes on from call to call.

    Notes
    -----
    The first call with a size runs as it is, which compiles kernels and makes what lasts; the second records. Sizes
    should be few: each recording takes the time of a step that the host prepares. They share their memory, since no
    two are played at once.
    """

    def __init__(self, run: Callable[[int], T], generators: Sequence[torch.Generator] = ()) -> None:
        self.run, self.generators = run, generators
        # one of each for all sizes: memory that was taken for one stream or recording serves no other
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
        self._warm: set[int] = set()
        self._played: dict[int, tuple[torch.cuda.CUDAGraph, T]] = {}

    def __call__(self, size: int) -> T:
        """What ``run(size)`` would give."""
        if size not in self._warm:
            self._warm.add(size)
            return self._aside(size)
        if size not in self._played:
            self._played[size] = self._record(size)
        graph, outputs = self._played[size]
        graph.replay()
        return outputs

    def _aside(self, size: int) -> T:
        # on a stream of its own, as a recording will be: what is allocated there is not the default stream's
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = self.run(size)
        current.wait_stream(self._stream)
        return outputs

    def _record(self, size: int) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self.run(size)
        return graph, outputs


def refusal(wanted: str, got: str, *, fix: str = "leave it out") -> NerfkitError:
    """The error where steps cannot be captured."""
    return NerfkitError(f"needs {wanted}; got {got}", where="captured=true", fix=fix)


def rounded_size(size: int) -> int:
    """The largest of 1, 1.25, 1.5 and 1.75 times a power of two that is not above ``size``: four sizes an octave.

    Examples
    --------
    >>> [rounded_size(size) for size in (3, 64, 100, 1279, 1280)]
    [3, 64, 96, 1024, 1280]
    """
    quarter = 1 << max(size.bit_length() - 3, 0)
    return size // quarter * quarter


def training_step(problem: Capturable, optimizer: Adam) -> Callable[[int], tuple[Tensor, Any]]:
    """A step of a problem as a function of its size: from drawing a batch to changed parameters.

    To be captured, the optimiser has to hold its learning rates on the device (``hold_learning_rates``).
    """

    def step(size: int) -> tuple[Tensor, Any]:
        optimizer.zero_grad()
        loss, compared = problem.compare(size)
        loss.backward()
        optimizer.step()
        return loss.detach(), compared

    return step


def capture(problem: object, optimizer: Adam) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """A function from the number of a step to its loss, which is good until the next, and its figures.

    The optimiser holds its learning rates from now on.

    Raises
    ------
    NerfkitError
        The problem has no step of a size alone, or its steps wait for the device.
    """
    if not isinstance(problem, Capturable):
        raise refusal("a problem whose steps have a size", type(problem).__name__)
    problem.check_capture()
    optimizer.hold_learning_rates()
    play = CapturedStep(training_step(problem, optimizer), problem.generators())

    def take_step(step: int) -> tuple[Tensor, dict[str, float]]:
        loss, compared = play(problem.size())
        return loss, problem.look(step, compared)

    return take_step
