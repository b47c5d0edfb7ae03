"""How many slots of the fused kernels' tiles hold a sample, on the rays of a trained run: the layout in use and others.

    python scripts/count_slots.py RUN [RUN ...] [--rays 8192] [--layouts 16x4 16x2 8x8] [--blocks 4x16 1x16]
        [--transmittance 1e-4] [--json FILE]

Draws pixels as training does, marches their rays through the run's occupancy grid (or, with the Fourier method, takes
its regular samples), and ends each ray at the first sample that less than --transmittance reaches. A layout RxK is what
kernels/radiance does with tiles of R groups of K samples: the first one is in use. A block RxK is R rays whose K next
samples fill a tile, until its slowest ray has ended, all slots alike. Of each: the fraction of slots that hold a sample
that counts, and what a step gathers (entries of the table), multiplies and adds (numbers, atomically). Nothing is
timed, and no GPU is needed.
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
from nerfkit.kernels.radiance._triton import GROUPS_A_TILE, MAX_FORWARD_PROGRAMS, MAX_PROGRAMS, SAMPLES_A_GROUP
from nerfkit.kernels.radiance._triton_forward import RAYS_A_PROGRAM
from nerfkit.kernels.radiance._triton_packing import TILES_A_PROGRAM
from nerfkit.scenes.cameras import CameraBatch
from nerfkit.scenes.observations.fused_rendering import FusableField
from nerfkit.scenes.rays import rays_from_pixels
from nerfkit.scenes.samplers import OccupancySampler
from nerfkit.trained_scene import TrainedScene

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
        Fraction of regular samples that hold anything; 1 where rays are marched, which skips the others.
    is_marched : bool
        Whether rays are marched through an occupancy grid.
    """

    marched: NDArray[np.int64]
    live: NDArray[np.int64]
    occupied: float
    is_marched: bool


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
    return Drawn(counts.numpy(), live.numpy(), occupied, is_marched)


