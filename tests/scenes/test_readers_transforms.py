"""transforms.json and Blender folders: intrinsics, lists, broken json, the real fox and lego."""

import json
import math
import re

import numpy as np
import pytest
from photo_folders import DATA, frames, needs_data, pose, save_photo, write_transforms

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import load_photos, read_posed_photos


def camera_of(folder, **root):
    return read_posed_photos(write_transforms(folder, **root)).cameras[0]


def test_root_intrinsics(tmp_path):
    root = {
        "fl_y": 11,
        "cx": 4.5,
        "cy": 2.5,
        "w": 8.0,
        "h": 6.0,
        "k1": 0.1,
        "k2": -0.2,
        "k3": 0.3,
        "p1": 1e-3,
    }
    camera = camera_of(tmp_path, **root, k4=0.4, p2=-2e-3, camera_model="OPENCV")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (10, 11, 4.5, 2.5)
    assert camera.k == (0.1, -0.2, 0.3, 0.4) and camera.p == (1e-3, -2e-3) and camera.lens == "perspective"
    assert isinstance(camera.width, int) and (camera.width, camera.height) == (8, 6)


def test_frame_intrinsics_go_before_the_root(tmp_path):
    entries = frames(4)
    entries[0] |= {"fl_x": 20.0, "k1": 0.5, "camera_model": "OPENCV_FISHEYE"}
    entries[1] |= {"camera_angle_x": math.pi / 2}
    photos = read_posed_photos(write_transforms(tmp_path, entries=entries))
    assert [c.fx for c in photos.cameras] == pytest.approx([20, 4, 10, 10])
    assert [c.lens for c in photos.cameras] == ["fisheye"] + 3 * ["perspective"]
    assert photos.cameras[0].k[0] == 0.5 and not photos.cameras[2].has_distortion


@pytest.mark.parametrize(
    "root, want",
    [
        ({"camera_angle_x": math.pi / 2}, (4, 4)),
        ({"camera_angle_y": math.pi / 2}, (3, 3)),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, (4, 3)),
        ({"fl_x": 9, "camera_angle_x": 1.0}, (9, 9)),
        ({"fl_y": 7}, (7, 7)),
    ],
)
def test_focal_length_from_what_there_is(tmp_path, root, want):
    camera = camera_of(tmp_path, **({"fl_x": None, "w": None, "h": None} | root))
    assert (camera.fx, camera.fy) == pytest.approx(want)
    assert (camera.cx, camera.cy) == (4, 3)


@pytest.mark.parametrize(
    "root, lens",
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "fisheye"),
        ({"is_fisheye": True}, "fisheye"),
        ({"is_fisheye": False}, "perspective"),
        ({"camera_model": "SIMPLE_PINHOLE"}, "perspective"),
        ({"camera_model": "RADIAL"}, "perspective"),
    ],
)
def test_lens_models(tmp_path, root, lens):
    camera = camera_of(tmp_path, k1=0.1, p1=0.01, **root)
    assert camera.lens == lens and camera.k[0] == 0.1
    assert camera.p == ((0, 0) if lens == "fisheye" else (0.01, 0))


