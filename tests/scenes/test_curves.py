"""Transfer curves: decoded, encoded and their slopes; named by PNGs, and of high dynamic range."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers._curves import CURVES_BY_CODE, HDR_NAMES, hdr_to_srgb
from nerfkit.scenes.readers._profiles import bt2020_profile
from nerfkit.scenes.readers.frames import CURVE_NAMES, read_frames
from nerfkit.scenes.transfer import CURVES, TRANSFERS, Transfer, encode_srgb


@pytest.mark.parametrize("curve", CURVES)
def test_curves_come_back_and_meet_white_and_black(curve):
    values = torch.linspace(-0.1, 1.2, 500, dtype=torch.float64)
    found = CURVES[curve]
    torch.testing.assert_close(found.encode(found.decode(values)), values, atol=2e-4, rtol=0)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(found.decode(ends), ends, atol=1e-7, rtol=0)
    assert (found.decode(values).diff() > 0).all()


@pytest.mark.parametrize("curve", CURVES)
def test_slopes_are_those_of_encoding(curve):
    radiance = torch.tensor([0.0008, 0.01, 0.05, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(CURVES[curve].encode(radiance).sum(), radiance)
    torch.testing.assert_close(CURVES[curve].slope(radiance.detach()), wanted)
    assert torch.isfinite(CURVES[curve].slope(torch.tensor([-1.0, 0.0]))).all()


@pytest.mark.parametrize(
    ("curve", "value", "radiance"),
    # BT.709-6, item 1.2; powers
    [("bt709", 0.5, 0.2596), ("bt709", 0.045, 0.01), ("gamma22", 0.5, 0.2176), ("gamma28", 0.5, 0.1436)],
)
def test_known_values(curve, value, radiance):
    (found,) = Transfer(curve, 1).channels(torch.tensor([[[value]]]))
    assert abs(float(found) - radiance) < 1e-4


def test_every_curve_that_files_name_is_known_further_on():
    assert set(CURVES_BY_CODE.values()) == set(HDR_NAMES) | set(CURVE_NAMES)
    assert set(CURVE_NAMES) == set(CURVES) | {"linear"} == set(TRANSFERS) - {"auto"}


@pytest.mark.parametrize(
    ("curve", "value", "radiance"),
    # SMPTE ST 2084: 203, 100 and 1 cd/m2; BT.2100 HLG: 75 %, 50 % is a twelfth; H.273: two decades and a half
    [
        ("pq", 0.58069, 1.0), ("pq", 0.50808, 100 / 203), ("pq", 0.14995, 1 / 203), ("hlg", 0.75, 1.0),
        ("hlg", 0.5, 1 / 12 / 0.2645), ("log100", 0.5, 0.1), ("log316", 0.6, 0.1),
    ],
)  # fmt: skip
def test_high_dynamic_range_has_sdr_white_at_1(curve, value, radiance):
    found = hdr_to_srgb(np.array([value, 0.0, 1.0], np.float32), curve)
    assert abs(found[0] - float(encode_srgb(torch.tensor(radiance)))) < 2e-3
    assert found[1] < 1e-3 and found[2] == 1


# --- PNG ---


def write_png(path, *chunks, colours=3, depth=np.uint8, profile=None):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (6, 8, colours)).astype(depth)
    image = Image.fromarray(pixels.squeeze() if colours == 1 else pixels)
    image.save(path, icc_profile=profile)
    content = path.read_bytes()
    extra = b""
    for name, data in chunks:
        extra += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content[:33] + extra + content[33:])  # after IHDR
    return pixels.squeeze() / np.float32(np.iinfo(depth).max)


def gamma(value):
    return (b"gAMA", struct.pack(">I", round(value * 100_000)))


def cicp(code):
    return (b"cICP", bytes([9, code, 0, 1]))


SRGB = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "curve"),
    [
        ((), None),
        ((gamma(1.0),), "linear"),
        ((gamma(1 / 2.2),), None),
        ((SRGB, gamma(1.0)), None),  # the specification ranks sRGB before gAMA
        ((cicp(8),), "linear"),
        ((cicp(13),), "srgb"),
        ((cicp(1), gamma(1.0)), "bt709"),
        ((cicp(16),), "srgb"),
        ((cicp(18), SRGB), "srgb"),
        ((cicp(2), gamma(1.0)), None),
    ],
)
@pytest.mark.parametrize(("colours", "depth"), [(1, np.uint8), (3, np.uint8), (1, np.uint16)])
def test_pngs_name_their_curve(tmp_path, chunks, curve, colours, depth):
    pixels = write_png(tmp_path / "f.png", *chunks, colours=colours, depth=depth)
    findings = Findings()
    frames = read_frames(tmp_path / "f.png", findings=findings)
    assert frames.curve == curve
    hdr = next((CURVES_BY_CODE[data[1]] for name, data in chunks if name == b"cICP" and data[1] in (16, 18)), None)
    np.testing.assert_allclose(frames.images[0], pixels if hdr is None else hdr_to_srgb(pixels, hdr), atol=1e-6)
    assert len(findings) == (hdr is not None or curve == "linear")
    if hdr:
        assert f"high dynamic range (curve {HDR_NAMES[hdr]})" in findings[0].what


def test_a_profile_goes_before_gamma(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_png(tmp_path / "f.png", gamma(1.0), profile=profile)
    frames = read_frames(tmp_path / "f.png")
    assert frames.curve is None and frames.icc_profiles == [profile]


def test_frames_that_name_different_curves_are_said(tmp_path):
    write_png(tmp_path / "1.png", gamma(1.0))
    write_png(tmp_path / "2.png")
    findings = Findings()
    read_frames(tmp_path, findings=findings)
    assert "names another transfer curve than 1.png (2.png)" in findings[0].what


def test_the_profile_of_bt2020_is_what_viewers_make_of_it():
    opened = ImageCms.ImageCmsProfile(io.BytesIO(bt2020_profile()))
    assert ImageCms.getProfileDescription(opened).strip() == "BT.2020 with the curve of sRGB"
    # BT.2087: linear BT.709 to BT.2020; greys stay, and colours of sRGB come back
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    wanted = np.array([[0.2, 0.2, 0.2], [1, 1, 1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.2], [0.1, 0.2, 0.9]])
    stored = encode_srgb(torch.from_numpy(wanted @ to_2020.T)).numpy()
    image = Image.fromarray((255 * stored[None]).round().astype(np.uint8))
    shown = ImageCms.profileToProfile(image, opened, ImageCms.createProfile("sRGB"))
    assert shown is not None
    np.testing.assert_allclose(np.asarray(shown)[0], 255 * encode_srgb(torch.from_numpy(wanted)).numpy(), atol=5)


# --- pixels that are not square ---


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("f.png", {"phys": (27, 32, 0)}, "the pixels are 32:27, not square: the frames' 8x6 are shown as 9x6"),
        ("f.png", {"dpi": (300, 300)}, ""),
        ("f.png", {"dpi": (200, 100)}, "the pixels are 1:2, not square"),
        ("f.jpg", {"dpi": (100, 200)}, "the pixels are 2:1, not square"),
        ("f.jpg", {"dpi": (72, 72)}, ""),
        ("f.tif", {"dpi": (100, 200)}, "the pixels are 2:1, not square"),
        ("f.tif", {}, ""),
        ("f.png", {"phys": (1, 1000, 0)}, ""),  # nonsense
    ],
)
def test_pictures_of_pixels_that_are_not_square_are_said(tmp_path, name, options, said):
    options = dict(options)
    phys = options.pop("phys", None)
    if phys:
        write_png(tmp_path / name, (b"pHYs", struct.pack(">IIB", *phys)))
    else:
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / name, **options)
    findings = Findings()
    read_frames(tmp_path, findings=findings)
    assert len(findings) == bool(said)
    assert not said or said in findings[0].what
