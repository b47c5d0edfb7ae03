"""A scene of strokes and the low-resolution frames of it, for the tests of super-resolution."""

import json
import math

import numpy as np
import torch

from nerfkit.cli import main
from nerfkit.picture_files import png_bytes_of_depth
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf

# fine pixels along a low-res one, low-res pixels round the frame, side of a frame
FINE, MARGIN, SIDE = 8, 3, 24
BOX = Psf()


def fine_scene(seed=0, side=SIDE):
    """Dark strokes of all directions on bright paper, ``FINE`` pixels a low-res one."""
    rng = np.random.default_rng(seed)
    n = (side + 2 * MARGIN) * FINE
    y, x = np.mgrid[:n, :n] / FINE
    image = np.full((n, n), 0.9)
    for _ in range(24):
        cx, cy = rng.uniform(0, side + 2 * MARGIN, 2)
        angle = rng.uniform(0, math.pi)
        along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
        across = -(x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
        image[(np.abs(along) < 3) & (np.abs(across) < 0.35)] = 0.15
    return image


def means(fine, dx, dy, side, step):
    """Means over squares of ``step`` fine pixels of the frame at a shift in low-res pixels."""
    top, left = (round((MARGIN + shift) * FINE) for shift in (dy, dx))
    part = fine[top : top + side * FINE, left : left + side * FINE]
    return part.reshape(side * FINE // step, step, side * FINE // step, step).mean((1, 3))


def make_frames(n=16, noise=0.005, seed=0, side=SIDE):
    """Frames [n, side, side], shifts [n, 2] in eighths of a low-res pixel, the first 0, and the 2x truth."""
    rng = np.random.default_rng(seed + 1)
    fine = fine_scene(seed, side)
    shifts = np.round(rng.uniform(-1, 1, (n, 2)) * FINE) / FINE
    shifts[0] = 0
    frames = np.stack([means(fine, dx, dy, side, FINE) for dx, dy in shifts])
    frames = frames + rng.normal(0, noise, frames.shape)
    return frames.astype(np.float32), shifts, means(fine, 0, 0, side, FINE // 2).astype(np.float32)


def two_planes(n=20, noise=0.005, side=40):
    """Frames of a scene whose lower part is nearer: it drifts by two low-res pixels more; and by how much [n]."""
    rng = np.random.default_rng(3)
    far, near = fine_scene(2, side), fine_scene(5, side)
    shake = rng.uniform(-0.7, 0.7, (n, 2))
    shake[0] = 0
    drift = np.linspace(0, 2, n)
    frames = []
    for (dx, dy), more in zip(np.round(shake * 8) / 8, np.round(drift * 8) / 8, strict=True):
        upper, lower = means(far, dx, dy, side, FINE), means(near, dx + more, dy, side, FINE)
        frames.append(np.concatenate([upper[: side // 2], lower[side // 2 :]]))
    truth = np.concatenate([means(far, 0, 0, side, FINE // 2)[:side], means(near, 0, 0, side, FINE // 2)[side:]])
    frames = 0.15 + 0.7 * np.stack(frames)
    return (frames + rng.normal(0, noise, frames.shape)).astype(np.float32), drift, 0.15 + 0.7 * truth


def turned_frames(n=10, side=32, perspective=0.0, degrees=1.5):
    """Frames of a fine scene turned by up to some degrees and moved, as means of bilinear samples, and the matrices."""
    spare = int(degrees // 2)  # low-res pixels more for the corners
    fine = torch.from_numpy(fine_scene(3, side + 2 * spare)).float()
    rng = np.random.default_rng(4)
    matrices = np.tile(np.eye(3), (n, 1, 1))
    for matrix in matrices[1:]:
        angle = math.radians(rng.uniform(-degrees, degrees))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix[:2, :2] = turn @ np.diag(rng.uniform(0.99, 1.01, 2))
        matrix[:2, 2] = side / 2 - matrix[:2, :2] @ np.full(2, side / 2) + rng.uniform(-0.7, 0.7, 2)
        matrix[2, :2] = rng.uniform(-perspective, perspective, 2)
    view = LowresView(Motion.of_matrices(torch.from_numpy(matrices)), (side, side))
    samples, _ = view.sample(Grid(side, side, FINE, MARGIN + spare), fine)
    noise = rng.normal(0, 0.005, samples.values.shape)
    return (samples.values.numpy() + noise).astype(np.float32), matrices


def motion_of(given):
    """The motion of shifts [n, 2] or matrices [n, 3, 3], arrays or tensors."""
    given = torch.as_tensor(given, dtype=torch.float64)
    return Motion.of_shifts(given) if given.ndim == 2 else Motion.of_matrices(given)


def measured(frames, given, psf=BOX):
    """Frames [n, h, w], all pixels alike, and their view by shifts or matrices."""
    stack = FrameStack.of(torch.as_tensor(frames))
    return stack, LowresView(motion_of(given), (frames.shape[2], frames.shape[1]), psf)


def rms(a, b):
    return float(np.sqrt(np.mean(np.square(np.asarray(a) - np.asarray(b)))))


def write(folder, frames, bits=8):
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        (folder / f"f{index}.png").write_bytes(png_bytes_of_depth(np.clip(frame, 0, 1), bits))
    return folder


def write_csv(path, shifts):
    rows = [f"f{index}.png,{dx},{dy}" for index, (dx, dy) in enumerate(shifts)]
    path.write_text("\n".join(["file,dx,dy", *rows]) + "\n")
    return path


def run(capsys, *arguments):
    """Exit code and the JSON of ``nerfkit ...``."""
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])
