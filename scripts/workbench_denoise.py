"""Denoising beside the classics: photographs of 256 x 256 pixels with simulated noise, several draws of it.

    python scripts/workbench_denoise.py [--images camera,astronaut] [--kind gaussian] [--sigmas 15,25,50] [--seeds 3]
        [--seconds 600] [--coordinate] [--no-baselines] [--json FILE]

Nothing of ours sees the clean picture: the noise is estimated too. Total variation and non-local means have the
parameters that are best on the clean picture (oracle); BM3D, where it is installed, has the true level. PSNR is of
pictures clipped to [0, 1]. Photographs are those of the folder images/ of NERFKIT_TEST_DATA, else scikit-image's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import machine
from numpy.typing import NDArray
from workbench_pictures import photograph

from nerfkit.metrics import psnr
from nerfkit.workbench.denoising.baselines import bm3d_missing, measure_baselines
from nerfkit.workbench.denoising.denoise import denoise
from nerfkit.workbench.denoising.noise import Noise, add_noise

SIDE = 256


@dataclass(frozen=True)
class Measured:
    """PSNR, dB, of what methods make of one noisy picture."""

    image: str
    kind: str
    # as given: of normal noise 255 standard deviations, of Poisson noise photons of a white pixel, else percent
    sigma: float
    seed: int
    # method -> PSNR
    psnr: dict[str, float]
    # noise that was estimated, parameters and how they were chosen
    chosen: dict[str, Any]
    # of ours alone
    cpu_seconds: float


def read_image(name: str, side: int = SIDE) -> NDArray[np.float32]:
    """A photograph [side, side, c] in [0, 1], its middle square averaged over boxes."""
    return np.atleast_3d(photograph(name, side)).astype(np.float32) / np.float32(255)


def noise_of(kind: str, sigma: float) -> Noise:
    """The noise that ``--sigmas`` means."""
    return Noise(kind, {"gaussian": sigma / 255, "poisson": 1 / sigma, "impulse": sigma / 100}[kind])  # pyright: ignore


def measure(
    images: Sequence[str], sigmas: Sequence[float], seeds: Sequence[int], *, kind: str = "gaussian",
    seconds: float = 600.0, side: int = SIDE, with_baselines: bool = True, with_coordinate_field: bool = False,
) -> list[Measured]:  # fmt: skip
    """A row for each image, sigma and draw of the noise."""
    rows = []
    for image in images:
        clean = read_image(image, side)
        truth = torch.from_numpy(clean)
        for sigma in sigmas:
            noise = noise_of(kind, sigma)
            for seed in seeds:
                noisy = add_noise(clean, kind, noise.level, seed)
                started = time.process_time()
                done = denoise(noisy, seconds=seconds, seed=seed, with_coordinate_field=with_coordinate_field)
                spent = time.process_time() - started
                others = measure_baselines(noisy, clean, noise) if with_baselines else {}
                scores = {"noisy": noisy, "ours": done.image, **done.pictures}
                figures = {name: psnr(torch.from_numpy(picture), truth) for name, picture in scores.items()}
                figures |= {name: baseline.psnr for name, baseline in others.items()}
                chosen = {"noise": asdict(done.noise), "ours": done.chosen, "is_cut": done.is_cut}
                chosen |= {name: baseline.chosen for name, baseline in others.items()}
                rows.append(Measured(image, kind, sigma, seed, figures, chosen, spent))
                print(format_row(rows[-1]), file=sys.stderr, flush=True)
    return rows


def format_row(row: Measured) -> str:
    """In a line."""
    figures = ", ".join(f"{name} {value:.2f}" for name, value in row.psnr.items())
    return f"{row.image} {row.kind} {row.sigma:g} seed {row.seed}: {figures}; {row.cpu_seconds:.0f} CPU-s"


def table(rows: Sequence[Measured]) -> str:
    """Means over the draws, a line an image and sigma."""
    methods = list(dict.fromkeys(name for row in rows for name in row.psnr))
    lines = ["| image | " + " | ".join(methods) + " | CPU-s |", "|---" * (len(methods) + 2) + "|"]
    for key in dict.fromkeys((row.image, row.kind, row.sigma) for row in rows):
        found = [row for row in rows if (row.image, row.kind, row.sigma) == key]
        cells = [
            f"{np.mean([row.psnr[name] for row in found]):.2f}" if name in found[0].psnr else "-" for name in methods
        ]
        cost = np.mean([row.cpu_seconds for row in found])
        lines.append(f"| {key[0]} {key[1]} {key[2]:g} | " + " | ".join(cells) + f" | {cost:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="camera,astronaut")
    parser.add_argument("--kind", default="gaussian", choices=["gaussian", "poisson", "impulse"])
    parser.add_argument("--sigmas", default="15,25,50", help="of 255; photons of a white pixel (poisson); percent")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the noise")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of each")
    parser.add_argument("--coordinate", action="store_true", help="a field of the position alone too")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.no_baselines and options.kind != "impulse" and (missing := bm3d_missing()):
        print(missing, file=sys.stderr)
    rows = measure(
        options.images.split(","), [float(sigma) for sigma in options.sigmas.split(",")], range(options.seeds),
        kind=options.kind, seconds=options.seconds, with_baselines=not options.no_baselines,
        with_coordinate_field=options.coordinate,
    )  # fmt: skip
    print(table(rows))
    text = json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
