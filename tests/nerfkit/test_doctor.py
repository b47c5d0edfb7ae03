"""Each thing that can be wrong with a dataset, found in a tiny one that has it; and nothing in a healthy one."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lowres_scenes import turned_frames, write
from photo_folders import frames, pose, save_photo, write_transforms
from PIL import Image

from nerfkit.doctor import conventions, cost, examine_data
from nerfkit.doctor.findings import Report
from nerfkit.doctor.posed import check_photos
from nerfkit.scenes.noise import noise_level
from nerfkit.scenes.poses import look_at
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.shifts import write_shifts

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
# how a file may hold poses [n, 4, 4] that are right
WAYS = {
    "camera to world, OpenCV axes": lambda c2w: c2w @ FLIP,
    "world to camera, OpenGL axes": np.linalg.inv,
    "world to camera, OpenCV axes": lambda c2w: np.linalg.inv(c2w @ FLIP),
}


def found(report, level=None):
    """The problems of a level as text: where, what and fix."""
    return [f"{p.where}: {p.what}; {p.fix}" for p in report.problems if level in (None, p.level)]


def the_one(report, level):
    (text,) = found(report, level)
    return text


def write_scene(folder, **content):
    """A dataset whose photos have no plain background, nor anything that could be matched."""
    write_transforms(folder, **content)
    rng = np.random.default_rng(0)
    for photo in folder.glob("images/*.png"):
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(photo)
    return folder


def smooth_texture(side, cell, seed=0):
    """A random picture [side, side] whose blobs are about `cell` pixels."""
    coarse = np.random.default_rng(seed).random((side // cell + 1, side // cell + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)


def ring(n=12):
    """Cameras ten degrees apart that look down at the origin."""
    angle = np.radians(10.0 * np.arange(n))
    eyes = np.stack([2 * np.cos(angle), 2 * np.sin(angle), np.full(n, 2.5)], axis=1)
    return look_at(eyes, [0, 0, 0], [0, 0, 1])


def photograph(c2w, texture, size=(160, 120), focal=150.0):
    """A photo of a textured plane z = 0, 4 x 4 world units, as a pinhole camera takes it."""
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    directions = np.stack([(column - size[0] / 2) / focal, (size[1] / 2 - row) / focal, -np.ones_like(row)], axis=-1)
    world = directions @ c2w[:3, :3].T
    points = c2w[:3, 3] - world * (c2w[2, 3] / world[..., 2:])
    index = ((points[..., :2] / 4 + 0.5) * len(texture)).astype(int).clip(0, len(texture) - 1)
    return (255 * texture[index[..., 1], index[..., 0]]).astype(np.uint8)


@pytest.fixture(scope="module")
def photos_of_a_plane():
    texture = smooth_texture(1000, 12)
    return [photograph(c2w, texture) for c2w in ring()]


def write_plane(folder, images, c2w, order=None, **root):
    """A transforms.json of the photos of the plane with poses ``c2w`` as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, image in enumerate(images):
        name = f"{(order or range(len(images)))[i]:02d}.png"
        Image.fromarray(image).convert("RGB").save(folder / name)
        entries.append({"file_path": f"{i:02d}.png", "transform_matrix": c2w[i].tolist()})
    content = {"fl_x": 150.0, "w": 160, "h": 120, "frames": entries} | root
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def test_a_healthy_dataset(tmp_path, photos_of_a_plane):
    report = examine_data(write_plane(tmp_path / "scene", photos_of_a_plane, ring()))
    # 12 views make 9 to train on, which is all that is wrong
    assert the_one(report, None).startswith(f"{tmp_path / 'scene'}: only 9 views to train on; 30 or more")
    assert report.ok
    assert report.facts["kind"] == "posed photos"
    assert report.facts["splits"] == {"train": 9, "val": 1, "test": 2}
    assert report.facts["sizes"] == {"160x120": 12}
    assert report.facts["cameras"]["front"] == 1
    assert report.facts["photos_agree"]["shares"][conventions.EXPECTED] > 0.8
    assert report.facts["background"] == "none" and report.facts["bounds"]["contract"]
    assert 300 < report.facts["memory_mb"] < 2000 and report.facts["expected_minutes"] == 2
    assert report.next_command == f"nerfkit train {tmp_path / 'scene'}"
    json.dumps(report.as_dict())