@pytest.mark.parametrize(
    "root, message",
    [
        (
            {"fl_x": None},
            "no focal length: looked for fl_x, fl_y, camera_angle_x, camera_angle_y, x_fov, y_fov in the frame",
        ),
        ({"fl_x": "wide"}, "fl_x must be a finite number; got 'wide'"),
        ({"k1": float("inf")}, "k1 must be a finite number; got inf"),
        ({"cx": True}, "cx must be a finite number; got True"),
        ({"fl_x": -3}, "focal length must be positive; got -3"),
        ({"fl_x": 0}, "focal length must be positive; got 0"),
        ({"fl_x": None, "camera_angle_x": 40}, "camera_angle_x must be in radians, 0 to pi; got 40"),
        ({"fl_x": None, "x_fov": 200}, "x_fov must be in degrees, 0 to 180; got 200"),
        ({"is_fisheye": True, "k5": 0.1}, "a fisheye lens has k1 to k4; got k5 = 0.1, k6 = 0"),
        ({"w": 0}, "w and h must be at least 1 pixel; got 0 and 6"),
        (
            {"camera_model": "EQUIRECTANGULAR"},
            "camera_model 'EQUIRECTANGULAR' is not supported; known: PINHOLE",
        ),
    ],
)
def test_bad_intrinsics_name_file_and_frame(tmp_path, root, message):
    write_transforms(tmp_path, **root)
    with pytest.raises(NerfkitError, match=rf"transforms\.json: frame 0 \(images/00\.png\): .*{message}"):
        read_posed_photos(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{\n  "frames": [,]\n}', "broken json in line 2, column 14: Expecting value"),
        ("[1, 2]", "holds a json list; an object with 'frames' is expected"),
        ("{}", "has no frames: .* got None; its keys are none"),
        ('{"frames": [], "w": 8}', r"has no frames: .* not empty; got \[\]; its keys are frames, w"),
        ('{"frames": [{"transform_matrix": []}]}', "frame 0: has no file_path; got {'transform_matrix'"),
        ('{"frames": ["photo.png"]}', "frame 0: has no file_path; got 'photo.png'"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "transforms.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(NerfkitError, match=rf"transforms\.json: {message}"):
        read_posed_photos(tmp_path)


def test_byte_order_mark_is_no_error(tmp_path):
    file = write_transforms(tmp_path) / "transforms.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_posed_photos(tmp_path)) == 4


def test_the_json_itself_may_be_given(tmp_path):
    write_transforms(tmp_path / "scene", file="cleaned.json", aabb_scale=4)
    photos = read_posed_photos(tmp_path / "scene" / "cleaned.json")
    assert (photos.name, len(photos), photos.hints) == ("scene", 4, {"aabb_scale": 4})
    with pytest.raises(NerfkitError, match="no poses found"):
        read_posed_photos(tmp_path / "scene")


@pytest.mark.parametrize(
    "root", [{"camera_model": "FULL_OPENCV"}, {"camera_model": "OPENCV", "k6": 0.03}, {"k5": 0.02}]
)
def test_the_rational_lens(tmp_path, root):
    camera = camera_of(tmp_path, k1=0.1, k2=0.2, k3=0.3, k4=0.4, p1=0.01, **root)
    assert (camera.lens, camera.k, camera.p) == ("perspective", (0.1, 0.2, 0.3, 0), (0.01, 0))
    assert camera.q == (0.4, root.get("k5", 0), root.get("k6", 0))


def test_the_circle_of_a_fisheye(tmp_path):
    assert camera_of(tmp_path, is_fisheye=True, fisheye_crop_radius=2.5).image_circle == 2.5


def test_the_pose_of_a_rolling_shutter_is_half_way(tmp_path):
    entries = frames(5)
    start, end = np.array(pose(2)), np.array(pose(2))
    end[:3, 3] += [0.2, 0, 0]
    end[:3, :3] = end[:3, :3] @ [[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]]
    del entries[2]["transform_matrix"]
    entries[2] |= {"transform_matrix_start": start.tolist(), "transform_matrix_end": end.tolist()}
    findings = Findings()
    found = read_posed_photos(write_transforms(tmp_path, entries=entries), findings=findings).c2w[2]
    np.testing.assert_allclose(found[:3, 3], start[:3, 3] + [0.1, 0, 0])
    half = [[np.cos(0.1), 0, np.sin(0.1)], [0, 1, 0], [-np.sin(0.1), 0, np.cos(0.1)]]
    np.testing.assert_allclose(found[:3, :3], start[:3, :3] @ half, atol=1e-12)
    assert "1 photos have poses at the beginning and the end of their exposure" in findings[0].what


def test_keys_that_are_not_read_are_named(tmp_path):
    entries = frames(5)
    entries[1]["exposure_bias"] = 0.5
    entries[2]["sharpness"] = 12.0
    findings = Findings()
    read_posed_photos(write_transforms(tmp_path, entries=entries, sx1=0.1, aabb_scale=4), findings=findings)
    assert [finding.what for finding in findings] == ["is read without sx1 and of its frames exposure_bias"]


def test_a_list_that_is_val_and_test(tmp_path):
    names = {"train_filenames": [f"images/{i:02d}.png" for i in range(3)]}
    held_out = ["images/03.png", "images/04.png"]
    photos = read_posed_photos(
        write_transforms(tmp_path, n=5, **names, val_filenames=held_out, test_filenames=held_out)
    )
    assert photos.splits == {"train": [0, 1, 2], "val": [3, 4], "test": [3, 4]}


def test_lists_of_files_are_the_splits(tmp_path):
    names = {"train_filenames": ["images/03.png", "./images/01.png"], "test_filenames": ["images/00.png"]}
    photos = read_posed_photos(write_transforms(tmp_path, n=5, **names))
    assert photos.splits == {"train": [1, 3], "val": [], "test": [0]}


def test_without_a_train_list_the_rest_is_train(tmp_path):
    photos = read_posed_photos(write_transforms(tmp_path, val_filenames=["images/02.png"]))
    assert photos.splits == {"train": [0, 1, 3], "val": [2], "test": []}


def test_list_that_names_no_frame(tmp_path):
    write_transforms(tmp_path, test_filenames=["images/77.png"])
    with pytest.raises(NerfkitError, match=r"test_filenames names 'images/77\.png', which is no frame's file_path"):
        read_posed_photos(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: entries.insert(3, {"transform_matrix": pose(3).tolist()}), "frame 3: has no file_path"),
        (lambda entries: entries.insert(3, "images/03.png"), "frame 3: has no file_path"),
        (lambda entries: entries.insert(3, {**entries[3], "w": -5}), "w and h must be at least 1 pixel"),
        (lambda entries: entries.insert(3, {**entries[3], "fl_x": "wide"}), "fl_x must be a finite number"),
        (lambda entries: entries.insert(3, {**entries[3], "camera_model": "?"}), "camera_model '?' is not supported"),
        (lambda entries: entries[3].update(mask_path="absent.png"), "mask 'absent.png' does not exist"),
    ],
)
def test_bad_entries_are_left_out_and_named(tmp_path, change, said):
    entries = frames(8)
    change(entries)
    write_transforms(tmp_path, entries=entries, photos=False)
    for i in range(8):
        save_photo(tmp_path / f"images/{i:02d}.png")
    with pytest.raises(NerfkitError, match=re.escape(said)):
        read_posed_photos(tmp_path)
    findings = Findings()
    photos = read_posed_photos(tmp_path, skip_bad=True, findings=findings)
    assert len(photos) == 8 and [finding.level for finding in findings] == ["error"]
    assert said in str(findings[0]) and "frame 3" in str(findings[0])


