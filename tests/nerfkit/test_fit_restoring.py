"""`nerfkit fit denoise` and `compress`: files in, files out, what is simulated is kept, mistakes are named."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage import data as skimage_data

import nerfkit
from nerfkit.cli import main


@pytest.fixture
def photo(tmp_path):
    """48 x 40 pixels of a photograph."""
    pixels = np.asarray(Image.fromarray(skimage_data.camera()).resize((48, 40), Image.Resampling.BOX))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def command(capsys, *words):
    code = main(["fit", *map(str, words), "--json", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    return code, json.loads(lines[-1]) if lines else {}


def test_simulated_noise_is_taken_away_and_kept_for_another_run(photo, tmp_path, capsys):
    out = tmp_path / "clean.png"
    code, found = command(capsys, "denoise", photo, "-o", out, "--simulate", "noise=0.1")
    assert code == 0 and found["chosen"]["noise"]["kind"] == "gaussian"
    assert abs(found["chosen"]["noise"]["level"] - 0.1) < 0.02
    baselines = found["baselines"]
    assert found["metrics"]["psnr"] > baselines["noisy"]["psnr"] + 3
    # a few hundred pixels judge the risk here: it is above the noisy picture's, and near nothing
    assert found["metrics"]["holdout_psnr"] > baselines["noisy"]["psnr"]
    assert {"noisy"} < set(baselines) and all(row["how"] for row in baselines.values())
    # the measurements alone give the same picture
    again = tmp_path / "again.png"
    code, _ = command(capsys, "denoise", tmp_path / "clean" / "measurements.npz", "-o", again)
    assert code == 0
    assert out.read_bytes() == again.read_bytes()
    page = (tmp_path / "clean" / "report.html").read_text()
    assert "what was removed" in page and "the noisy picture" in page


def test_alpha_stays_and_colour_is_denoised(tmp_path, photo):
    grey = np.asarray(Image.open(photo))
    rng = np.random.default_rng(0)
    rgba = np.dstack([np.clip(grey + rng.normal(0, 20, grey.shape), 0, 255).astype(np.uint8) for _ in range(4)])
    Image.fromarray(rgba).save(tmp_path / "noisy.png")
    nerfkit.fit("denoise", tmp_path / "noisy.png", tmp_path / "out.png", kind="gaussian", level=20 / 255)
    written = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(written[..., 3], rgba[..., 3])
    before, after = (np.square(x[..., 0].astype(float) - grey).mean() for x in (rgba, written))
    assert after < 0.7 * before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["denoise", "{photo}", "-o", "{out}.png", "--simulate", "noise=much"], "noise must be a number"),
        (["denoise", "{photo}", "-o", "{out}.png", "--simulate", "keep=1"], "keep is no key of denoise"),
        (["denoise", "{photo}", "-o", "{out}.png", "--simulate", "kind=rain"], "noise of kind 'rain' is not known"),
        (["denoise", "{photo}", "-o", "{out}.png", "--set", "level=0.1"], "level goes with a kind"),
        (["denoise", "{photo}", "-o", "{out}.png", "--simulate", "noise=0.1", "--truth", "{photo}"], "is the truth"),
        (["compress", "{photo}", "-o", "{out}.png"], "compress writes .nkc; got .png"),
        (["compress", "{photo}", "-o", "{out}.nkc", "--set", "rate=0"], "rate must be between 0.01 and 16"),
    ],
)
def test_every_mistake_is_named(photo, tmp_path, capsys, words, what):
    code, found = command(capsys, *(word.format(photo=photo, out=tmp_path / "out") for word in words))
    assert code == 2 and what in found["error"]["what"] and found["error"]["fix"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


def test_a_small_picture_is_refused(tmp_path, capsys):
    Image.fromarray(np.zeros((4, 9), np.uint8)).save(tmp_path / "a.png")
    code, found = command(capsys, "denoise", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert code == 2 and "has 9x4 pixels; 8 a side at least" in found["error"]["what"]


def test_damaged_measurements_are_named(tmp_path, capsys):
    np.savez(tmp_path / "m.npz", image=np.zeros((9, 9)), range=np.array([1.0, 1.0]), bit_depth=np.array(8))
    code, found = command(capsys, "denoise", tmp_path / "m.npz", "-o", tmp_path / "b.png")
    assert code == 2 and "has the range [1.0, 1.0] and 8 bits" in found["error"]["what"]


def test_a_compressed_picture_decodes_to_what_was_measured(photo, tmp_path, capsys):
    out = tmp_path / "photo.nkc"
    code, found = command(capsys, "compress", photo, "-o", out, "--steps", 20, "--set", "rate=3")
    assert code == 0 and found["metrics"]["bytes"] == out.stat().st_size
    assert {"jpeg", "dct", "dct, 95 % dropped", "fourier, 95 % dropped"} <= set(found["baselines"])
    assert main(["render", str(out), "--out", str(tmp_path / "back.png"), "--quiet"]) == 0
    back, pixels = (np.asarray(Image.open(path)).astype(float) for path in (tmp_path / "back.png", photo))
    assert found["metrics"]["psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(back - pixels).mean()), abs=1e-3)
    np.testing.assert_array_equal(nerfkit.load(out).pixels, back)
    page = (tmp_path / "photo" / "report.html").read_text()
    assert "Rate and distortion" in page and "95 % smallest" in page


def test_what_cannot_be_decoded_or_compressed_is_named(photo, tmp_path, capsys):
    (tmp_path / "bad.nkc").write_bytes(b"NKC" + bytes(40))
    assert main(["render", str(tmp_path / "bad.nkc"), "--out", str(tmp_path / "b.png")]) == 2
    assert "bad.nkc" in capsys.readouterr().err
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    code, found = command(capsys, "compress", tmp_path / "deep.png", "-o", tmp_path / "deep.nkc")
    assert code == 2 and "has 16 bits; grey or RGB of 8 bits can be compressed" in found["error"]["what"]
    assert main(["fit", "compress", str(photo), "-o", str(tmp_path / "p.nkc"), "--steps", "2", "--quiet"]) == 0
    capsys.readouterr()
    for options, words in ((["--size", "9x9"], "--size cannot be used here"), (["--out", "x.jpg"], "not as .jpg")):
        assert main(["render", str(tmp_path / "p.nkc"), *options]) == 2
        assert words in capsys.readouterr().err
