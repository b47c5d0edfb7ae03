"""Arrays of frames in any order of axes and any type: by what is alike along which axis, or refused with the mend."""

import re

import numpy as np
import pytest

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.frames import read_frames

N, HEIGHT, WIDTH = 14, 40, 52


def scene(n=N, height=HEIGHT, width=WIDTH, seed=0, colours=False, motion=3, noise=4.0):
    """Frames uint8 of one scene that moves by up to ``motion`` pixels: blobs and edges, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: height + 2 * motion, : width + 2 * motion]
    fine = np.zeros(y.shape)
    for _ in range(25):
        cy, cx, r = rng.uniform(0, y.shape[0]), rng.uniform(0, y.shape[1]), rng.uniform(2, 9)
        fine = np.where((y - cy) ** 2 + (x - cx) ** 2 < r * r, rng.uniform(30, 220), fine)
    frames = []
    for _ in range(n):
        dy, dx = rng.integers(0, 2 * motion + 1, 2)
        frames.append(fine[dy : dy + height, dx : dx + width])
    stack = np.stack(frames)
    if colours:
        stack = np.stack([stack, 255 - stack, stack // 2 + 40], -1)
    return (stack + rng.normal(0, noise, stack.shape)).clip(0, 255).round().astype(np.uint8)


def read(tmp_path, array, **named):
    findings = Findings()
    np.savez(tmp_path / "f.npz", array, **named)
    return read_frames(tmp_path / "f.npz", findings=findings), [finding.what for finding in findings]


def error_of(tmp_path, array):
    with pytest.raises(NerfkitError) as caught:
        read(tmp_path, array)
    return str(caught.value)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("n", [2, 14, 40])
def test_grey_frames_along_any_axis(tmp_path, axis, n, seed):
    stack = scene(n, seed=seed)
    frames, said = read(tmp_path, np.moveaxis(stack, 0, axis))
    np.testing.assert_array_equal(frames.images, stack / np.float32(255))
    assert len(said) == (axis != 0) and all(f"read as {n} grey frames of {WIDTH}x{HEIGHT}" in text for text in said)


@pytest.mark.parametrize(
    ("order", "shape"),
    [
        ((0, 1, 2, 3), "nhwc"),
        ((0, 3, 1, 2), "nchw"),
        ((1, 2, 3, 0), "hwcn"),
        ((1, 2, 0, 3), "hwnc"),
        ((3, 0, 1, 2), "cnhw"),
    ],
)
@pytest.mark.parametrize("n", [2, 14])
def test_colour_frames_in_any_order(tmp_path, order, shape, n):
    stack = scene(n, colours=True)
    frames, said = read(tmp_path, stack.transpose(order))
    np.testing.assert_array_equal(frames.images, stack / np.float32(255))
    assert len(said) == (shape != "nhwc")


def test_alpha_before_the_sides(tmp_path):
    stack = np.concatenate([scene(colours=True), np.full((N, HEIGHT, WIDTH, 1), 99, np.uint8)], -1)
    frames, _ = read(tmp_path, np.moveaxis(stack, -1, 1))
    assert frames.images.shape == (N, HEIGHT, WIDTH, 3) and frames.alpha is not None and (frames.alpha < 0.4).all()


@pytest.mark.parametrize(
    "shape", [(N, HEIGHT, WIDTH, 1), (N, 1, HEIGHT, WIDTH), (1, N, HEIGHT, WIDTH), (N, 1, HEIGHT, WIDTH, 1)]
)
def test_axes_of_one_entry(tmp_path, shape):
    stack = scene()
    np.testing.assert_array_equal(read(tmp_path, stack.reshape(shape))[0].images, stack / np.float32(255))


def test_one_frame(tmp_path):
    stack = scene(1)
    for array in (stack[0], stack, stack[0][..., None]):
        assert read(tmp_path, array)[0].images.shape == (1, HEIGHT, WIDTH)
    colour = scene(1, colours=True)
    for array in (colour, np.moveaxis(colour, -1, 1)):
        assert read(tmp_path, array)[0].images.shape == (1, HEIGHT, WIDTH, 3)


def test_frames_that_numpy_numbered(tmp_path):
    stack = scene(12)
    np.savez(tmp_path / "f.npz", *stack)  # arr_10 comes after arr_9
    np.testing.assert_array_equal(read_frames(tmp_path / "f.npz").images, stack / np.float32(255))
    np.savez(tmp_path / "f.npz", stack[0], stack[1, 1:])
    with pytest.raises(NerfkitError, match=r"its 2 arrays have shapes \(39, 52\), \(40, 52\); frames of one size"):
        read_frames(tmp_path / "f.npz")


@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 5, 6])
def test_every_shape_is_read_or_refused(tmp_path, n_dims):
    rng = np.random.default_rng(n_dims)
    for _ in range(60):
        shape = tuple(rng.choice([1, 2, 3, 4, 5, 9, 16], n_dims).tolist())
        try:
            frames, _ = read(tmp_path, rng.integers(0, 256, shape, np.uint8))
        except NerfkitError as error:
            assert f"have shape {shape}" in error.what and error.fix
            continue
        n_values = frames.images.size + (0 if frames.alpha is None else frames.alpha.size)
        assert n_values == np.prod(shape) or frames.alpha is None


@pytest.mark.parametrize("motion", [0, 3, 8])
@pytest.mark.parametrize("noise", [0.0, 4.0, 25.0])
def test_frames_in_the_documented_order_stay(tmp_path, motion, noise):
    stack = scene(20, motion=motion, noise=noise)
    np.testing.assert_array_equal(read(tmp_path, stack)[0].images, stack / np.float32(255))


def test_noise_and_flat_frames_stay_in_the_documented_order(tmp_path):
    rng = np.random.default_rng(0)
    for array in (rng.integers(0, 256, (30, 24, 32), np.uint8), np.full((30, 24, 32), 7, np.uint8)):
        assert read(tmp_path, array)[0].images.shape == (30, 24, 32)


@pytest.mark.parametrize(
    ("array", "mend"),
    [
        # a picture or three of them
        (scene(1, colours=True)[0], "a[None] if it is one frame of 3 colours, np.moveaxis(a, -1, 0) if"),
        # nothing in them tells, and the documented order makes frames of 8 x 64
        (np.full((64, 64, 8), 7, np.uint8), "np.moveaxis(a, -1, 0) if it is 8 frames; a[..., None] if it"),
        # three frames of four colours, or four of three
        (scene(4, colours=True).transpose(1, 2, 3, 0), "np.moveaxis(a, (2, 3), (0, -1)) if axis 2 counts frames and 3"),
        (scene(N)[..., None].repeat(2, -1), "none of its axes is of 3 or 4 colours"),
        (scene(N)[None, None].repeat(2, 0).repeat(2, 1), "take one entry"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_with_the_mend(tmp_path, array, mend):
    message = error_of(tmp_path, array)
    assert f"have shape {array.shape}" in message and mend in message
    for line in re.findall(r"np\.moveaxis\(a, (?:-?\d+|\([-\d, ]+\)), (?:0|\(0, -1\))\)", message):
        assert eval(line, {"a": array, "np": np}).ndim == array.ndim  # the line is right as it stands


def test_the_mend_of_narrow_frames_is_read(tmp_path):
    array = np.full((64, 64, 8), 7, np.uint8)
    assert read(tmp_path, array[..., None])[0].images.shape == (64, 64, 8)
    assert read(tmp_path, np.moveaxis(array, -1, 0))[0].images.shape == (8, 64, 64)


@pytest.mark.parametrize(
    ("change", "bits", "white"),
    [
        (lambda a: a > 99, 8, None),
        (lambda a: a.astype(np.int64), 8, 255),
        (lambda a: a.astype(np.int8).clip(0), 8, None),
        (lambda a: a.astype(np.int16) * 16, 16, 65535 / 16),
        (lambda a: a.astype(np.uint16) * 16, 16, 65535 / 16),
        (lambda a: a.astype(np.uint32) * 257, 16, 255),
        (lambda a: a.astype(np.float64), 8, 255),
        (lambda a: a.astype(np.float32) * 257, 16, 255),
        (lambda a: a.astype(np.float32) + 0.25, 32, None),
        (lambda a: a.astype(np.float64) / 255, 32, 255),
        (lambda a: a.astype(np.float16) / 255, 32, 255),
        (lambda a: a.astype(">f4") / 255, 32, 255),
    ],
)
def test_types_by_their_range(tmp_path, change, bits, white):
    stack = scene()
    frames, _ = read(tmp_path, change(stack))
    assert frames.bit_depth == bits and frames.images.shape == stack.shape
    assert frames.images.min() >= 0 and frames.images.max() <= 1.01
    if white:
        np.testing.assert_allclose(frames.images, stack / white, atol=1e-3)


def test_floats_of_another_unit_are_said(tmp_path):
    frames, said = read(tmp_path, scene() + 0.25)
    np.testing.assert_allclose(frames.images, (scene() + 0.25) / 255, atol=1e-6)
    assert "255 is taken for white" in said[0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (scene().astype(np.int16) - 100, r"int16 from -\d+ to \d+; whole .*astype\(np\.int64\) \+ 32768"),
        (scene().astype(np.int64) * 10**6, r"int64 from 0 to \d+; whole numbers .*np\.ptp\(a\)"),
        (scene().astype(np.int64) + 10**6, r"whole numbers .*\(a - a\.min\(\)\)\.astype\(np\.uint16\)"),
        (scene() * 1j, r"are complex128; .*np\.abs\(a\)"),
        (np.array([scene(1)[0], "x"], dtype=object), r"Object arrays.*np\.stack"),
        (np.zeros((0, 4, 6), np.uint8), r"have shape \(0, 4, 6\)"),
        (-scene().astype(np.float32), r"frame 0 holds floats from"),
    ],
)  # fmt: skip
def test_values_that_are_refused_with_the_mend(tmp_path, array, message):
    assert re.search(message, error_of(tmp_path, array))


@pytest.mark.parametrize("dark", [0, 3])
def test_exposures_that_differ_are_no_evidence_against_the_documented_order(tmp_path, dark):
    rng = np.random.default_rng(0)
    scene = rng.random((24, 24)).astype(np.float32)
    frames = np.stack([scene * exposure for exposure in rng.uniform(0.2, 1.0, 8)]) + rng.normal(0, 0.1, (8, 24, 24))
    frames[:dark] = 0
    np.savez(tmp_path / "a.npz", frames=np.clip(frames, 0, 1).astype(np.float32))
    assert read_frames(tmp_path / "a.npz").images.shape == (8, 24, 24)
