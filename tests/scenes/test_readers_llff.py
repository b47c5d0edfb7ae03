"""LLFF: axes, order, sizes of photos, what is wrong with the file, the real cape."""

import numpy as np
import pytest
from photo_folders import DATA, needs_data, pose, save_photo

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.poses import focus_point
from nerfkit.scenes.readers import read_posed_photos


def row(i, hwf=(6, 8, 10.0)):
    right, up, back, eye = pose(i)[:3].T
    return np.r_[np.stack([-up, right, back, eye, hwf], axis=1).ravel(), 1.0 + i, 9.0]


def write(folder, n=5, names="images/{:02d}.png", rows=None, size=(8, 6)):
    np.save(folder / "poses_bounds.npy", np.stack([row(i) for i in range(n)]) if rows is None else rows)
    for i in range(n):
        save_photo(folder / names.format(i), size=size)
    return folder


def test_poses_and_cameras(tmp_path):
    photos = read_posed_photos(write(tmp_path))
    assert photos.format == "llff" and photos.files == [f"images/{i:02d}.png" for i in range(5)]
    np.testing.assert_allclose(photos.c2w, [pose(i) for i in range(5)], atol=1e-12)
    camera = photos.cameras[0]
    assert (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy) == (8, 6, 10, 10, 4, 3)
    assert photos.hints == {"near": 1.0, "far": 9.0}
    assert read_posed_photos(tmp_path / "poses_bounds.npy").files == photos.files


def test_the_order_is_letter_by_letter_and_said(tmp_path):
    findings = Findings()
    photos = read_posed_photos(write(tmp_path, n=11, names="images/IMG_{}.png"), findings=findings)
    assert photos.files[:3] == ["images/IMG_0.png", "images/IMG_1.png", "images/IMG_10.png"]
    assert "letter by letter" in findings[0].what


def test_smaller_photos_are_taken_where_the_large_ones_lack(tmp_path):
    write(tmp_path, names="images_2/{:02d}.png", size=(4, 3))
    save_photo(tmp_path / "images/00.png")
    findings = Findings()
    photos = read_posed_photos(tmp_path, findings=findings)
    assert photos.files[0] == "images_2/00.png" and photos.cameras[0].fx == 5
    assert "photos are read from images_2/; images have other numbers of them" in findings[0].what


def test_another_number_of_photos(tmp_path):
    write(tmp_path)
    (tmp_path / "images/03.png").unlink()
    with pytest.raises(NerfkitError, match=r"has 5 rows, and no folder has as many photos: images/ 4"):
        read_posed_photos(tmp_path)


@pytest.mark.parametrize(
    "rows, message",
    [
        (np.zeros((5, 15)), "must hold 17 numbers a photo; its shape is 5x15"),
        (np.zeros(17), "must hold 17 numbers a photo; its shape is 17"),
        (np.full((5, 17), "a"), "must hold numbers; it holds <U1"),
        (np.stack([row(i, (6, 8, 0.0)) for i in range(5)]), "row 0 .*focal length must be above 0; got 6, 8, 0"),
        (np.stack([row(i) * (np.nan if i == 2 else 1) for i in range(5)]), r"row 2 \(images/02\.png\).*NaN"),
    ],
)
def test_broken_files(tmp_path, rows, message):
    with pytest.raises(NerfkitError, match=message):
        read_posed_photos(write(tmp_path, rows=rows))


def test_no_array(tmp_path):
    write(tmp_path)
    (tmp_path / "poses_bounds.npy").write_bytes(b"nothing")
    with pytest.raises(NerfkitError, match="this array cannot be read"):
        read_posed_photos(tmp_path)


@needs_data("mold_gold_cape_llff")
def test_the_cape_is_seen_from_around():
    photos = read_posed_photos(DATA / "mold_gold_cape_llff")
    assert len(photos) == 30 and photos.files[0] == "images/IMG_5881.jpg"
    focus, eyes = focus_point(photos.c2w), photos.c2w[:, :3, 3]
    towards = ((focus - eyes) * -photos.c2w[:, :3, 2]).sum(1) / np.linalg.norm(focus - eyes, axis=1)
    assert towards.min() > 0.95