@pytest.mark.parametrize("way", WAYS)
def test_another_convention_is_seen_in_the_photos_and_mended(tmp_path, photos_of_a_plane, way):
    folder = write_plane(tmp_path / "a scene", photos_of_a_plane, WAYS[way](ring()))
    report = examine_data(folder)
    text = the_one(report, "error")
    assert "the poses follow another convention: as listed" in text
    assert f"read as {way} " in text
    fix = next(p.fix for p in report.problems if p.level == "error")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(fix, shell=True, check=True, env={**os.environ, "PATH": path})
    assert found(examine_data(folder), "error") == []
    np.testing.assert_allclose(read_posed_photos(folder).c2w, ring(), atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_another_convention_is_seen_in_the_axes_where_photos_show_nothing(tmp_path, way):
    entries = [
        {"file_path": f"images/{i}.png", "transform_matrix": m.tolist()} for i, m in enumerate(WAYS[way](ring()))
    ]
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    text = the_one(report, "error")
    assert "the convention is probably flipped" in text
    assert f"read as {way}" in text
    assert "if the photos were taken outwards" in text
    assert "np.diag" in text or way == "world to camera, OpenGL axes"


def test_a_colmap_model_of_another_convention_is_exported_again(tmp_path):
    photos = read_posed_photos(write_scene(tmp_path / "scene", n=12))
    photos = dataclasses.replace(photos, format="colmap", c2w=photos.c2w @ FLIP)
    report = Report("dataset")
    check_photos(photos, tmp_path / "scene", report)
    assert "export the model again with COLMAP" in the_one(report, "error")


def test_cameras_that_look_away_from_each_other(tmp_path):
    entries = frames(12)
    for entry in entries[::2]:
        entry["transform_matrix"] = (np.array(entry["transform_matrix"]) @ FLIP).tolist()
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert not any("look away" in text or "convention" in text for text in found(report))
    for entry in entries[1:4:2]:
        entry["transform_matrix"] = (np.array(entry["transform_matrix"]) @ FLIP).tolist()
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert "67% of the cameras look away from where their axes meet" in found(report, "warning")[-1]


def test_poses_of_other_photos(tmp_path, photos_of_a_plane):
    order = [5, 0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10]
    report = examine_data(write_plane(tmp_path / "scene", photos_of_a_plane, ring(), order))
    assert report.ok
    assert "the poses do not fit the photos: of" in found(report, "warning")[-1]


def test_all_bad_frames_are_named_at_once(tmp_path):
    entries = frames(14)
    for i in (1, 2):
        entries[i]["transform_matrix"][0][0] = float("nan")
    entries[3]["transform_matrix"] = (np.array(pose(3)) @ np.diag([1, 2, 1, 1])).tolist()
    entries[4]["transform_matrix"] = (np.array(pose(4)) @ np.diag([-1, 1, 1, 1])).tolist()
    folder = write_scene(tmp_path / "scene", entries=entries)
    (folder / "images/05.png").write_text("no picture")
    photo = folder / "images/06.png"
    photo.write_bytes(photo.read_bytes()[:60])
    (folder / "images/07.png").unlink()
    report = examine_data(folder)
    errors = found(report, "error")
    assert len(errors) == 5
    assert "2 photos: " in errors[0] and "holds NaN or infinity" in errors[0]
    # the file is said once
    assert errors[0].startswith(f"{folder / 'transforms.json'}: frame 1 (images/01.png), frame 2 (images/02.png): 2")
    assert "not orthonormal" in errors[1]
    assert "mirrors the world" in errors[2]
    assert "images/05.png: is not an image" in errors[3]
    assert "images/06.png: cannot be decoded" in errors[4]
    assert all("--skip-bad" in error for error in errors)
    assert "1 of 14 listed photos are absent: images/07.png" in found(report, "warning")[0]
    assert report.facts["views"] == 7 and report.facts["absent"] == 1


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: (folder / "transforms.json").write_text('{"frames": ['), "broken json in line 1"),
        (lambda folder: [p.unlink() for p in folder.glob("images/*")], "none of the 12 listed photos exists"),
        (lambda folder: [p.write_bytes(b"") for p in folder.glob("images/*")], "0 usable photos"),
    ],
)
def test_a_dataset_that_cannot_be_read(tmp_path, write, message):
    folder = write_scene(tmp_path / "scene", n=12)
    write(folder)
    report = examine_data(folder)
    assert not report.ok
    assert message in found(report, "error")[-1]
    assert report.next_command == f"nerfkit doctor {folder}"


