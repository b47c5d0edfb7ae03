"""Raw frames of a colour camera are told from those of a grey one, and from what only looks like a mosaic."""

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers._mosaic import has_mosaic
from nerfkit.scenes.readers.frames import read_frames

N, SIDE = 12, 64
# colour of each of the two by two pixels
LAYOUTS = {"RGGB": ((0, 1), (1, 2)), "GRBG": ((1, 0), (2, 1)), "GBRG": ((1, 2), (0, 1)), "BGGR": ((2, 1), (1, 0))}


def scene(seed=0, motion=2.0, noise=0.01, period=None):
    """Colour frames [n, h, w, 3] in [0, 1] that move by parts of a pixel: discs, and stripes of a period in pixels."""
    rng = np.random.default_rng(seed)
    fine = 4
    y, x = np.mgrid[: (SIDE + 8) * fine, : (SIDE + 8) * fine] / fine
    picture = np.full((*y.shape, 3), 0.4)
    for _ in range(30):
        cy, cx, r = rng.uniform(0, SIDE + 8), rng.uniform(0, SIDE + 8), rng.uniform(1, 9)
        picture[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.uniform(0.05, 0.95, 3)
    if period:
        picture *= 0.5 + 0.5 * (np.sin(2 * np.pi * x / period) > 0)[..., None]
    frames = []
    for _ in range(N):
        dy, dx = np.round((4 + rng.uniform(-motion, motion, 2)) * fine).astype(int)
        cut = picture[dy : dy + SIDE * fine, dx : dx + SIDE * fine]
        frames.append(cut.reshape(SIDE, fine, SIDE, fine, 3).mean((1, 3)))
    return np.clip(np.stack(frames) + rng.normal(0, noise, (N, SIDE, SIDE, 3)), 0, 1)


def mosaic(colour, layout):
    raw = np.empty(colour.shape[:3])
    for row, column in np.ndindex(2, 2):
        raw[:, row::2, column::2] = colour[:, row::2, column::2, layout[row][column]]
    return raw


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("noise", [0.002, 0.03])
def test_a_mosaic_of_any_layout(layout, seed, noise):
    assert has_mosaic(mosaic(scene(seed, noise=noise), LAYOUTS[layout]))


@pytest.mark.parametrize("gain", [1.0, 0.02])
def test_a_mosaic_on_a_narrow_range_and_in_one_frame(gain):
    raw = mosaic(scene(), LAYOUTS["RGGB"])
    assert has_mosaic(0.7 + gain * raw)
    assert has_mosaic(raw[:1])
    assert has_mosaic(raw[:, :-1, :-3])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"noise": 0.1}, {"motion": 0.0}, {"period": 2.2}, {"period": 4.0}])
def test_no_mosaic(seed, options):
    assert not has_mosaic(scene(seed, **options)[..., 1])


def test_rows_columns_and_enlarged_pixels_are_no_mosaic():
    grey = scene()[..., 1]
    rows, columns = grey.copy(), grey.copy()
    rows[:, ::2] *= 0.8  # interlaced
    columns[:, :, ::2] += 0.1  # two amplifiers
    enlarged = grey[:, :32, :32].repeat(2, 1).repeat(2, 2)
    for frames in (rows, columns, enlarged, np.zeros((3, SIDE, SIDE)), grey[:, :20, :20]):
        assert not has_mosaic(frames)


def test_frames_of_a_mosaic_are_said(tmp_path):
    raw = (65535 * mosaic(scene(), LAYOUTS["RGGB"])).astype(np.uint16)
    for i, frame in enumerate(raw):
        Image.fromarray(frame).save(tmp_path / f"{i:02d}.png")
    findings = Findings()
    read_frames(tmp_path, findings=findings)
    assert [finding.level for finding in findings] == ["warning"]
    assert "as those of a colour camera's mosaic (Bayer) do" in findings[0].what and "debayer" in findings[0].fix
    np.save(tmp_path / "raw.npy", raw[..., None].repeat(3, -1))  # grey that is stored as colour
    read_frames(tmp_path / "raw.npy", findings=findings)
    assert "mosaic" in findings[-1].what and len(findings) == 2
