"""Cameras as transforms.json: what is read of it is what was written."""

import json

import numpy as np
import pytest
from photo_folders import pose, save_photo

from nerfkit.exports.camera_file import camera_entry, write_cameras
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos

LENSES = {
    "pinhole": {},
    "radial": {"k": (0.1, -0.02, 0.003, -0.004), "p": (0.001, -0.002)},
    "rational": {"k": (0.1, -0.02, 0.003, 0.0), "q": (0.04, 0.005, 0.006)},
    "fisheye": {"lens": "fisheye", "k": (0.01, -0.002, 0.0003, 0.0001), "image_circle": 3.5},
}


@pytest.mark.parametrize("lens", LENSES)
def test_cameras_poses_and_splits_come_back(tmp_path, lens):
    names = [f"photos/{i:02d}.png" for i in range(5)]
    for name in names:
        save_photo(tmp_path / "data" / name)
    cameras = [Camera(8, 6, 10.0 + i, 11.0, 4.1, 2.9, **LENSES[lens]) for i in range(5)]
    c2w = np.stack([pose(i) for i in range(5)])
    # a place in metres of a country's grid
    c2w[:, :3, 3] += [4e5, 5e6, 100]
    splits = {"train": [0, 1, 3], "val": [2], "test": [4, 2]}
    source = PosedPhotos("scene", tmp_path / "data", "colmap", names, cameras, c2w, splits)
    out = tmp_path / "elsewhere" / "cameras.json"
    assert write_cameras(out, source) == 5
    found = read_posed_photos(out)
    assert found.cameras == cameras
    # a scale is divided out of rotations when they are read
    np.testing.assert_allclose(found.c2w, c2w, rtol=1e-14, atol=1e-15)
    assert {name: sorted(views) for name, views in found.splits.items()} == {
        name: sorted(views) for name, views in splits.items()
    }
    assert json.loads(out.read_text())["frames"][0]["file_path"] == "../data/photos/00.png"


def test_masks_come_back(tmp_path):
    for i in range(4):
        save_photo(tmp_path / f"{i}.png")
    save_photo(tmp_path / "mask.png")
    masks = [tmp_path / "mask.png", None, None, None]
    cameras = [Camera(8, 6, 10.0, 10.0, 4.0, 3.0)] * 4
    c2w = np.stack([pose(i) for i in range(4)])
    source = PosedPhotos(
        "scene", tmp_path, "llff", [f"{i}.png" for i in range(4)], cameras, c2w,
        {"train": [0, 1, 2], "val": [], "test": [3]}, masks=masks,
    )  # fmt: skip
    write_cameras(tmp_path / "cameras.json", source)
    found = read_posed_photos(tmp_path / "cameras.json").masks
    assert found is not None and [mask and mask.resolve() for mask in found] == [
        (tmp_path / "mask.png").resolve(),
        *[None] * 3,
    ]


@pytest.mark.parametrize("terms", [{"lens": "fov", "omega": 0.9}, {"s": (0.1, 0.0, 0.0, 0.0)}])
def test_a_lens_without_a_name_there(terms):
    with pytest.raises(NerfkitError, match=r"a\.png: its lens has .*, which transforms\.json has no name for"):
        camera_entry(Camera(8, 6, 10.0, 10.0, 4.0, 3.0, **terms), "a.png")