def test_two_photos_of_one_pose(tmp_path):
    entries = frames(12)
    entries[5]["transform_matrix"] = entries[2]["transform_matrix"]
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert "1 photos have the pose of another: images/02.png = images/05.png" in found(report, "warning")[1]


def test_all_poses_the_same(tmp_path):
    entries = [{**entry, "transform_matrix": pose(0).tolist()} for entry in frames(12)]
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert "all 12 poses are the same" in the_one(report, "error")


def test_a_photo_listed_twice(tmp_path):
    entries = [*frames(12), {"file_path": "images/03.png", "transform_matrix": pose(20).tolist()}]
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert any("listed more than once: images/03.png" in text for text in found(report, "warning"))


@pytest.mark.parametrize(
    ("intrinsics", "level", "message"),
    [
        ({"fl_x": 1000.0}, "error", "angle of view of 0.344 degrees; 5 to 170 is plausible (20 photos)"),
        ({"fl_x": 0.3, "fl_y": 0.3}, "error", "angle of view of 171 degrees"),
        ({"cx": 20.0, "cy": 3.0}, "warning", "principal point outside the photo (20 photos)"),
        ({"fl_x": 10.0, "fl_y": 7.0}, "warning", "fl_x is 1.43 times fl_y"),
    ],
)
def test_implausible_intrinsics(tmp_path, intrinsics, level, message):
    report = examine_data(write_scene(tmp_path / "scene", n=20, **intrinsics))
    assert message in the_one(report, level)


def test_a_folder_round_the_scene(tmp_path):
    write_scene(tmp_path / "scene", n=20)
    report = examine_data(tmp_path)
    assert the_one(report, "error").endswith(f"give {tmp_path / 'scene'}, which has")
    assert report.next_command == f"nerfkit doctor {tmp_path / 'scene'}"


def test_photos_of_several_sizes(tmp_path):
    folder = write_scene(tmp_path / "scene", n=20)
    save_photo(folder / "images/03.png", size=(16, 12))
    report = examine_data(folder)
    assert report.ok
    assert "photos have 2 sizes; 1 are not 8x6: images/03.png" in the_one(report, "warning")
    assert "intrinsics of 1 photos rescaled" in the_one(report, "info")


def test_a_photo_that_is_turned(tmp_path):
    folder = write_scene(tmp_path / "scene", n=20)
    save_photo(folder / "images/03.png", size=(6, 8))
    text = the_one(examine_data(folder), "error")
    assert "the photo has 6x8 pixels, its intrinsics are for 8x6" in text
    assert "turned by 90 degrees" in text


def test_width_and_height_that_are_exchanged(tmp_path):
    report = examine_data(write_scene(tmp_path / "scene", n=20, w=6, h=8, cx=4.1, cy=2.9))
    text = found(report, "error")[0]
    assert (
        "20 photos" in text
        and "width and height are exchanged, as the principal point (4.1, 2.9) is that of the photo" in text
    )
    assert "write w 8 and h 6" in text