def test_a_listed_name_that_is_no_frame_is_left_out(tmp_path):
    names = [entry["file_path"] for entry in frames(8)]
    write_transforms(tmp_path, n=8, train_filenames=[*names[:6], "gone.png"], test_filenames=names[6:])
    findings = Findings()
    photos = read_posed_photos(tmp_path, skip_bad=True, findings=findings)
    assert photos.splits["train"] == list(range(6)) and "train_filenames names 'gone.png'" in str(findings[0])


def test_all_entries_bad_is_an_error(tmp_path):
    write_transforms(tmp_path, entries=[{"file_path": ""}] * 3, photos=False)
    with pytest.raises(NerfkitError, match="frame 0: has no file_path"):
        read_posed_photos(tmp_path, skip_bad=True)


@pytest.mark.parametrize("suffix", [".HEIC", ".nef"])
def test_photos_of_a_kind_that_is_not_read_say_how_to_convert(tmp_path, suffix):
    entries = [{**entry, "file_path": f"images/{i}{suffix}"} for i, entry in enumerate(frames(4))]
    write_transforms(tmp_path, entries=entries, photos=False)
    (tmp_path / "images").mkdir()
    for i in range(4):
        (tmp_path / f"images/{i}{suffix}").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    how = "pip install pillow-heif" if suffix == ".HEIC" else "develop them all alike"
    with pytest.raises(NerfkitError, match=rf"images/0\{suffix}: \{suffix} is not read; .*{how}"):
        read_posed_photos(tmp_path)


def test_masks_are_found_or_missed(tmp_path):
    entries = frames(4)
    entries[2]["mask_path"] = "masks/02.png"
    write_transforms(tmp_path, entries=entries)
    with pytest.raises(NerfkitError, match=r"frame 2 .*mask 'masks/02\.png' does not exist"):
        read_posed_photos(tmp_path)
    save_photo(tmp_path / "masks/02.png", mode="L", colour=255)
    assert read_posed_photos(tmp_path).masks == [None, None, tmp_path / "masks/02.png", None]


