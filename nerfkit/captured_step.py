"""A training step as a CUDA graph: recorded once for each size, then started as one piece.

A step of some milliseconds is a hundred launches and more, each of which the host has to prepare; played from a graph
they follow one another without gaps. It has not run on a GPU yet (docs/benchmarks.md), and training does not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch

from nerfkit.adam_optimizer import KernelAdam
from nerfkit.radiance_fit import Compared, RadianceFit

__all__ = ["CapturedStep", "training_step"]

T = TypeVar("T")


class CapturedStep(Generic[T]):
    """Plays a function of a size that launches work on a GPU.

    Parameters
    ----------
    run : callable
        From a size to tensors. It must not wait for the GPU, nor read from the host what changes from call to call;
        the tensors keep their place, and each call with a size overwrites those of the call before.
    generators : sequence of torch.Generator
        On the GPU; what ``run`` draws from them goes on from call to call.

    Notes
    -----
    The first call with a size runs as it is, which compiles kernels and makes what lasts; the second records. Sizes
    should be few: each recording takes the time of a step that the host prepares, and memory of its own.
    """

    def __init__(self, run: Callable[[int], T], generators: Sequence[torch.Generator] = ()) -> None:
        self.run, self.generators = run, generators
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
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = self.run(size)
        current.wait_stream(stream)
        return outputs

    def _record(self, size: int) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            outputs = self.run(size)
        return graph, outputs


def training_step(task: RadianceFit, optimizer: KernelAdam) -> Callable[[int], Compared]:
    """A step of a radiance field, from drawing pixels to changed parameters; its size is the number of rays.

    To be captured, the optimiser has to hold its learning rates on the device (``hold_learning_rates``), and so do all
    generators their state: those of the task and, with stratified samples, of the sampler.
    """

    def step(n_rays: int) -> Compared:
        optimizer.zero_grad(set_to_none=True)
        compared = task.compare(n_rays)
        compared.loss.backward()
        optimizer.step()
        return compared._replace(loss=compared.loss.detach())

    return step