def test_masks(tmp_path):
    entries = frames(20)
    entries[3]["mask_path"] = "masks/03.png"
    save_photo(tmp_path / "scene/masks/03.png", mode="L", colour=0)
    report = examine_data(write_scene(tmp_path / "scene", entries=entries))
    assert "no pixel of 1 photos counts: images/03.png" in the_one(report, "warning")
    assert report.facts["left_out"] == pytest.approx(1 / 15, abs=1e-4)  # of the 15 that are trained on


def test_no_views_held_out(tmp_path):
    names = [entry["file_path"] for entry in frames(20)]
    report = examine_data(write_scene(tmp_path / "scene", n=20, train_filenames=names))
    val, test = found(report, "warning")
    assert "no view is held out as val: training reports no PSNR" in val
    assert "no view is held out as test: `nerfkit eval` has nothing" in test


def test_some_photos_with_alpha(tmp_path):
    folder = write_scene(tmp_path / "scene", n=20)
    for i in range(1, 20, 2):
        image = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
        image.paste((200, 50, 5 * i, 255), (3, 2, 6, 4))
        image.save(folder / f"images/{i:02d}.png")
    report = examine_data(folder)
    assert "are partly transparent, the others opaque: images/02.png" in the_one(report, "warning")


def test_photos_of_nothing(tmp_path):
    folder = write_scene(tmp_path / "scene", n=20)
    for photo in folder.glob("images/*.png"):
        Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(photo)
    assert "every photo shows only the background" in the_one(examine_data(folder), "error")


def test_plain_photos_have_a_bounded_scene(scene_folder):
    report = examine_data(scene_folder)
    assert report.problems == []
    assert report.facts["bounds"]["contract"] is False
    assert report.facts["background"] in ("white", "plain")


def test_too_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "memory_free", lambda: 100_000_000)
    text = the_one(examine_data(write_scene(tmp_path / "scene", n=20)), "error")
    assert "MB of memory, 100 MB are free" in text
    assert "--downscale" in text


def test_time_is_measured_when_asked_for(scene_folder, monkeypatch):
    measured = {"memory_mb": 456.0, "photos_mb": 1.0, "parameters": 7, "ms_per_step": 90.0, "expected_seconds": 180.0}
    monkeypatch.setattr("nerfkit.estimates.estimate", lambda prepared: measured)
    report = examine_data(scene_folder, is_timed=True)
    assert report.facts["expected_minutes"] == 3
    assert ("expected minutes", "3 by default (--seconds changes it), 90 ms a step") in report.lines


def test_views_that_say_nothing_of_where_the_scene_is():
    parallel = np.tile(np.eye(4), (4, 1, 1))
    parallel[:, 0, 3] = range(4)
    assert conventions.measure_convergence(parallel) is None
    assert conventions.guess_from_axes(parallel) is None
    assert conventions.choose_pairs(parallel) == []


def test_pairs_are_ten_degrees_apart_and_share_no_view():
    pairs = conventions.choose_pairs(ring(1000))
    assert len(pairs) == conventions.N_PAIRS
    assert len({view for pair in pairs for view in pair}) == 2 * conventions.N_PAIRS


# frames


def shifts_on_a_raster(n_side=4):
    """n_side^2 shifts in the middles of the cells of a pixel, the reference at (0, 0), scattered over two pixels."""
    places = [((i + 0.5) / n_side, (j + 0.5) / n_side) for i in range(n_side) for j in range(n_side)]
    whole = np.random.default_rng(0).integers(-1, 2, (len(places), 2))
    shifts = np.array(places) + whole
    shifts[0] = 0
    return shifts


