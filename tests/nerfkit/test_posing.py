"""`nerfkit process`: which frames and pairs are chosen, what is refused and why, and poses of a small room."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from photo_folders import save_photo, write_transforms
from PIL import Image
from textured_room import photograph, room_poses, textures

from nerfkit.cli.process import SETTINGS, Options
from nerfkit.posing import PosingSettings, pipeline, process, sources
from nerfkit.posing.features import Picture, read_pictures
from nerfkit.posing.frame_choice import FEWEST, MOST, SpacedSharpest, choose
from nerfkit.posing.matching import choose_matching, pairs_of
from nerfkit.posing.outcome import Outcome, look_at_outcome, refuse_few
from nerfkit.posing.work import Work
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.poses import similarity_between
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.video import StreamedVideo
from nerfkit.video import VideoWriter

SMALL = PosingSettings(max_side=320, max_features=1000)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Photos of a corner of a room, in a folder whose name has a space, and their poses."""
    folder, walls = tmp_path_factory.mktemp("room") / "my photos", textures()
    folder.mkdir()
    for i, c2w in enumerate(room_poses()):
        Image.fromarray(photograph(c2w, walls)).save(folder / f"IMG {i}.png")
    return folder


def test_poses_of_a_room(room, tmp_path, monkeypatch, nerfkit):
    pycolmap = pytest.importorskip("pycolmap")
    out, said = tmp_path / "posed", []
    # a process that ends while poses are found
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "map_photos", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            process(room, out, SMALL)
    assert not (out / "transforms.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(pycolmap, "extract_features", None)
        patch.setattr(pycolmap, "match_image_pairs", None)
        result = process(room, out, SMALL, say=said.append)
    assert [text[-11:] == "done before" for text in said] == [True, True, True, False, False]
    assert (result["photos"], result["placed"], result["left_out"], result["models"]) == (8, 8, {}, [8])
    photos = read_posed_photos(out)
    assert photos.files == [f"images/IMG_{i}.png" for i in range(8)]
    known = room_poses()
    scale, turn, shift = similarity_between(photos.c2w[:, :3, 3], known[:, :3, 3])
    centres = scale * photos.c2w[:, :3, 3] @ turn.T + shift
    assert np.linalg.norm(centres - known[:, :3, 3], axis=1).max() < 0.05
    assert photos.cameras[0].fx == pytest.approx(280, rel=0.03)
    # upright, round what the cameras look at
    assert (turn @ [0, 0, 1])[2] > 0.9
    model = pycolmap.Reconstruction(out / "sparse/0")
    for image in model.images.values():
        index = photos.files.index(f"images/{image.name}")
        np.testing.assert_allclose(image.projection_center(), photos.c2w[index, :3, 3], atol=1e-9)
    assert (model.cameras[1].width, model.cameras[1].height) == (320, 240)
    colours = np.array([point.color for point in model.points3D.values()])
    assert colours.std() > 10
    # other pairs need no other features; a photo more needs all
    pairs = replace(SMALL, matching="sequential")
    process(room, out, pairs, say=said.append)
    assert [text[-11:] == "done before" for text in said[-5:]] == [True, True, False, False, False]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "gather_photos", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        Image.open(room / "IMG 0.png").save(room / "IMG 8.png")
        with pytest.raises(KeyboardInterrupt):
            process(room, out, SMALL, say=said.append)
        (room / "IMG 8.png").unlink()
    assert said[-2].endswith("9 photos instead of 8: begun anew") and not (out / "transforms.json").exists()
    process(room, out, SMALL)
    # another seed is another command
    with pytest.raises(NerfkitError, match="was begun with seed 0"):
        process(room, out, replace(SMALL, seed=1))
    # and the command line, which looks at the dataset in the end
    options = ["--max-side", 320, "--max-features", 1000]
    answer = nerfkit("process", room, "-o", out, *options, "--json")
    assert answer.code == 0 and answer.json["doctor"]["ok"] and answer.json["placed"] == 8
    assert nerfkit("process", room, "-o", out, "--json").json["error"]["what"].startswith("was begun with max_side 320")


def test_a_folder_that_is_not_free_and_one_that_has_poses(room, tmp_path, nerfkit):
    pytest.importorskip("pycolmap")
    with pytest.raises(NerfkitError, match="is not empty"):
        process(room, room.parent)
    posed = write_transforms(tmp_path / "posed")
    answer = nerfkit("process", posed, "-o", tmp_path / "out")
    assert answer.code == 2 and "has poses already (transforms.json)" in answer.err
    assert "no output given" in nerfkit("process", posed).err
    for path, what in ((tmp_path / "no", "no such file"), (posed / "transforms.json", "is no folder and no video")):
        assert what in nerfkit("process", path, "-o", tmp_path / "out").err
    save_photo(tmp_path / "two/a.png")
    assert "has 1 photos; 3 are needed" in nerfkit("process", tmp_path / "two", "-o", tmp_path / "out").err
    for i in range(3):
        (tmp_path / f"two/{i}.dng").write_text("raw")
    assert "3 .dng are not read" in nerfkit("process", tmp_path / "two", "-o", tmp_path / "out").err
    assert "must be between 0 and 1" in nerfkit("process", room, "-o", tmp_path / "out", "--min-share", 2).err
    assert not (tmp_path / "out").exists()


def test_without_pycolmap_the_command_that_installs_it_is_said(room, tmp_path, nerfkit, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycolmap", None)
    answer = nerfkit("process", room, "-o", tmp_path / "out")
    assert answer.code == 3 and 'pip install "nerfkit[poses]"' in answer.err


def test_training_photos_without_poses_says_this_command(nerfkit, tmp_path):
    save_photo(tmp_path / "my fox/images/0.png")
    answer = nerfkit("train", tmp_path / "my fox")
    quoted = f"nerfkit process '{tmp_path}/my fox/images' -o '{tmp_path}/my fox_posed'"
    assert answer.code == 2 and quoted in answer.err
    (tmp_path / "walk.mp4").write_bytes(b"video")
    assert (
        f"nerfkit process {tmp_path}/walk.mp4 -o {tmp_path}/walk_posed" in nerfkit("train", tmp_path / "walk.mp4").err
    )
    (tmp_path / "none").mkdir()
    assert "process" not in nerfkit("train", tmp_path / "none").err


# photos and frames


def test_photos_that_cannot_be_read_are_left_out(tmp_path):
    for i in range(4):
        save_photo(tmp_path / f"in/{i}.png")
    (tmp_path / "in/2.png").write_text("no picture")
    found = sources.check_source(tmp_path / "in", Findings())
    work = Work(tmp_path / "out", {})
    gathered = sources.gather_photos(
        tmp_path / "in", found, work, None, link=False, findings=Findings(),
        on_part=lambda *_: None,
    )  # fmt: skip
    assert gathered == {
        "names": ["0.png", "1.png", "3.png"],
        "unreadable": {"2.png": "is not an image that can be read"},
    }


def test_cameras_are_told_by_size_and_exif(tmp_path):
    work = Work(tmp_path, {})
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0xA405] = 26
    save_photo(tmp_path / "images/a.jpg", size=(400, 300), exif=exif)
    save_photo(tmp_path / "images/b.jpg", size=(400, 300))
    save_photo(tmp_path / "images/c.jpg", size=(100, 75))
    a, b, c = read_pictures(work, ["a.jpg", "b.jpg", "c.jpg"], 200)
    assert (a.size, a.full_size, c.size) == ((200, 150), (400, 300), (100, 75))
    assert len({a.camera, b.camera, c.camera}) == 3
    assert (a.focal, b.focal) == (pytest.approx(26 * 250 / np.hypot(36, 24)), 240)


def moving(n, step, blurred=()):
    """Frames in which a picture moves, some of them blurred."""
    sharp = np.kron(np.random.default_rng(1).integers(0, 255, (32, 32)), np.ones((8, 8))).astype(np.uint8)
    soft = ((sharp.astype(int) + np.roll(sharp, 3, 0) + np.roll(sharp, 6, 0)) // 3).astype(np.uint8)
    return [np.roll(soft if i in blurred else sharp, round(step * i), axis=1) for i in range(n)]


def test_frames_are_chosen_by_sharpness_and_motion():
    assert SpacedSharpest(5)(moving(20, 4, blurred=[i for i in range(20) if i % 4 != 2])) == [2, 6, 10, 14, 18]
    # a camera that pauses gives few frames there
    steps = np.r_[0, np.full(99, 0.02), np.zeros(100)]
    chosen = choose(np.ones(200), steps, np.zeros(200, bool), 20)
    assert len(chosen) == 20 and sum(index < 100 for index in chosen) >= 17
    # as many as the picture moves, within bounds, and none of one colour
    for share, n_chosen in ((0.0, FEWEST), (3.0, 60), (100.0, MOST)):
        assert len(choose(np.ones(400), np.full(400, share / 400), np.zeros(400, bool), None)) == n_chosen
    assert choose(np.ones(4), np.zeros(4), np.array([True, False, False, True]), None) == [1, 2]


def test_frames_of_a_video_are_saved(tmp_path):
    with VideoWriter(tmp_path / "walk.mp4", (256, 256), 24) as video:
        for frame in moving(12, 6):
            video.add(np.repeat(frame[..., None], 3, axis=-1))
    work, shown = Work(tmp_path / "out", {}), []
    assert sources.check_source(tmp_path / "walk.mp4", Findings()) == []
    gathered = sources.gather_photos(
        tmp_path / "walk.mp4", [], work, 4, link=False, findings=Findings(), on_part=lambda *part: shown.append(part)
    )  # fmt: skip
    assert gathered["names"] == [f"frame_{index:06d}.jpg" for index in work.done["frames"]]
    assert shown[-1] == ("frames", 4, 4)
    for index, name in zip(work.done["frames"], gathered["names"], strict=True):
        saved = np.asarray(Image.open(tmp_path / "out/images" / name)).astype(int)
        frame = next(f for i, f in enumerate(StreamedVideo(tmp_path / "walk.mp4")) if i == index)
        assert frame.shape == (256, 256, 3) and np.abs(saved - frame).mean() < 3


def test_a_video_without_frames_is_named(tmp_path):
    with pytest.raises(NerfkitError, match="no such video"):
        StreamedVideo(tmp_path / "no.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    with pytest.raises(NerfkitError, match="no frame can be read"):
        list(StreamedVideo(tmp_path / "bad.mp4"))
    black = [np.zeros((64, 64), np.uint8)] * 5
    assert SpacedSharpest()(black) == []


# pairs and outcomes


def test_pairs():
    assert pairs_of("exhaustive", 4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    pairs = pairs_of("sequential", 200)
    assert len(set(pairs)) == len(pairs) and all(a < b < 200 for a, b in pairs)
    assert {(7, 8), (7, 17), (7, 23), (7, 135), (10, 190)} <= set(pairs) and (7, 30) not in pairs
    assert choose_matching("auto", 61, is_video=False) == "sequential"
    assert choose_matching("exhaustive", 61, is_video=True) == "exhaustive"


def test_settings_are_checked_and_options_have_their_defaults():
    for name in SETTINGS:
        assert getattr(Options(source="x"), name) == getattr(PosingSettings(), name)
    wrong: dict[str, Any]
    for wrong in ({"frames": 2}, {"matching": "none"}, {"lens": "none"}, {"max_side": 1}, {"max_features": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PosingSettings(**wrong)


class FakeDatabase:
    """What COLMAP's database says of six pictures: features, and pairs that share something."""

    def __init__(self, features, pairs):
        self.features, self.pairs = features, pairs

    def open(self, path):
        return self

    def close(self):
        pass

    def read_all_images(self):
        return [SimpleNamespace(image_id=i, name=f"{i}.jpg") for i in range(len(self.features))]

    def num_keypoints_for_image(self, image_id):
        return self.features[image_id]

    def read_two_view_geometry_num_inliers(self):
        return list(self.pairs), list(self.pairs.values())


def test_why_photos_are_left_out(tmp_path):
    pairs = {(0, 1): 90, (1, 2): 80, (0, 2): 70, (2, 5): 20, (3, 0): 0}
    fake = SimpleNamespace(
        Database=FakeDatabase([900, 900, 900, 900, 12, 900, 900], pairs), pair_id_to_image_pair=lambda pair: pair
    )
    pictures = [Picture(f"photo{i}", f"{i}.jpg", (9, 9), (9, 9), (), 0.0) for i in range(7)]
    models = [["0.jpg", "1.jpg", "2.jpg"], ["2.jpg", "6.jpg"]]
    outcome = look_at_outcome(fake, Work(tmp_path, {}), pictures, models, {"bad": "is no picture"})
    assert outcome.placed == ["photo0", "photo1", "photo2"]
    assert outcome.left_out == {
        "bad": "is no picture",
        "photo3": "it shares too little with every photo it was compared with",
        "photo4": "it has 12 features: blurred, dark or without texture",
        "photo5": "its pose could not be found from the 1 photos with poses that it shares something with",
        "photo6": "it belongs to another model of 2 photos, which shares too little with it",
    }
    assert (outcome.models, outcome.n_features) == ([3, 2], 900)


@pytest.mark.parametrize(
    "changes, matching, is_video, advice",
    [
        ({}, "exhaustive", False, "add photos from between"),
        ({"n_features": 80}, "exhaustive", False, "fewer than 81 features"),
        ({"models": [3, 2]}, "exhaustive", False, "models of 3 and 2 photos"),
        ({}, "sequential", False, "--matching exhaustive compares all"),
        ({}, "sequential", True, "--frames 20"),
    ],
)
def test_too_few_poses_are_refused_with_advice(changes, matching, is_video, advice):
    outcome = replace(Outcome(["a", "b", "c"], {"d": "it is dark"}, [3], 900, 8.0), **changes)
    with pytest.raises(NerfkitError, match="found for 3 of 10 photos") as caught:
        refuse_few(outcome, 10, PosingSettings(), matching, Path("photos"), is_video=is_video)
    assert advice in caught.value.fix and "d (it is dark)" in caught.value.what
    refuse_few(outcome, 10, PosingSettings(min_share=0.3), matching, Path("photos"), is_video=is_video)


def test_what_is_done_is_kept(tmp_path):
    work = Work(tmp_path, {"seed": 0})
    assert not work.resume()
    work.finish("photos", ["a"])
    again = Work(tmp_path, {"seed": 0})
    assert again.resume() and again.done == {"photos": ["a"]}
    (tmp_path / "nerfkit.json").write_text(json.dumps({"nerfkit": "0", "command": "convert"}))
    assert not Work(tmp_path, {"seed": 0}).resume()
