"""How the GPU benchmark measures: milliseconds of a call as the host launches it or played from a graph, memory, rates.

Nothing but the call is between the two events: its inputs, and the gradients that its outputs are sent, are there
before. Between two calls more is read than a cache holds, so that no call finds its inputs there, and nothing is
left to be written back.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from gpu_floors import Rates

__all__ = ["attempt", "captured", "card_rates", "milliseconds", "peak_megabytes"]

# as much as any card's second-level cache holds
FLUSH_BYTES = 2**28
# buffer that stays in such a cache, read and written
CACHED_BYTES = 2**23


def milliseconds(run: Callable[[], object], device: str, *, seconds: float = 0.4, is_flushed: bool = True) -> float:
    """Median time of a call on the device, none of its inputs in the caches unless they shall be."""
    if device == "cpu":
        started = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - started)
    flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.float32, device=device) if is_flushed else None
    for _ in range(3):
        run()
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < stop and len(times) < 200):
        if flush is not None:
            flush.sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """The call as a CUDA graph: what the device takes without the host between launches."""
    # warms up where it records: no other stream's memory may be in the graph
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def peak_megabytes(run: Callable[[], object], device: str) -> float:
    """Most memory that a call holds beyond what was held before it."""
    if device == "cpu":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def card_rates(device: str) -> Rates:
    """What this card does: large copies, copies within its cache, products of random numbers."""
    n, side, n_cached = (2**30, 8192, CACHED_BYTES) if device != "cpu" else (2**20, 128, 2**16)
    source = torch.randint(256, (n,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = milliseconds(lambda: target.copy_(source), device)
    small, other = source[:n_cached], target[:n_cached]
    cached_ms = milliseconds(lambda: [other.copy_(small) for _ in range(16)], device, is_flushed=False) / 16
    products_ms = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        products_ms.append(milliseconds(lambda a=a, b=b: a @ b, device))
    half, full = (2e3 * side**3 / ms for ms in products_ms)
    return Rates(2e3 * n / copy_ms, half, full, 2e3 * n_cached / cached_ms)


def attempt(measure: Callable[[], float]) -> float | None:
    """A figure, or None where what stands beside us runs out of memory, or cannot be compiled or captured."""
    try:
        return measure()
    except Exception as error:  # torch.compile raises whatever its parts raise
        print(f"  left out: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