def blocks(counts: NDArray[np.int64], n_rays: int, n_samples: int) -> int:
    """Slots of blocks of so many rays, in the order in which they were drawn.

    Examples
    --------
    >>> blocks(np.array([1, 9, 0, 0]), 2, 4)
    24
    """
    padded = np.pad(counts, (0, -len(counts) % n_rays)).reshape(-1, n_rays)
    return int((-(-padded.max(1) // n_samples)).sum()) * n_rays * n_samples


def forward_slots(
    live: NDArray[np.int64], marched: NDArray[np.int64], n_groups: int, n_samples: int, n_programs: int
) -> tuple[int, int]:
    """Slots of the forward kernel's turns, and how many of them hold a sample, be it behind the end of its ray.

    A program draws rays into ``n_groups`` lanes; in each turn the groups of its tile are shared out among the lanes
    that have a ray (``_triton_forward.py``). Rays that have no sample are left out.

    Examples
    --------
    >>> forward_slots(np.array([3, 8, 1]), np.array([9, 8, 4]), 2, 4, 1)
    (16, 16)
    """
    order = np.argsort(-marched, kind="stable")[: int((marched > 0).sum())]
    n_programs = max(1, min(n_programs, len(order) // RAYS_A_PROGRAM))
    n_turns = n_asked = 0
    for program in range(n_programs):
        queue = iter(order[program::n_programs])
        lanes: list[list[int]] = []
        while True:
            while len(lanes) < n_groups and (ray := next(queue, None)) is not None:
                lanes.append([int(live[ray]), int(marched[ray])])
            if not lanes:
                break
            n_turns += 1
            each = n_groups // len(lanes) * n_samples
            n_asked += sum(min(each, marched_left) for _, marched_left in lanes)
            lanes = [[a - each, b - each] for a, b in lanes if a > each and b > each]
    return n_turns * n_groups * n_samples, n_asked


def backward_slots(live: NDArray[np.int64], n_groups: int, n_samples: int, n_programs: int) -> int:
    """Slots of the backward kernel's tiles: programs with whole rays, their groups without gaps.

    Examples
    --------
    >>> backward_slots(np.array([3, 8, 0, 5]), 2, 4, 1)
    24
    """
    groups = -(-live // n_samples)
    total = int(groups.sum())
    n_programs = max(1, min(n_programs, total // (n_groups * TILES_A_PROGRAM)))
    bounds = np.arange(n_programs + 1) * total // n_programs
    firsts = np.append(groups.cumsum() - groups, total)
    starts = firsts[np.searchsorted(firsts, bounds)]
    return int((-(-np.diff(starts) // n_groups)).sum()) * n_groups * n_samples


@dataclass(frozen=True)
class Work:
    """Slots of a step, and the samples that gather and that add."""

    forward: int
    backward: int
    gathers: int
    adds: int

    @classmethod
    def of_layout(cls, drawn: Drawn, n_groups: int, n_samples: int) -> Work:
        """That of the kernels with tiles of other sizes."""
        slots, n_asked = forward_slots(drawn.live, drawn.marched, n_groups, n_samples, MAX_FORWARD_PROGRAMS)
        n_live = int(drawn.live.sum())
        backward = backward_slots(drawn.live, n_groups, n_samples, MAX_PROGRAMS)
        return cls(slots, backward, n_asked + n_live, n_live)

    @classmethod
    def of_blocks(cls, drawn: Drawn, n_rays: int, n_samples: int) -> Work:
        """That of blocks of rays, in which an empty slot works like another."""
        slots = blocks(drawn.live, n_rays, n_samples)
        return cls(slots, slots, 2 * slots, slots)


def rows(
    run: Path, n_rays: int, layouts: Sequence[tuple[int, int]], of_blocks: Sequence[tuple[int, int]],
    transmittance: float,
) -> Iterator[Row]:  # fmt: skip
    """What is drawn, and what each layout makes of it."""
    trained = nerfkit.load(run)
    assert isinstance(trained, TrainedScene), f"{run} is no run of nerfkit train"
    drawn = draw(trained, n_rays, transmittance)
    command, live, name = f"python scripts/count_slots.py {run.name}", drawn.live, run.name
    hits = live > 0
    n_live = int(live.sum())
    yield Row(f"{name}: rays that meet anything", 100 * float(hits.mean()), "%", "", command)
    yield Row(f"{name}: samples of those", float(live[hits].mean()) if hits.any() else 0.0, "", "", command)
    yield Row(f"{name}: without an end at {transmittance:g}", float(drawn.marched[hits].mean()) if hits.any() else 0.0,
              "", "", command)  # fmt: skip
    if drawn.occupied < 1:
        yield Row(f"{name}: regular samples that hold anything", 100 * drawn.occupied, "%", "", command)
    works = {f"{r} x {k}": Work.of_layout(drawn, r, k) for r, k in layouts}
    works |= {f"blocks {r} x {k}": Work.of_blocks(drawn, r, k) for r, k in of_blocks}
    n_corners, n_products, n_weights = per_sample(trained)
    for layout, work in works.items():
        label = f"{name}, {layout}"
        yield Row(f"{label}: useful fraction, forward", n_live / max(work.forward, 1), "", ">= 0.8", command)
        yield Row(f"{label}: useful fraction, backward", n_live / max(work.backward, 1), "", ">= 0.8", command)
        yield Row(f"{label}: gathers", 1e-6 * work.gathers * n_corners, "M", "", command)
        # a layer is computed once forward, and four times backward: twice anew, once to either side
        yield Row(f"{label}: multiply-adds", 1e-9 * (work.forward + 4 * work.backward) * n_products, "G", "", command)
        n_adds = work.adds * n_corners + work.backward // 64 * n_weights
        yield Row(f"{label}: atomic adds", 1e-6 * n_adds, "M", "", command)
    _, n_asked = forward_slots(live, drawn.marched, GROUPS_A_TILE, SAMPLES_A_GROUP, MAX_FORWARD_PROGRAMS)
    n_groups = int((-(-live // SAMPLES_A_GROUP)).sum())
    # starts are written, and read twice, where rays are marched; depths and rays of groups are written and read
    n_starts = int(drawn.marched.sum()) + n_asked + n_live if drawn.is_marched else 0
    n_bytes = 4 * (n_starts + 4 * n_groups)
    yield Row(f"{name}: bytes of a sample besides the table", n_bytes / max(n_live, 1), "B", "<= 16", command)


def per_sample(trained: TrainedScene) -> tuple[int, int, int]:
    """Of the field: entries that a sample gathers, multiply-adds of its networks, and numbers of these."""
    field = trained.scene.field
    assert isinstance(field, FusableField)
    fused = field.radiance_params()
    assert fused is not None
    params, spec = fused
    n_weights = sum(w.numel() for w in (*params.trunk_weights, *params.color_weights))
    return 8 * spec.grid.n_levels if spec.grid is not None else 0, n_weights, n_weights


def sizes(layouts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of numbers from words RxK."""
    return [(int(r), int(k)) for r, k in (layout.split("x") for layout in layouts)]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rays", type=int, default=8192)
    in_use = f"{GROUPS_A_TILE}x{SAMPLES_A_GROUP}"
    parser.add_argument("--layouts", nargs="+", default=[in_use], metavar="RxK")
    parser.add_argument("--blocks", nargs="+", default=["4x16"], metavar="RxK")
    parser.add_argument("--transmittance", type=float, default=1e-4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    of_layouts = sizes(given.layouts), sizes(given.blocks)
    found = [row for run in given.runs for row in rows(run, given.rays, *of_layouts, given.transmittance)]
    publish(found, given.json)


if __name__ == "__main__":
    main()
