"""Large frames: seconds, peak memory, error of the registration and PSNR of `nerfkit superres`.

    python scripts/bench_superres_large.py [--side 500] [--frames 64] [--scale 4] [--colour] [--transfer auto]
        [--register shift] [--seconds 540] [--registration-only] [--json FILE]

The scene is a page of text whose right half is photographs that scikit-image carries, side by side; in colour, paper
and ink have colours of their own, and frames are averaged in linear radiance, as a sensor does. Frames are 8-bit PNGs
with noise of 0.01; how they move is not given. With `--register affine` they are turned by up to half a degree and
stretched by up to 0.2 %, with `homography` seen at an angle as well, which moves their sides' middles by up to a
low-res pixel.
nerfkit runs as a user runs it; the memory is the largest resident set of its process, the seconds are wall time from
start to exit. The error of the registration is over the whole frame and all frames but the reference.
`--registration-only` leaves out all that comes after it.
"""

from __future__ import annotations

import argparse
import csv
import math
import resource
import tempfile
import time
from pathlib import Path

from nerfkit.cpu import wait_briefly

wait_briefly()

import numpy as np
import torch
from benchmarking import Row, nerfkit, publish
from numpy.typing import NDArray
from superres_problems import draw_text, means

from nerfkit.limits import Limit
from nerfkit.picture_files import picture_bytes
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.transfer import decode_srgb, encode_srgb
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.running import compile_loops
from nerfkit.superresolution.settings import SuperresSettings

# fine pixels along a pixel of the truth; frames are means of linear samples of them
FINE = 2
NOISE, SIZES = 0.01, (15, 21, 30)
# file values of paper and of ink in a page of colour
PAPER, INK = (0.98, 0.93, 0.8), (0.1, 0.1, 0.35)
# low-res pixels beyond each side that frames see: with shifts alone, and at a side of 1000 turned as well
SHIFT_MARGIN, TURNED_MARGIN = 1, 9
# greatest turn, degrees, and stretch; what perspective moves the middle of a side by, low-res pixels
TURN, STRETCH, PERSPECTIVE = 0.5, 0.002, 1.0


def large_scenes(side: int, scale: int, margin: int, *, is_colour: bool) -> list[NDArray[np.float32]]:
    """File values [n, n] of each channel, of ``side`` low-res pixels and a margin, ``FINE`` a true pixel."""
    from skimage import color, data

    text = draw_text(side * scale, margin * scale, SIZES, seed=1, fine=FINE)
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


