"""One rule over all readers: a number that is none is refused with its place, or left out, counted and said."""

import json
import logging
from typing import Any

import numpy as np
import pytest
import tifffile
from photo_folders import pose, save_photo, write_transforms

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.photo_masks import find_masks
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.kspace import read_kspace
from nerfkit.scenes.readers.photos import load_photos, read_photo
from nerfkit.scenes.readers.picture import read_mask, read_picture
from nerfkit.scenes.readers.psf import read_psf
from nerfkit.scenes.readers.shifts import read_shifts
from nerfkit.scenes.readers.sinogram import read_scan
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.readers.volume import read_volume

VALUES = np.random.default_rng(0).random((20, 24))


def bad(shape: Any = (20, 24), at: Any = (4, 7), value=np.nan, dtype: Any = np.float32):
    """Random numbers of which one is none."""
    values = np.random.default_rng(0).random(shape).astype(dtype)
    values[at] = value
    return values


def npy(folder, values):
    np.save(folder / "a.npy", values)
    return folder / "a.npy"


def npz(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def tiff(folder, values, name="a.tif"):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / name, values, photometric="rgb" if values.ndim == 3 else None)
    return folder / name


def frames_with_shifts(folder):
    for name in "abc":
        tiff(folder / "frames", VALUES.astype(np.float32), f"{name}.tif")
    (folder / "shifts.csv").write_text("file,dx,dy\na.tif,0,0\nb.tif,nan,0.5\nc.tif,0.1,0.2\n")
    return read_shifts(folder / "shifts.csv", read_frames(folder / "frames"))


def transforms(folder, change):
    write_transforms(folder, n=3)
    data = json.loads((folder / "transforms.json").read_text())
    change(data)
    (folder / "transforms.json").write_text(json.dumps(data))
    return read_posed_photos(folder)


def posed_photo_of_floats(folder):
    photos = transforms(folder, lambda data: None)
    tiff(folder, bad((photos.cameras[1].height, photos.cameras[1].width), (2, 3)), photos.files[1])
    return load_photos(photos, [0, 1, 2])


def masked_photo(folder):
    photos = transforms(folder, lambda data: None)
    photos.masks = [tiff(folder, bad((6, 8), (2, 3)), "mask.tif"), None, None]
    return find_masks(photos, {0: photos.cameras[0]})


def colmap(folder):
    save_photo(folder / "images" / "a.png")
    (folder / "cameras.txt").write_text("1 PINHOLE 8 6 10 10 4 3\n")
    (folder / "images.txt").write_text("1 1 0 0 0 0 nan 0 1 a.png\n\n")
    return read_posed_photos(folder)


def llff(folder):
    for index in range(3):
        save_photo(folder / "images" / f"{index}.png")
    rows = np.stack([np.r_[np.c_[pose(i)[:3], [6, 8, 10]].ravel(), 1, 9] for i in range(3)])
    rows[1, 3] = np.inf
    np.save(folder / "poses_bounds.npy", rows)
    return read_posed_photos(folder)


