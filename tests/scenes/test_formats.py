"""Pictures of kinds that are read, with a package or without, and of kinds that are only known by name."""

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.formats import UNREAD
from nerfkit.scenes.readers.frames import read_frames

SUFFIXES = [suffix for suffixes in UNREAD for suffix in suffixes if suffix not in (".avif", ".avifs")]


@pytest.fixture(autouse=True)
def without_pillow_heif(monkeypatch):
    """As where the package is absent, also where it is not."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    find_spec = importlib_find_spec()
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "pillow_heif" else find_spec(name, *a)
    )


def importlib_find_spec():
    import importlib.util

    return importlib.util.find_spec


def pixels(i=0, shape=(24, 30)):
    return np.random.default_rng(i).integers(0, 256, shape, np.uint8)


def write(folder, n, suffix=".png", start=0, content=None):
    folder.mkdir(exist_ok=True)
    for i in range(start, start + n):
        if content is None:
            Image.fromarray(pixels(i)).save(folder / f"{i:02d}{suffix}")
        else:
            (folder / f"{i:02d}{suffix}").write_bytes(content)
    return folder


def error_of(path):
    with pytest.raises(NerfkitError) as caught:
        read_frames(path)
    return caught.value


def said_of(path):
    findings = Findings()
    return read_frames(path, findings=findings), [finding for finding in findings if "not read" in finding.what]


@pytest.mark.parametrize("name", ["f.webp", "f.pgm", "f.ppm", "f.jfif", "f.avif"])
@pytest.mark.parametrize("shape", [(24, 30), (24, 30, 3)])
def test_kinds_that_pillow_reads(tmp_path, name, shape):
    if (name, len(shape)) in (("f.pgm", 3), ("f.ppm", 2)):
        pytest.skip("no such file")
    if name == "f.avif" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow knows no AVIF")
    smooth = np.asarray(Image.fromarray(pixels(shape=shape)).resize((4, 3)).resize((30, 24)))
    options: dict[str, Any] = {"lossless": True} if name == "f.webp" else {} if name[2] == "p" else {"quality": 98}
    Image.fromarray(smooth).save(tmp_path / name, **options)
    found = read_frames(tmp_path).images[0]
    wanted = smooth if smooth.ndim == found.ndim else smooth[..., None]  # WebP and AVIF know only colour
    assert np.abs(found - wanted / 255).max() < (1e-6 if name[2] in "pw" else 0.1)


@pytest.mark.parametrize("colours", [1, 3])
def test_pgm_and_ppm_of_16_bits(tmp_path, colours):
    values = np.random.default_rng(0).integers(0, 65536, (24, 30, colours), np.uint16)
    header = f"P{5 if colours == 1 else 6}\n# made by hand\n30 24\n65535\n".encode()
    (tmp_path / f"f.p{'gp'[colours == 3]}m").write_bytes(header + values.astype(">u2").tobytes())
    frames = read_frames(tmp_path)
    assert frames.bit_depth == 16
    np.testing.assert_array_equal(frames.images[0].reshape(values.shape), values / np.float32(65535))


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".HEIC", ".CR2", ".fits.gz", ".FITS.fz"])
def test_most_of_a_folder_of_another_kind_is_an_error(tmp_path, suffix):
    write(tmp_path, 13, suffix, start=3, content=b"x" * 50)
    error = error_of(tmp_path)
    assert error.what == f"13 {suffix} are not read" and error.fix and "{" not in error.fix
    write(tmp_path, 3)
    assert error_of(tmp_path).what == f"13 {suffix} are not read; only 3 .png would be"
    error = error_of(tmp_path / f"03{suffix}")
    assert error.what == f"frames cannot be read from a {suffix}" and error.fix == error_of(tmp_path).fix
    assert f"13 {suffix} are not read" in error_of(tmp_path / "*").what


def test_a_few_of_another_kind_are_named(tmp_path):
    write(write(tmp_path, 8), 2, ".HEIC", start=20, content=b"x")
    write(tmp_path, 1, ".dng", start=30, content=b"x")
    frames, (said,) = said_of(tmp_path)
    assert len(frames) == 8 and said.level == "warning"
    assert said.what == "2 .HEIC, 1 .dng are not read, and the 8 other pictures are taken for all frames"
    assert "pip install pillow-heif" in said.fix and "develop them all alike" in said.fix


def test_a_raw_file_beside_its_own_picture_is_not_missed(tmp_path):
    write(write(tmp_path, 6, ".jpg"), 6, ".CR2", content=b"x")
    write(tmp_path, 6, ".txt", content=b"x")
    frames, said = said_of(tmp_path)
    assert len(frames) == 6 and not said


def install_pillow_heif(tmp_path, monkeypatch):
    """A package of this name whose opener takes what is a PNG inside."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/pillow_heif.py").write_text(
        "n_calls = 0\ndef register_heif_opener():\n    global n_calls; n_calls += 1\n"
    )
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    # set before it is taken out: what the import leaves there is then undone, also where nothing was before
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(sys.modules, "pillow_heif")


def test_heic_is_read_where_the_package_is(tmp_path, monkeypatch):
    install_pillow_heif(tmp_path, monkeypatch)
    folder = write(tmp_path / "frames", 4)
    for file in list(folder.iterdir()):
        file.rename(file.with_suffix(".HEIC"))
    frames, said = said_of(folder)
    assert frames.files == [f"{i:02d}.HEIC" for i in range(4)] and not said
    import pillow_heif  # pyright: ignore[reportMissingImports]

    assert pillow_heif.n_calls


def test_a_damaged_heic_says_so(tmp_path, monkeypatch):
    install_pillow_heif(tmp_path, monkeypatch)
    folder = write(tmp_path / "frames", 2, ".heic", content=b"\0\0\0\x18ftypheic" + bytes(99))
    assert "00.heic: this frame cannot be read" in str(error_of(folder))


def test_a_container_alone_in_a_folder_is_named(tmp_path):
    np.savez(tmp_path / "burst.npz", np.zeros((3, 9, 9), np.uint8))
    assert error_of(tmp_path).fix == f"give {tmp_path / 'burst.npz'}"


def test_photos_without_poses_are_not_hidden_by_another_kind(tmp_path):
    write(tmp_path, 4, ".HEIC", content=b"x")
    with pytest.raises(NerfkitError, match="no poses found"):
        read_posed_photos(tmp_path)
