"""How many slots of a GPU kernel's tiles hold a sample, on the rays of a trained run: today's layout and others.

    python scripts/count_slots.py RUN [RUN ...] [--rays 8192] [--layouts 4x16 4x8 16x4 1x16] [--transmittance 1e-4]
        [--json FILE]

Draws pixels as training does, marches their rays through the run's occupancy grid (or, with the Fourier method, takes
its regular samples), and ends each ray where its transmittance falls below --transmittance. A layout RxK is a block of
R rays whose K next samples fill a tile, until its slowest ray has ended. "refill" gives a lane whose ray has ended the
next ray that hits anything; "pack" fills tiles of 64 samples with one ray after the other. Nothing is timed, and no GPU
is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarking import Row, publish
from numpy.typing import NDArray

import nerfkit
from nerfkit.scenes.cameras import CameraBatch
from nerfkit.scenes.rays import rays_from_pixels
from nerfkit.scenes.samplers import OccupancySampler
from nerfkit.trained_scene import TrainedScene

# lanes of a program that refills, samples of each that a tile takes, programs that share the rays, and samples of a
# packed tile
LANES, LANE_SAMPLES, PROGRAMS, PACKED = 16, 4, 132, 64
# optical depth of a regular sample that holds nothing
FAINT = 1e-4


@dataclass(frozen=True)
class Drawn:
    """Samples of the rays of a step.

    Parameters
    ----------
    marched : ndarray of int, shape (n_rays,)
        Of each ray, as far as it goes.
    live : ndarray of int, shape (n_rays,)
        Of those, the ones that light reaches.
    occupied : float
        Share of regular samples that hold anything; 1 where rays are marched, which skips the others.
    """

    marched: NDArray[np.int64]
    live: NDArray[np.int64]
    occupied: float


@torch.no_grad()
def draw(trained: TrainedScene, n_rays: int, transmittance: float) -> Drawn:
    """Draw pixels of the training photos, as a step of training does, and count the samples of their rays."""
    scene, photos = trained.scene, trained.run.read_photos(None)
    generator = torch.Generator().manual_seed(scene.config.seed)
    train = photos.splits["train"]
    cameras = [photos.cameras[i] for i in train]
    poses = torch.from_numpy(scene.bounds.normalise(photos.c2w[train])).float()
    ids = torch.randint(len(train), (n_rays,), generator=generator)
    sizes = torch.tensor([[camera.width, camera.height] for camera in cameras])[ids]
    pixels = torch.rand(n_rays, 2, generator=generator) * sizes
    rays_o, rays_d = rays_from_pixels(CameraBatch(cameras), poses, ids, pixels)
    jitter = torch.rand(n_rays, generator=generator)
    samples = scene.sampler.sample(scene.field, rays_o, rays_d, jitter=jitter)
    depth = scene.field.density(samples.xyzs).view(-1).double() * (samples.t_ends - samples.t_starts).double()
    first, counts = samples.packed_info.unbind(1)
    before = torch.cat([depth.new_zeros(1), depth.cumsum(0)])
    # optical depth before each sample within its own ray
    is_live = before[:-1] - before[first][samples.ray_indices] < -np.log(transmittance)
    live = torch.zeros_like(counts).index_add_(0, samples.ray_indices, is_live.long())
    is_marched = isinstance(scene.sampler, OccupancySampler)
    occupied = 1.0 if is_marched else float((depth > FAINT).double().mean())
    return Drawn(counts.numpy(), live.numpy(), occupied)


def blocks(counts: NDArray[np.int64], n_rays: int, n_samples: int) -> int:
    """Slots of blocks of so many rays, in the order in which they were drawn.

    Examples
    --------
    >>> blocks(np.array([1, 9, 0, 0]), 2, 4)
    24
    """
    padded = np.pad(counts, (0, -len(counts) % n_rays)).reshape(-1, n_rays)
    return int((-(-padded.max(1) // n_samples)).sum()) * n_rays * n_samples


def refilled(counts: NDArray[np.int64], lanes: int = LANES, n_samples: int = LANE_SAMPLES) -> int:
    """Slots where each of ``PROGRAMS`` programs gives a free lane its next ray that hits anything.

    Examples
    --------
    >>> refilled(np.array([8, 4, 4, 0]), lanes=2, n_samples=4)
    16
    """
    slots = 0
    rays = counts[counts > 0]
    for queue in np.array_split(rays, min(PROGRAMS, max(1, len(rays) // lanes))):
        ends = np.zeros(lanes, np.int64)
        for count in queue:
            # the lane that is free first takes the next ray
            ends[ends.argmin()] += -(-int(count) // n_samples)
        slots += int(ends.max()) * lanes * n_samples
    return slots


def packed(counts: NDArray[np.int64], n_samples: int = PACKED) -> int:
    """Slots of tiles that are filled with one ray after the other."""
    return -(-int(counts.sum()) // n_samples) * n_samples


def rows(run: Path, n_rays: int, layouts: Sequence[tuple[int, int]], transmittance: float) -> Iterator[Row]:
    """What is drawn, and the useful share of the slots of each layout."""
    trained = nerfkit.load(run)
    assert isinstance(trained, TrainedScene), f"{run} is no run of nerfkit train"
    drawn = draw(trained, n_rays, transmittance)
    command, live, name = f"python scripts/count_slots.py {run.name}", drawn.live, run.name
    hits = live > 0
    yield Row(f"{name}: rays that meet anything", 100 * float(hits.mean()), "%", "", command)
    yield Row(f"{name}: samples of those", float(live[hits].mean()) if hits.any() else 0.0, "", "", command)
    yield Row(f"{name}: without an end at {transmittance:g}", float(drawn.marched[hits].mean()) if hits.any() else 0.0,
              "", "", command)  # fmt: skip
    if drawn.occupied < 1:
        yield Row(f"{name}: regular samples that hold anything", 100 * drawn.occupied, "%", "", command)
    slots = {f"{r} x {k}": blocks(live, r, k) for r, k in layouts}
    slots |= {f"refill, {LANES} x {LANE_SAMPLES}": refilled(live), f"pack, {PACKED}": packed(live)}
    for layout, n_slots in slots.items():
        yield Row(f"{name}: useful share, {layout}", live.sum() / max(n_slots, 1), "", ">= 0.8", command)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rays", type=int, default=8192)
    parser.add_argument("--layouts", nargs="+", default=["4x16", "4x8", "16x4", "1x16"], metavar="RxK")
    parser.add_argument("--transmittance", type=float, default=1e-4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    layouts = [(int(r), int(k)) for r, k in (layout.split("x") for layout in given.layouts)]
    found = [row for run in given.runs for row in rows(run, given.rays, layouts, given.transmittance)]
    publish(found, given.json)


if __name__ == "__main__":
    main()