def exchange(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        group = file.create_group("exchange")
        group["data"], group["data_white"] = VALUES, bad((2, 24), (1, 5))
    return read_scan(folder / "a.h5")


def kspace(folder, **arrays):
    grid = np.zeros((1, 16, 16), np.complex64)
    grid[0, 8, 8] = 1
    return read_kspace(npz(folder, **({"kspace": grid} | arrays)))


def spokes(folder, **arrays):
    line = np.c_[np.linspace(-0.5, 0.5, 9), np.zeros(9)]
    return read_kspace(
        npz(folder, **({"samples": np.ones((1, 9), np.complex64), "trajectory": line, "size": [16, 16]} | arrays))
    )


def points(folder, line="1 nan 0"):
    lines = [f"{x} {y} {z}" for x, y, z in np.random.default_rng(0).random((80, 3))]
    lines[5] = line
    (folder / "a.xyz").write_text("\n".join(lines))
    return read_surface(folder / "a.xyz")


def mesh(folder):
    pytest.importorskip("trimesh")
    (folder / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 nan 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n")
    return read_surface(folder / "a.obj")


def first_shift(data):
    data["frames"][1]["transform_matrix"][0][3] = float("nan")


def focal(data):
    data["fl_x"] = float("inf")


READERS = {
    "picture": (lambda d: read_picture(npy(d, bad())), r"1 of its 480 values .* row 4, column 7"),
    "picture of infinity": (lambda d: read_picture(npy(d, bad(value=np.inf))), "row 4, column 7"),
    "picture in a TIFF": (lambda d: read_picture(tiff(d, bad())), "row 4, column 7"),
    "picture in a colour TIFF": (lambda d: read_picture(tiff(d, bad((20, 24, 3), (4, 7, 1)))), "row 4, column 7"),
    "mask": (lambda d: read_mask(npy(d, bad()), (24, 20)), "row 4, column 7"),
    "frames": (lambda d: read_frames(npy(d, bad((3, 20, 24), (1, 4, 7)))), "frame 1: .* row 4, column 7"),
    "frame in a TIFF": (lambda d: read_frames(tiff(d / "frames", bad(), "b.tif").parent), r"frame b\.tif: .* row 4"),
    "shifts": (frames_with_shifts, "line 3: dx is nan"),
    "photo": (lambda d: read_photo(tiff(d, bad())), r"a\.tif: 1 of its 480 values .* row 4, column 7"),
    "photo of a scene": (posed_photo_of_floats, r"images/.*1\.png: .* row 2, column 3"),
    "mask of a photo": (masked_photo, r"mask\.tif: .* row 2, column 3"),
    "pose": (lambda d: transforms(d, first_shift), "frame 1.*NaN or infinity"),
    "focal length": (lambda d: transforms(d, focal), "fl_x must be a finite number"),
    "pose of COLMAP": (colmap, r"image 'a\.png'.*NaN or infinity"),
    "pose of LLFF": (llff, "row 1.*NaN or infinity"),
    "point spread": (lambda d: read_psf(npy(d, bad((5, 5), (2, 3)))), "row 2, column 3"),
    "sinogram's angles": (lambda d: read_scan(npz(d, sinogram=VALUES, angles=bad(20, 4))), "angles: .* row 4"),
    "sinogram's affine": (lambda d: read_scan(npz(d, sinogram=VALUES, affine=bad((4, 4), (1, 2)))), "affine: .* row 1"),
    "sinogram's numbers": (lambda d: read_scan(npz(d, sinogram=VALUES, center=np.nan)), "center = nan"),
    "white frame": (exchange, "exchange/data_white: .* index 1, 5"),
    "k-space": (
        lambda d: kspace(d, kspace=bad((2, 16, 16), (1, 4, 7), dtype=np.complex64)), "kspace: .* coil 1, ky 4, kx 7"
    ),
    "sensitivities": (
        lambda d: kspace(d, sensitivities=bad((1, 16, 16), (0, 4, 7))), "sensitivities: .* coil 0, row 4, column 7"
    ),
    "samples": (lambda d: spokes(d, samples=bad((1, 9), (0, 4), dtype=np.complex64)), "samples: .* coil 0, sample 4"),
    "trajectory": (lambda d: spokes(d, trajectory=bad((9, 2), (4, 1))), "trajectory: .* row 4, column 1"),
    "volume": (lambda d: read_volume(npz(d, volume=bad((5, 6, 7), (1, 2, 3)), affine=np.eye(4))), r"voxel \(3, 2, 1\)"),
    "points": (points, "points are NaN or infinite, the first is number 5"),
    "vertices": (mesh, "vertices are NaN or infinite, the first is number 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_no_reader_lets_a_number_pass_that_is_none(tmp_path, name):
    read, message = READERS[name]
    with pytest.raises(NerfkitError, match=message) as caught:
        read(tmp_path)
    assert caught.value.exit_code == 2 and str(tmp_path) in caught.value.where and caught.value.fix


@pytest.mark.parametrize("write", [npy, tiff])
def test_where_values_may_be_unknown_every_kind_of_file_may_have_them(tmp_path, write):
    picture = read_picture(write(tmp_path, bad()), has_unknown=True)
    assert np.argwhere(np.isnan(picture.values[..., 0])).tolist() == [[4, 7]]
    assert np.isnan(read_scan(write(tmp_path, bad())).values).sum() == 1


def test_points_of_a_model_that_are_nowhere_are_left_out_and_said(tmp_path, caplog):
    from nerfkit.scenes.readers.colmap_points import read_seen_points

    (tmp_path / "cameras.txt").write_text("1 PINHOLE 8 6 10 10 4 3\n")
    (tmp_path / "images.txt").write_text("".join(f"{i} 1 0 0 0 0 0 0 1 {i}.png\n\n" for i in (1, 2, 3)))
    lines = ["0 1 2 3 0 0 0 0.5", "1 4 5 nan 0 0 0 0.5", "2 7 8 9 0 0 0 nan"]
    (tmp_path / "points3D.txt").write_text("".join(f"{line} 1 0 2 0 3 0\n" for line in lines))
    with caplog.at_level(logging.WARNING):
        seen = read_seen_points(tmp_path)
    assert {name: xyzs.tolist() for name, xyzs in seen.items()} == {f"{i}.png": [[1, 2, 3]] for i in (1, 2, 3)}
    assert "2 of its 3 points have a place or an error that is NaN or infinite, the first is number 1" in caplog.text


def test_numbers_that_are_finite_need_no_words():
    assert not_finite(np.arange(4), "row {}") == "" and not_finite(np.zeros((0, 2)), "row {}") == ""