def draw_motions(side: int, n_frames: int, motion: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Matrices [n_frames, 3, 3] from frame to reference pixels; shifts of up to a pixel."""
    matrices = np.tile(np.eye(3), (n_frames, 1, 1))
    matrices[1:, :2, 2] = rng.uniform(-1, 1, (n_frames - 1, 2))
    if motion == "shift":
        return matrices
    middle = np.eye(3)
    middle[:2, 2] = side / 2
    for matrix in matrices[1:]:
        angle = math.radians(rng.uniform(-TURN, TURN))
        bent = np.eye(3)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        bent[:2, :2] = turn * (1 + rng.uniform(-STRETCH, STRETCH, 2))
        if motion == "homography":
            # a point at distance d from the middle moves by d times this row's product with it
            bent[2, :2] = rng.uniform(-PERSPECTIVE, PERSPECTIVE, 2) * 4 / side**2
        matrix[:] = matrix @ middle @ bent @ np.linalg.inv(middle)
    return matrices


def write_frames(
    folder: Path, side: int, n_frames: int, scale: int, motion: str, *, is_colour: bool
) -> tuple[Path, NDArray[np.float64]]:
    """Write frames and ``truth.png`` of 16 bits beside them; returns the truth's path and the frames' matrices."""
    margin = SHIFT_MARGIN if motion == "shift" else TURNED_MARGIN
    scenes = large_scenes(side, scale, margin, is_colour=is_colour)
    if is_colour:
        scenes = [decode_srgb(torch.from_numpy(np.float32(scene))).numpy() for scene in scenes]
    rng, step = np.random.default_rng(0), scale * FINE
    matrices = draw_motions(side, n_frames, motion, rng)
    grid = Grid(side, side, step, margin)

    def encoded(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return encode_srgb(torch.from_numpy(np.stack(parts, axis=-1))).numpy() if is_colour else parts[0]

    folder.mkdir()
    for index, matrix in enumerate(matrices):
        view = LowresView(Motion.of_matrices(torch.from_numpy(matrix[None])), (side, side))
        frame = encoded([view.sample(grid, torch.from_numpy(scene))[0].values[0].numpy() for scene in scenes])
        frame = frame + rng.normal(0, NOISE, frame.shape)
        (folder / f"{index:03}.png").write_bytes(picture_bytes(frame, ".png", 8))
    truth, corner = folder.with_name("truth.png"), np.full(2, margin * step)
    parts = [means(scene, corner, (side * scale, side * scale), FINE) for scene in scenes]
    truth.write_bytes(picture_bytes(encoded(parts), ".png", 16))
    return truth, matrices


def registration_error(found: NDArray[np.float64], true: NDArray[np.float64], side: int) -> float:
    """Distance, low-res pixels, of where frames look from where they do in truth: rms over pixels and frames."""
    x, y = np.meshgrid(*[np.arange(0.5, side, 5)] * 2)
    points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])

    def seen(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
        there = matrices[1:] @ points
        return there[:, :2] / there[:, 2:]

    return float(np.sqrt(np.square(seen(found) - seen(true)).sum(1).mean()))


def read_registered(path: Path) -> NDArray[np.float64]:
    """Matrices [n_frames, 3, 3] of registered.csv."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    matrices = np.tile(np.eye(3), (len(rows), 1, 1))
    for matrix, row in zip(matrices, rows, strict=True):
        if "dx" in row:
            matrix[:2, 2] = float(row["dx"]), float(row["dy"])
        else:
            matrix[:] = np.reshape([float(row[f"h{i}{j}"]) for i in range(3) for j in range(3)], (3, 3))
    return matrices


def register_only(folder: Path, options: argparse.Namespace, true: NDArray[np.float64]) -> list[Row]:
    """Seconds and error of the registration alone, within the budget."""
    read = read_frames(folder)
    settings = SuperresSettings(
        scale=options.scale, frame_size=(options.side,) * 2, n_channels=3 if options.colour else 1,
        transfer="srgb" if options.colour else "linear", register=options.register,
    )  # fmt: skip
    compile_loops(settings, "cpu")
    started = time.perf_counter()
    aligned = Alignment(read.images, settings, limit=Limit(options.seconds), say=print)
    aligned.register()
    seconds = time.perf_counter() - started
    error = registration_error(aligned.view.motion.matrices.numpy(), true, options.side)
    command = f"python scripts/bench_superres_large.py --side {options.side} --frames {options.frames} "
    command += f"--register {options.register} --seconds {options.seconds:g} --registration-only"
    command += " --colour" if options.colour else ""
    what = f"{options.frames} frames of {options.side} x {options.side}, {options.register}"
    return [
        Row(f"{what}: error of the registration, rms", error, "pixels", "", command),
        Row(f"{what}: registration", seconds, "s", "", command),
    ]


def main() -> None:
    """Make the frames, run nerfkit, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=500, help="of a frame, pixels (default: 500)")
    parser.add_argument("--frames", type=int, default=64, help="number of frames (default: 64)")
    parser.add_argument("--scale", type=int, default=4, help="output pixels along a low-res one (default: 4)")
    parser.add_argument("--colour", action="store_true", help="RGB frames")
    parser.add_argument("--transfer", default="auto", help="of `nerfkit superres` (default: auto)")
    parser.add_argument(
        "--register",
        default="shift",
        choices=("shift", "affine", "homography"),
        help="how frames move (default: shift)",
    )
    parser.add_argument("--registration-only", action="store_true", help="measure the registration alone")
    parser.add_argument("--seconds", type=float, default=540, help="budget of nerfkit (default: 540)")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        frames, out = Path(name) / "frames", Path(name) / "out.png"
        truth, true = write_frames(
            frames, options.side, options.frames, options.scale, options.register, is_colour=options.colour
        )
        if options.registration_only:
            publish(register_only(frames, options, true), options.json)
            return
        started = time.perf_counter()
        result = nerfkit(
            "superres", str(frames), "-o", str(out), "--scale", str(options.scale), "--seconds", str(options.seconds),
            "--truth", str(truth), "--transfer", options.transfer, "--register", options.register,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        error = registration_error(read_registered(Path(name) / "out" / "registered.csv"), true, options.side)
    # kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    kind = "colour" if options.colour else "grey"
    what = f"{options.frames} {kind} frames of {options.side} x {options.side}, {options.scale}x"
    command = f"nerfkit superres FRAMES --scale {options.scale} --seconds {options.seconds:g}"
    command += "" if options.transfer == "auto" else f" --transfer {options.transfer}"
    command += f" --register {options.register}"
    what += "" if options.register == "shift" else f", {options.register}"
    is_goal = (options.side, options.frames, options.scale, options.colour, options.register) == (
        500, 64, 4, False, "shift",
    )  # fmt: skip
    rows = [
        Row(f"{what}: from start to exit", seconds, "s", "<= 600 s" if is_goal else "", command),
        Row(f"{what}: peak memory", peak, "GB", "<= 3 GB" if is_goal else "", command),
        Row(f"{what}: error of the registration, rms", error, "pixels", "", command),
        Row(f"{what}: PSNR, interior", result["psnr_interior"], "dB", "", command),
        Row(f"{what}: SSIM", result["ssim"], "", "", command),
    ]
    publish(rows, options.json)


if __name__ == "__main__":
    main()
