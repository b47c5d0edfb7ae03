"""Masks that lie beside the photos and that no list names."""

import numpy as np
import pytest
from PIL import Image

import nerfkit
from nerfkit.photo_data import load_photo_data
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import find_posed_photos, read_posed_photos
from nerfkit.scenes.synthetic import write_posed_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked") / "scene"
    write_posed_scene(folder, n_train=4, n_val=1, n_test=1, size=(16, 16), supersample=1)
    return folder


def write_masks(folder, photos, name, of=slice(None)):
    """The upper half of each is black."""
    for file in photos.files[of]:
        path = folder / name(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat([[0], [255]], 8, axis=0).repeat(16, 1).astype(np.uint8)).save(path)


# by the whole path, by COLMAP's way, and flat
WAYS = {"path": lambda file: file, "colmap": lambda file: f"{file}.png", "flat": lambda file: file.replace("/", "_")}


@pytest.mark.parametrize("way", ["path", "colmap"])
def test_masks_beside_the_photos_are_named_and_used_where_they_are_asked_for(scene, tmp_path, way):
    photos = read_posed_photos(scene)
    folder = tmp_path / "masks"
    write_masks(folder, photos, WAYS[way])
    masked = read_posed_photos(scene, masks=folder)
    assert masked.masks is not None and all(masked.masks)
    data = load_photo_data(masked, ["train"], downscale=1, max_side=None)
    assert not data.masks[0][:8].any() and data.masks[0][8:].all()


def test_unused_masks_are_said(scene, tmp_path):
    photos = read_posed_photos(scene)
    folder = scene / "Masks"
    write_masks(folder, photos, WAYS["path"], slice(2))
    found = Findings()
    find_posed_photos(scene, False, found)
    (said,) = [finding for finding in found if "masks" in finding.what]
    assert "has masks of 2 of 6 photos, which are not used" in said.what and f"--masks {folder}" in said.fix
    found = Findings()
    find_posed_photos(scene, False, found, folder)
    (said,) = [finding for finding in found if "mask" in finding.what]
    assert said.level == "warning" and "4 of 6 photos have no mask" in said.what


def test_a_folder_without_masks_is_refused(scene, tmp_path):
    with pytest.raises(NerfkitError, match="no such folder of masks"):
        read_posed_photos(scene, masks=tmp_path / "none")
    photos = read_posed_photos(scene)
    (tmp_path / "flat").mkdir()
    with pytest.raises(NerfkitError, match="it holds nothing"):
        read_posed_photos(scene, masks=tmp_path / "flat")
    write_masks(tmp_path / "flat", photos, WAYS["flat"])
    with pytest.raises(NerfkitError, match="has no mask of any of the 6 photos") as error:
        read_posed_photos(scene, masks=tmp_path / "flat")
    assert "a.jpg.png for a.jpg" in error.value.fix


def test_a_run_remembers_its_masks(scene, tmp_path, monkeypatch):
    photos = read_posed_photos(scene)
    write_masks(tmp_path / "m", photos, WAYS["path"])
    trained = nerfkit.train(scene, tmp_path / "run", masks=tmp_path / "m", steps=2)
    assert trained.run.read_photos(None).masks == [tmp_path / "m" / file for file in photos.files]
