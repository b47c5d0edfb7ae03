#!/usr/bin/env python
"""Photographs in few bytes: nerfkit's codec beside JPEG, WebP, AVIF and cosines, at equal bytes.

    python scripts/workbench_compress.py [--pictures astronaut:256 kodim04] [--rates 0.8 1.4] [--json FILE]

Each line is one picture at one rate. Every figure is of whole files with their heads: ours is decoded again, the PSNR
of the others is interpolated over the logarithm of their bytes. Photographs are those of NERFKIT_TEST_DATA/images; one
that is not there is taken from scikit-image, if it has it. NAME:N is the picture averaged to N x N pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import machine
from numpy.typing import NDArray
from workbench_pictures import photograph

from nerfkit.fitting import Progress
from nerfkit.workbench.compression import baselines
from nerfkit.workbench.compression.codec import decode, encode

# rates in bits per pixel: a small file, a usual one, a good one
PICTURES = ("astronaut:256", "kodim04")
RATES = (0.4, 0.78, 1.33)


def read_image(name: str) -> NDArray[np.uint8]:
    """The photograph NAME, or NAME:N averaged to N x N pixels."""
    stem, _, side = name.partition(":")
    return photograph(stem, int(side) if side else None)


def measure(
    pictures: Sequence[str] = PICTURES, rates: Sequence[float] = RATES, *, steps: int = 600,
    seeds: Sequence[int] = (0,), names: Sequence[str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each picture, rate and seed.

    Parameters
    ----------
    pictures : sequence of str
        See :func:`read_image`.
    rates : sequence of float
        Bits per pixel that are asked for.
    steps : int
        Of the fit.
    seeds : sequence of int
        Of the fit.
    names : sequence of str, optional
        Of the formats to compare with; None: all that there are.

    Returns
    -------
    list of dict
        ``picture, size, rate, seed``, what the codec reports, ``cpu_seconds, decode_cpu_seconds``; ``at_equal_bytes``:
        the PSNR of each format, None beyond the ends of its curve; ``dropped``: the PSNR that is left without 95 % of
        the coefficients, which are not coded.
    """
    rows = []
    # compiled before it is timed
    encode(np.zeros((16, 16, 3), np.uint8), steps=2)
    for picture in pictures:
        pixels = read_image(picture)
        print(f"{picture}: curves", file=sys.stderr, flush=True)
        curves = {name: baselines.curve(pixels, name) for name in names or baselines.available()}
        dropped = baselines.dropped(pixels)
        for rate in rates:
            for seed in seeds:
                print(f"{picture}: {rate} bits per pixel, seed {seed}", file=sys.stderr, flush=True)
                started = time.process_time()
                code = encode(pixels, rate=rate, steps=steps, seed=seed, on_progress=_tell)
                encoded = time.process_time()
                if not (decode(code.data) == code.pixels).all():
                    raise AssertionError("what was decoded twice differs")
                at = {name: baselines.psnr_at(curve, len(code.data)) for name, curve in curves.items()}
                rows.append({
                    "picture": picture, "size": [pixels.shape[1], pixels.shape[0]], "rate": rate, "seed": seed,
                    **code.figures, "cpu_seconds": encoded - started,
                    "decode_cpu_seconds": time.process_time() - encoded,
                    "at_equal_bytes": {name: None if math.isnan(psnr) else psnr for name, psnr in at.items()},
                    "dropped": dropped,
                })  # fmt: skip
    return rows


def _tell(progress: Progress) -> None:
    if progress.step % 100 == 0:
        print(f"  step {progress.step}: {progress.figures}", file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    names = list(rows[0]["at_equal_bytes"])
    lines = [
        "| picture | seed | bytes | bits per pixel | ours | " + " | ".join(names) + " | 95 % dropped | CPU-s |",
        "|---" * (len(names) + 7) + "|",
    ]
    for row in rows:
        others = [_decibels(row["at_equal_bytes"][name]) for name in names]
        cells = [
            row["picture"], row["seed"], row["bytes"], f"{row['bits_per_pixel']:.2f}", f"**{row['psnr']:.2f}**",
            *others, _decibels(row["dropped"]["dct"]), f"{row['cpu_seconds']:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _decibels(psnr: float | None) -> str:
    return "-" if psnr is None else f"{psnr:.2f}"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=PICTURES, metavar="NAME[:N]")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="bits per pixel")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,))
    parser.add_argument("--threads", type=int, default=1, help="of the networks' products (1)")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure(options.pictures, options.rates, steps=options.steps, seeds=options.seeds)
    found = machine()
    print(" ".join(f"{key} {value}" for key, value in found.items()))
    print(table(rows))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"machine": found, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
