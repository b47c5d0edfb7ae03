"""What a dataset tells of distances: of points and of maps, at the size that photos are trained at."""

import numpy as np
import pytest
import torch
from photo_folders import frames, save_photo, write_transforms
from PIL import Image

from nerfkit.depth_map_distances import MAX_MAPPED, disagreement, read_depth_maps
from nerfkit.known_distances import find_distances
from nerfkit.photo_data import load_photo_data
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.cameras import CameraBatch
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.measurements.photo_distances import MARGIN, PhotoDistances
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.measurements.photo_rays import PhotoRays
from nerfkit.scenes.readers import read_posed_photos

# a plane before each camera, along its axis
DEPTH = 2.5


def mapped(tmp_path, downscale=1.0, size=(8, 6)):
    entries = [{**frame, "depth_file_path": f"depth/{i:02d}.png"} for i, frame in enumerate(frames(5))]
    folder = write_transforms(tmp_path / "scene", entries=entries, w=size[0], h=size[1], photos=False)
    (folder / "depth").mkdir()
    for i, entry in enumerate(entries):
        save_photo(folder / entry["file_path"], size)
        values = np.full((6, 8), 1000 * DEPTH, np.uint16)
        values[0] = 0
        Image.fromarray(values).save(folder / f"depth/{i:02d}.png")
    return load_photo_data(read_posed_photos(folder), ("train",), downscale=downscale, max_side=None)


def test_a_map_gives_the_distance_along_each_ray(tmp_path, monkeypatch):
    # a plane before each camera is no scene
    monkeypatch.setattr("nerfkit.known_distances.disagreement", lambda data, maps: None)
    data = mapped(tmp_path)
    known = find_distances(data)
    assert known is not None and known.source == "depth maps"
    # the first row is unknown
    assert len(known) == 5 * 8 * len(data.split("train")) and known.pixels[:, 1].min() == 1.5
    across = (known.pixels - [4, 3]) / 10
    np.testing.assert_allclose(known.distances, DEPTH * np.sqrt(1 + (across**2).sum(1)), rtol=1e-6)


def test_pixels_that_do_not_count_and_too_many_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("nerfkit.known_distances.disagreement", lambda data, maps: None)
    data = mapped(tmp_path, size=(400, 300))
    first = data.split("train")[0]
    data.masks[first] = np.zeros((300, 400), bool)
    known = find_distances(data)
    assert known is not None and set(known.photo_ids) == set(range(1, len(data.split("train"))))
    assert np.bincount(known.photo_ids)[1] == MAX_MAPPED


def test_points_are_seen_where_their_photo_shows_them(tmp_path, monkeypatch):
    data = mapped(tmp_path)
    data.source.depths = None
    assert find_distances(data) is None
    data.source.hints["model"] = "sparse/0"
    points = {"00.png": np.array([[0.0, 0, 0], [9, 9, 9]]), "images/01.png": np.zeros((1, 3))}
    monkeypatch.setattr("nerfkit.known_distances.read_seen_points", lambda model: points)
    known = find_distances(data)
    assert known is not None and known.source == "COLMAP's points"
    # the cameras look at the origin from 3 away; photo 00 is held out for test
    np.testing.assert_allclose(known.pixels, [[4, 3]], atol=1e-9)
    assert known.distances == pytest.approx([3]) and known.photo_ids.tolist() == [0]
    monkeypatch.setattr("nerfkit.known_distances.read_seen_points", lambda model: {})
    assert find_distances(data) is None


def test_drawn_rays_end_behind_what_they_meet(tmp_path):
    data = mapped(tmp_path)
    train = data.split("train")
    pixels = PhotoPixels([data.images[i] for i in train], "cpu")
    poses = torch.from_numpy(data.c2w[train]).float()
    rays = PhotoRays(pixels, CameraBatch([data.cameras[i] for i in train]), poses, Background("none", None))
    source = PhotoDistances(rays, torch.tensor([1, 0]), torch.tensor([[4.0, 3], [1, 1]]), torch.tensor([3.0, 2]))
    batch = source.draw(50, torch.Generator().manual_seed(0))
    where, is_first = batch.where, batch.values[:, 0] == 3
    assert len(source) == 2 and 0 < is_first.sum() < 50
    torch.testing.assert_close(where.far, batch.values[:, 0] * (1 + MARGIN))
    torch.testing.assert_close(where.rays_o[is_first], poses[1, :3, 3].expand(int(is_first.sum()), 3))
    torch.testing.assert_close(where.rays_d[is_first][0], -poses[1, :3, 2])
    assert (where.photo_ids[is_first] == 1).all()


def test_a_map_that_is_absent_is_said(tmp_path, caplog):
    entries = [{**frame, "depth_file_path": "depth/none.png"} for frame in frames(4)]
    photos = read_posed_photos(write_transforms(tmp_path / "scene", entries=entries))
    assert photos.depths == [None] * 4 and "depth map 'depth/none.png' does not exist" in caplog.text


def balls(tmp_path, **root):
    """Depth maps of a ball of radius 1 about the origin, seen from a circle."""
    entries = [{**frame, "depth_file_path": f"depth/{i:02d}.npy"} for i, frame in enumerate(frames(9))]
    folder = write_transforms(tmp_path / "scene", entries=entries, w=32, h=24, fl_x=40.0, photos=False, **root)
    (folder / "depth").mkdir()
    columns, rows = np.meshgrid(np.arange(32) + 0.5, np.arange(24) + 0.5)
    x, y = (columns - 16) / 40, (rows - 12) / 40
    # |z (x, y, -1) + 3 back| = 1
    a, root_of = 1 + x**2 + y**2, np.maximum(9 - 8 * (1 + x**2 + y**2), 0)
    depth = np.where(root_of > 0, (3 - np.sqrt(root_of)) / a, 0)
    for i, entry in enumerate(entries):
        save_photo(folder / entry["file_path"], (32, 24))
        np.save(folder / f"depth/{i:02d}.npy", depth)
    return load_photo_data(read_posed_photos(folder), ("train",), downscale=1, max_side=None)


def test_maps_that_agree_are_taken(tmp_path):
    data = balls(tmp_path, depth_unit_scale_factor=1.0)
    factor = disagreement(data, read_depth_maps(data))
    assert factor is not None and factor < 1.05
    known = find_distances(data)
    assert known is not None and known.distances.min() == pytest.approx(2, abs=0.02)


def test_maps_in_another_unit_are_left_out_and_said(tmp_path, caplog):
    data = balls(tmp_path, integer_depth_scale=0.4)
    assert find_distances(data) is None and "depths differ by a factor of" in caplog.text


def test_a_unit_that_is_none_is_an_error(tmp_path):
    with pytest.raises(NerfkitError, match="depth_unit_scale_factor must be a number above 0"):
        find_distances(balls(tmp_path, depth_unit_scale_factor="mm"))