def write_frames(folder, shifts, *, side=40, factor=8, noise=0.005, csv=None, light=None):
    """Frames of a blotchy scene, each pixel the mean of factor x factor fine ones; ``csv`` are the shifts to write."""
    margin = factor * (4 + int(np.abs(shifts).max()))
    scene = 0.2 + 0.6 * smooth_texture(side * factor + 2 * margin, 2 * factor)
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    for i, (dx, dy) in enumerate(shifts):
        x, y = margin + round(dx * factor), margin + round(dy * factor)
        fine = scene[y : y + side * factor, x : x + side * factor]
        frame = fine.reshape(side, factor, side, factor).mean((1, 3)) + rng.normal(0, noise, (side, side))
        frame = frame * (1 if light is None else light[i])
        Image.fromarray((255 * frame).clip(0, 255).round().astype(np.uint8)).save(folder / f"{i:02d}.png")
    if csv is not None:
        rows = [f"{i:02d}.png,{dx},{dy}" for i, (dx, dy) in enumerate(csv)]
        (folder / "shifts.csv").write_text("\n".join(["file,dx,dy", *rows]))
    return folder


def test_a_healthy_sequence(tmp_path):
    report = examine_data(write_frames(tmp_path / "burst", shifts_on_a_raster()))
    assert report.problems == []
    assert report.facts["kind"] == "frames"
    assert report.facts["frames"] == 16 and report.facts["size"] == [40, 40]
    assert report.facts["shifts"]["source"] == "registered"
    assert report.facts["scale"] >= 3
    assert report.facts["measured_share"]["2"] > 0.6
    assert 0.002 < report.facts["noise"] < 0.05
    assert report.next_command.startswith(f"nerfkit superres {tmp_path / 'burst'} -o out.png --scale ")
    json.dumps(report.as_dict())


def test_shifts_that_fit(tmp_path):
    shifts = shifts_on_a_raster()
    report = examine_data(write_frames(tmp_path / "burst", shifts, csv=shifts))
    assert report.problems == []
    assert report.facts["shifts"]["source"] == "from shifts.csv"
    assert report.facts["scale"] == 4
    assert report.next_command.endswith(f"--scale 4 --shifts {tmp_path / 'burst' / 'shifts.csv'}")


@pytest.mark.parametrize(
    ("change", "message"), [(lambda s: -s, "both signs changed"), (lambda s: s[:, ::-1], "dx and dy exchanged")]
)
def test_shifts_of_another_convention(tmp_path, change, message):
    shifts = 2.5 * shifts_on_a_raster()
    report = examine_data(write_frames(tmp_path / "burst", shifts, csv=change(shifts)))
    text = the_one(report, "error")
    assert message in text and "shifts.csv" in text
    assert report.facts["shifts"]["source"] == "registered"


@pytest.mark.parametrize("perspective", [0.0, 3e-4], ids=["affine", "homography"])
def test_matrices_are_checked_as_superres_does(tmp_path, nerfkit, perspective):
    images, matrices = turned_frames(n=12, side=40, perspective=perspective, degrees=4.0)
    folder = write(tmp_path / "turned", images)
    names, file = [f"f{index}.png" for index in range(len(images))], folder / "shifts.csv"
    kind, rows = ("homography", 3) if perspective else ("affine", 2)
    write_shifts(file, names, matrices[:, :rows], kind)
    report = examine_data(folder)
    assert report.problems == [] and report.facts["shifts"]["source"] == "from shifts.csv"
    assert report.facts["scale"] > 1 and report.next_command.endswith(f"--shifts {file}")
    write_shifts(file, names, np.linalg.inv(matrices)[:, :rows], kind)
    report = examine_data(folder)
    refused = nerfkit("superres", folder, "-o", tmp_path / "o.png", "--shifts", file, "--json").json["error"]
    (problem,) = (problem for problem in report.problems if problem.level == "error")
    assert "with their inverse by" in problem.what
    assert (problem.what, problem.where, problem.fix) == (refused["what"], refused["where"], refused["fix"])
    assert report.facts["shifts"]["source"] == "registered"