def write_blender(folder, **counts):
    for split, n in counts.items():
        entries = frames(n, name=f"./{split}/r_{{}}")
        angle = {"camera_angle_x": math.pi / 2, "fl_x": None, "w": None, "h": None}
        write_transforms(folder, file=f"transforms_{split}.json", entries=entries, **angle)
    return folder


def test_blender_splits_as_listed(tmp_path):
    photos = read_posed_photos(write_blender(tmp_path, train=5, val=2, test=3))
    assert photos.format == "blender" and photos.files[5] == "val/r_0.png"
    assert photos.splits == {"train": [0, 1, 2, 3, 4], "val": [5, 6], "test": [7, 8, 9]}
    assert photos.cameras[0].fx == pytest.approx(4)


def test_blender_missing_splits(tmp_path):
    photos = read_posed_photos(write_blender(tmp_path / "a", train=5, test=2))
    assert photos.splits == {"train": [0, 1, 2, 3, 4], "val": [], "test": [5, 6]}
    alone = read_posed_photos(write_blender(tmp_path / "b", train=10))
    assert alone.splits == {"train": [1, 2, 3, 5, 6, 7, 9], "val": [4], "test": [0, 8]}
    with pytest.raises(NerfkitError, match=r"has transforms_val\.json, transforms_test\.json but no transforms_train"):
        read_posed_photos(write_blender(tmp_path / "c", val=3, test=3))


def test_a_damaged_list_of_what_is_held_out_is_left_out(tmp_path):
    for split in ("train", "val", "test"):
        write_transforms(tmp_path, n=4, file=f"transforms_{split}.json")
    (tmp_path / "transforms_val.json").write_text('{"frames": [')
    with pytest.raises(NerfkitError, match="broken json"):
        read_posed_photos(tmp_path)
    findings = Findings()
    photos = read_posed_photos(tmp_path, skip_bad=True, findings=findings)
    assert {split: len(views) for split, views in photos.splits.items()} == {"train": 4, "val": 0, "test": 4}
    assert "transforms_val.json: broken json" in str(findings[0])
    (tmp_path / "transforms_train.json").write_text("[")
    with pytest.raises(NerfkitError, match=r"transforms_train\.json: broken json"):
        read_posed_photos(tmp_path, skip_bad=True)


def test_blender_json_given_means_its_folder(tmp_path):
    write_blender(tmp_path, train=5, val=2)
    assert len(read_posed_photos(tmp_path / "transforms_val.json")) == 7


def test_transforms_beside_blenders_test_json_is_read(tmp_path):
    write_blender(tmp_path, test=3)
    write_transforms(tmp_path, n=4)
    assert read_posed_photos(tmp_path).format == "transforms"


@needs_data("fox")
def test_fox():
    photos = read_posed_photos(DATA / "fox")
    assert (photos.name, photos.format, len(photos), len(photos.skipped)) == ("fox", "transforms", 50, 17)
    assert photos.splits["test"] == list(range(0, 50, 8)) and photos.hints == {"aabb_scale": 4}
    camera = photos.cameras[0]
    assert (camera.width, camera.height, camera.fx, camera.k[0]) == (1080, 1920, 1375.52, 0.0578421)
    loaded = load_photos(photos, [0, 49], downscale=4.8)
    assert [image.shape for image in loaded.images] == [(400, 225, 3)] * 2


@needs_data("lego_400")
def test_lego():
    photos = read_posed_photos(DATA / "lego_400")
    assert {split: len(ids) for split, ids in photos.splits.items()} == {"train": 100, "val": 5, "test": 15}
    assert photos.cameras[0].fx == pytest.approx(200 / math.tan(0.6911112070083618 / 2))
    image = load_photos(photos, [0], max_side=100).images[0]
    assert image.shape == (100, 100, 4) and image[0, 0, 3] == 0 and image[50, 50, 3] == 255
    # the cameras look at the bricks, about the origin
    forward = -photos.c2w[:, :3, 2]
    to_origin = -photos.c2w[:, :3, 3] / np.linalg.norm(photos.c2w[:, :3, 3], axis=-1, keepdims=True)
    assert (forward * to_origin).sum(-1).min() > 0.98


def test_matrix_is_taken_as_it_is(tmp_path):
    photos = read_posed_photos(write_transforms(tmp_path))
    np.testing.assert_allclose(photos.c2w, [pose(i) for i in range(4)], atol=1e-12)
    assert json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["file_path"] == photos.files[0]
