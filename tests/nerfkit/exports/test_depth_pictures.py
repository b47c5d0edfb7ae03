"""Depth as PNGs of 16 bits: what a value means, what does not fit, and that a folder is whole or absent."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit.exports.depth_pictures import axis_depths, write_depth_pictures
from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.scenes.errors import NerfkitError

CAMERA = Camera(12, 8, 9.0, 9.0, 6.0, 4.0)


def plane(distance, camera=CAMERA):
    """Distances along the rays to a plane across the viewing axis."""
    rows, columns = np.indices((camera.height, camera.width)) + 0.5
    rays = pixels_to_directions(camera, np.stack([columns.ravel(), rows.ravel()], -1))
    return (np.linalg.norm(rays, axis=1) * distance).reshape(camera.height, camera.width)


def scene_of(distances) -> Any:
    return SimpleNamespace(surface_depths=lambda camera, pose: torch.from_numpy(distances))


def write(folder, distances, metres=1.0, on_view=lambda done, total: None):
    return write_depth_pictures(
        folder, scene_of(distances), [CAMERA] * 2, np.stack([np.eye(4)] * 2), ["a.png", "b.png"],
        ["photos/a.jpg", "photos/b.jpg"], metres, on_view,
    )  # fmt: skip


def test_a_plane_has_one_depth(tmp_path):
    distances = plane(2.0)
    distances[0, :3] = np.inf
    found = write(tmp_path / "depth", distances)
    values = np.asarray(Image.open(tmp_path / "depth" / "a.png"))
    assert values.dtype == np.uint16 and (values[0, :3] == 0).all() and (values[1:] == 2000).all()
    assert found == {"views": 2, "nearest": 2.0, "farthest": 2.0, "beyond": {}}
    told = json.loads((tmp_path / "depth" / "depth.json").read_text())
    assert told["unit"] == "millimetre" and told["metres_per_world_unit"] == 1.0
    assert [view["depth"] for view in told["views"]] == ["a.png", "b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth"]


def test_a_unit_of_millimetres(tmp_path):
    write(tmp_path / "depth", plane(1234.0), metres=0.001)
    assert (np.asarray(Image.open(tmp_path / "depth" / "b.png")) == 1234).all()


def test_what_does_not_fit_is_counted(tmp_path):
    distances = plane(3.0)
    distances[2:4] = plane(70.0)[2:4]
    found = write(tmp_path / "depth", distances)
    assert found["beyond"] == {"photos/a.jpg": 24, "photos/b.jpg": 24} and found["farthest"] == 70.0
    assert (np.asarray(Image.open(tmp_path / "depth" / "a.png"))[2:4] == 0).all()


def test_a_folder_that_is_not_finished_is_not_there(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "depth", plane(2.0), on_view=stop)
    assert list(tmp_path.iterdir()) == []


def test_places_that_are_taken(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    with pytest.raises(NerfkitError, match="is not empty"):
        write(tmp_path / "full", plane(2.0))
    with pytest.raises(NerfkitError, match="depth is a folder of PNGs"):
        write(tmp_path / "file", plane(2.0))
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty", plane(2.0))["views"] == 2


def test_behind_a_fisheye_there_is_no_depth_along_its_axis():
    # 100 degrees to each side
    camera = Camera(21, 1, 10 / np.radians(100), 10 / np.radians(100), 10.5, 0.5, lens="fisheye")
    found = axis_depths(camera, np.ones((1, 21)))
    assert np.isinf(found[0, [0, -1]]).all() and found[0, 10] == pytest.approx(1)
