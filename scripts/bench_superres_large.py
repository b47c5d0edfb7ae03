"""Large frames: seconds, peak memory and PSNR of `nerfkit superres`.

    python scripts/bench_superres_large.py [--side 500] [--frames 64] [--scale 4] [--colour] [--transfer auto]
        [--seconds 540] [--json FILE]

The scene is a page of text whose right half is photographs that scikit-image carries, side by side; in colour, paper
and ink have colours of their own, and frames are averaged in light, as a sensor does. Frames are 8-bit PNGs with noise
of 0.01; shifts are not given. nerfkit runs as a user runs it; the memory is the largest resident set of its process,
the seconds are wall time from start to exit.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

# read when torch and numba load OpenMP: threads that spin while they wait take the cores from those that work
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from benchmarking import Row, nerfkit, publish
from numpy.typing import NDArray
from superres_problems import draw_text, means

from nerfkit.superres.light import decode_srgb, encode_srgb
from nerfkit.superres.picture_files import picture_bytes

# fine pixels along a pixel of the truth, which is what shifts are whole numbers of
FINE = 2
NOISE, SIZES = 0.01, (15, 21, 30)
# file values of paper and of ink in a page of colour
PAPER, INK = (0.98, 0.93, 0.8), (0.1, 0.1, 0.35)


def large_scenes(side: int, scale: int, *, is_colour: bool) -> list[NDArray[np.float32]]:
    """File values [n, n] of each channel, of ``side`` low-res pixels and one more at each side, ``FINE`` a true one."""
    from skimage import color, data

    text = draw_text(side * scale, scale, SIZES, seed=1, fine=FINE)
    if not is_colour:
        return [_with_photos(text, [data.camera() / 255.0, color.rgb2gray(data.astronaut())])]
    photos = [data.astronaut() / 255.0, data.coffee()[:, :512] / 255.0]
    return [
        _with_photos(low + (high - low) * text, [photo[..., channel] for photo in photos])
        for channel, (low, high) in enumerate(zip(INK, PAPER, strict=True))
    ]


def _with_photos(page: NDArray[np.float32], photos: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """A page with photos of equal width in its right half."""
    fine = page.copy()
    strip = np.concatenate([np.kron(photo, np.ones((FINE, FINE))) for photo in photos])
    n, width = len(fine), strip.shape[1]
    for left in range(n // 2, n, width):
        strip = np.roll(strip, strip.shape[0] // 2, axis=0)
        part = np.resize(strip, (n, width))[:, : n - left]
        fine[:, left : left + width] = part
    return fine


def write_frames(folder: Path, side: int, n_frames: int, scale: int, *, is_colour: bool) -> Path:
    """Write frames and ``truth.png`` of 16 bits beside them; returns the truth's path."""
    scenes = large_scenes(side, scale, is_colour=is_colour)
    if is_colour:
        scenes = [decode_srgb(torch.from_numpy(np.float32(scene))).numpy() for scene in scenes]
    rng = np.random.default_rng(0)
    step, margin = scale * FINE, scale * FINE
    moves = rng.integers(-margin, margin + 1, (n_frames, 2))
    moves[0] = 0

    def seen(move: NDArray, size: int, every: int) -> NDArray[np.float32]:
        parts = np.stack([means(scene, margin + move, (size, size), every) for scene in scenes], axis=-1)
        return encode_srgb(torch.from_numpy(parts)).numpy() if is_colour else parts[..., 0]

    folder.mkdir()
    for index, move in enumerate(moves):
        frame = seen(move, side, step)
        frame = frame + rng.normal(0, NOISE, frame.shape)
        (folder / f"{index:03}.png").write_bytes(picture_bytes(frame, ".png", 8))
    truth = folder.with_name("truth.png")
    truth.write_bytes(picture_bytes(seen(np.zeros(2, int), side * scale, FINE), ".png", 16))
    return truth


def main() -> None:
    """Make the frames, run nerfkit, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=500, help="of a frame, pixels (default: 500)")
    parser.add_argument("--frames", type=int, default=64, help="number of frames (default: 64)")
    parser.add_argument("--scale", type=int, default=4, help="output pixels along a low-res one (default: 4)")
    parser.add_argument("--colour", action="store_true", help="RGB frames")
    parser.add_argument("--transfer", default="auto", help="of `nerfkit superres` (default: auto)")
    parser.add_argument("--seconds", type=float, default=540, help="budget of nerfkit (default: 540)")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        frames, out = Path(name) / "frames", Path(name) / "out.png"
        truth = write_frames(frames, options.side, options.frames, options.scale, is_colour=options.colour)
        started = time.perf_counter()
        result = nerfkit(
            "superres", str(frames), "-o", str(out), "--scale", str(options.scale), "--seconds", str(options.seconds),
            "--truth", str(truth), "--transfer", options.transfer,
        )  # fmt: skip
        seconds = time.perf_counter() - started
    # kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    kind = "colour" if options.colour else "grey"
    what = f"{options.frames} {kind} frames of {options.side} x {options.side}, {options.scale}x"
    command = f"nerfkit superres FRAMES --scale {options.scale} --seconds {options.seconds:g}"
    command += "" if options.transfer == "auto" else f" --transfer {options.transfer}"
    is_goal = (options.side, options.frames, options.scale, options.colour) == (500, 64, 4, False)
    rows = [
        Row(f"{what}: from start to exit", seconds, "s", "<= 600 s" if is_goal else "", command),
        Row(f"{what}: peak memory", peak, "GB", "<= 3 GB" if is_goal else "", command),
        Row(f"{what}: PSNR, interior", result["psnr_interior"], "dB", "", command),
        Row(f"{what}: SSIM", result["ssim"], "", "", command),
    ]
    publish(rows, options.json)


if __name__ == "__main__":
    main()