def test_shifts_that_cannot_be_read(tmp_path):
    shifts = shifts_on_a_raster()
    csv = shifts.copy()
    csv[3, 1] = np.nan
    text = the_one(examine_data(write_frames(tmp_path / "burst", shifts, csv=csv)), "error")
    assert "shifts.csv" in text and "line 5: dy is nan" in text


def test_copies_of_a_frame(tmp_path):
    folder = write_frames(tmp_path / "burst", shifts_on_a_raster())
    (folder / "07.png").write_bytes((folder / "03.png").read_bytes())
    report = examine_data(folder)
    assert "1 of 16 frames repeat others and add nothing: 07.png = 03.png" in the_one(report, "warning")
    assert report.facts["duplicates"] == 1


def test_frames_that_moved_by_whole_pixels(tmp_path):
    shifts = np.random.default_rng(0).integers(-2, 3, (16, 2)).astype(float)
    shifts[0] = 0
    report = examine_data(write_frames(tmp_path / "burst", shifts, csv=shifts))
    texts = found(report, "warning")
    assert report.facts["scale"] == 1
    assert any("of the detail at 2x, the rest is what the prior makes of it: their sub-pixel" in text for text in texts)
    assert any("add frames with other shifts" in text for text in texts)


def test_what_stands_still_on_the_sensor_is_said_and_does_not_hold_the_registration(tmp_path):
    folder = write_frames(tmp_path / "burst", shifts_on_a_raster())
    is_hot = np.random.default_rng(2).random((40, 40)) < 0.02
    for file in folder.glob("*.png"):
        Image.fromarray(np.where(is_hot, 255, np.asarray(Image.open(file))).astype(np.uint8)).save(file)
    report = examine_data(folder)
    assert "something stands still on the sensor while the scene moves" in the_one(report, "warning")
    assert report.facts["sensor_pattern"] and min(report.facts["shifts"]["largest"]) > 0.9
    clean = examine_data(write_frames(tmp_path / "clean", shifts_on_a_raster()))
    assert not clean.facts["sensor_pattern"]
    np.testing.assert_allclose(report.facts["shifts"]["largest"], clean.facts["shifts"]["largest"], atol=0.4)


def test_a_frame_that_moved_far(tmp_path):
    shifts = shifts_on_a_raster()
    shifts[5] = (6.5, 0.5)
    text = the_one(examine_data(write_frames(tmp_path / "burst", shifts)), "warning")
    assert "1 frames moved by more than a tenth of the frame: 05.png" in text


def test_changing_light(tmp_path):
    light = np.linspace(1, 0.8, 16)
    text = the_one(examine_data(write_frames(tmp_path / "burst", shifts_on_a_raster(), light=light)), "warning")
    assert "brightness changes by" in text and "darkest 15.png, brightest 00.png" in text


def test_one_frame(tmp_path):
    report = examine_data(write_frames(tmp_path / "burst", np.zeros((1, 2))))
    assert "detail finer than its pixels is not in it and is not recovered" in the_one(report, "warning")
    assert report.next_command.endswith("--scale 2")


def test_frames_of_nothing(tmp_path):
    for i in range(4):
        save_photo(tmp_path / f"{i}.png", size=(40, 40))
    report = examine_data(tmp_path)
    assert "the frames show nothing" in the_one(report, "error")


def test_all_odd_frames_are_named_at_once(tmp_path):
    folder = write_frames(tmp_path / "burst", shifts_on_a_raster())
    save_photo(folder / "03.png", size=(30, 40))
    save_photo(folder / "04.png", size=(30, 30))
    (folder / "05.png").write_bytes(b"")
    first, second = found(examine_data(folder), "error")
    assert "05.png: this frame cannot be read (it is empty" in first
    assert "the frames have 3 sizes; 2 of 16 are not 40x40: 03.png, 04.png" in second


