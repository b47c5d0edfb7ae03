"""Photos as a run reads them: what counts, what alpha means, and that both are kept for what comes after."""

import numpy as np
import pytest
from photo_folders import frames, write_transforms
from PIL import Image

from nerfkit.photo_data import load_photo_data
from nerfkit.presets import TrainConfig
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare


def scene(folder, paint):
    """Nine photos of noise [16, 20, 4], which ``paint`` changes by their number."""
    rng = np.random.default_rng(0)
    write_transforms(folder, n=9, photos=False, w=20, h=16)
    (folder / "images").mkdir()
    for i, entry in enumerate(frames(9)):
        pixels = rng.integers(40, 250, (16, 20, 4)).astype(np.uint8)
        pixels[..., 3] = 255
        paint(i, pixels)
        Image.fromarray(pixels).save(folder / entry["file_path"])
    return read_posed_photos(folder)


def cut_hole(i, pixels):
    pixels[5:9, 6 : 9 + i % 2, 3] = 0


def cut_out(i, pixels):
    pixels[:4, :, 3] = pixels[-4:, :, 3] = pixels[:, :5, 3] = pixels[:, -5:, 3] = 0


def test_people_cut_out_of_a_room_leave_it_a_room(tmp_path, caplog):
    prepared = prepare(scene(tmp_path / "room", cut_hole), TrainConfig(), "cpu")
    assert prepared.config.alpha == "ignore" and prepared.background.name == "none" and prepared.bounds.contract
    assert prepared.data.images[1].shape == (16, 20, 3)
    assert (~prepared.data.masks[1]).sum() == 16 and not prepared.data.masks[1][5:9, 6:10].any()
    assert "what is transparent is ignored" in caplog.text
    assert any("of the pixels do not count" in line for line in prepared.describe())


def test_an_object_cut_out_of_its_background_stands_before_white(tmp_path):
    prepared = prepare(scene(tmp_path / "object", cut_out), TrainConfig(), "cpu")
    assert prepared.config.alpha == "background" and prepared.background.name == "white"
    assert prepared.data.masks == {}


def test_the_flag_goes_before_the_photos(tmp_path):
    source = scene(tmp_path / "room", cut_hole)
    data = load_photo_data(source, ("test",), downscale=None, max_side=None, alpha="background")
    assert data.images[0].shape[2] == 4 and data.masks == {}
    # what was decided holds for a split whose photos would say something else
    other = scene(tmp_path / "object", cut_out)
    assert load_photo_data(other, ("test",), downscale=None, max_side=None, alpha="ignore").masks[0].sum() == 80


def test_what_does_not_count_may_be_the_object(tmp_path):
    data = load_photo_data(scene(tmp_path / "object", cut_out), ("train",), downscale=None, max_side=None)
    index = data.split("train")[0]
    assert not data.shows_object(index, Background("white", (1.0, 1.0, 1.0)))[0, 0]
    mask = np.ones((16, 20), bool)
    mask[0, 0] = False
    data.masks[index] = mask
    assert data.shows_object(index, Background("white", (1.0, 1.0, 1.0)))[0, 0]


def test_all_masked(tmp_path):
    source = scene(tmp_path / "room", lambda i, pixels: None)
    Image.new("L", (20, 16), 0).save(tmp_path / "black.png")
    source.masks = [tmp_path / "black.png"] * 9
    with pytest.raises(NerfkitError, match="no pixel of any photo counts: all are masked"):
        prepare(source, TrainConfig(), "cpu")