def test_an_array_of_frames(tmp_path):
    folder = write_frames(tmp_path / "burst", shifts_on_a_raster())
    stack = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])
    np.savez(tmp_path / "burst.npz", frames=stack)
    report = examine_data(tmp_path / "burst.npz")
    assert report.problems == [] and report.facts["frames"] == 16
    bad = stack.astype(np.float32) / 255
    bad[2, 0, 0] = np.nan
    np.savez(tmp_path / "bad.npz", frames=bad)
    assert "frame 2: 1 of its" in the_one(examine_data(tmp_path / "bad.npz"), "error")


@pytest.fixture
def no_log():
    """The check-up reads findings, not what is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_findings_of_photos_do_not_come_by_the_log(tmp_path, no_log):
    entries = frames(14)
    entries[1]["transform_matrix"][0][0] = float("nan")
    folder = write_scene(tmp_path / "scene", entries=entries)
    (folder / "images/07.png").unlink()
    save_photo(folder / "images/03.png", size=(16, 12))
    report = examine_data(folder)
    assert "NaN" in the_one(report, "error")
    assert "1 of 14 listed photos are absent: images/07.png" in found(report, "warning")[0]
    assert "intrinsics of 1 photos rescaled" in the_one(report, "info")


def test_photos_of_16_bits_are_a_finding(tmp_path, no_log):
    folder = write_scene(tmp_path / "scene", n=14)
    ramp = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint16) * 1000
    for file in folder.glob("images/*"):
        Image.fromarray(ramp).resize(Image.open(file).size).save(file)
    report = examine_data(folder)
    assert "photos have 16 bits a channel and are read as 8: images/0" in the_one(report, "info")


def test_photos_of_which_none_is_usable_are_to_be_mended_and_not_added_to(tmp_path):
    folder = write_scene(tmp_path / "scene", n=12)
    for file in folder.glob("images/*"):
        file.write_bytes(b"")
    first, last = found(examine_data(folder), "error")
    assert first.startswith(f"{folder}/images/00.png, 01.png, 02.png, 03.png, 04.png and 7 more: 12 photos: ")
    assert "mend those that are left out" in last and "add photos" not in last


def test_findings_of_frames_do_not_come_by_the_log(tmp_path, no_log):
    shifts = np.random.default_rng(0).integers(-2, 3, (16, 2)).astype(float)
    folder = write_frames(tmp_path / "burst", shifts, csv=shifts)
    (folder / "a.HEIC").write_bytes(b"x")
    report = examine_data(folder)
    texts = found(report, "warning")
    assert any("1 .HEIC is not read, and the 16 other pictures" in text for text in texts)
    assert any("every shift is a whole number of low-res pixels" in text for text in texts)


def test_a_check_up_leaves_the_log_to_others(tmp_path):
    handlers = logging.getLogger("nerfkit").handlers[:]
    examine_data(write_frames(tmp_path / "burst", shifts_on_a_raster()))
    assert logging.getLogger("nerfkit").handlers == handlers


def test_kinds_that_are_not_read_are_errors(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.fits").write_bytes(b"SIMPLE  =")
    text = the_one(examine_data(tmp_path), "error")
    assert "4 .fits are not read" in text and "astropy" in text


def test_a_stack_is_examined_as_its_frames(tmp_path):
    import tifffile

    folder = write_frames(tmp_path / "burst", shifts_on_a_raster())
    stack = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    whole, single = examine_data(folder), examine_data(tmp_path / "stack.tif")
    names = ("frames", "size", "noise", "shifts", "scale", "measured_share")
    assert single.problems == [] and all(single.facts[name] == whole.facts[name] for name in names)


def test_no_dataset_at_all(tmp_path):
    assert "absent: no such file or folder" in the_one(examine_data(tmp_path / "absent"), "error")
    text = the_one(examine_data(tmp_path), "error")
    for name in ("an empty folder", "transforms_train.json", "transforms.json", "cameras.bin", "frames: give"):
        assert name in text


def test_noise_of_frames_without_any():
    ramp = np.add.outer(np.arange(50), 2 * np.arange(60)) / 200
    assert noise_level(ramp) < 1e-12
    assert noise_level(np.zeros((2, 5))) == 0
