"""Writers: each format read again gives the same poses, cameras and rays; what a format cannot hold is said."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_folders import pose, save_photo, write_transforms
from PIL import Image

from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.scenes.writers import WRITERS, write_posed_photos
from nerfkit.scenes.writers.plan import distinct_names, flat_names

PLAIN = Camera(8, 6, 10.0, 10.0, 4.0, 3.0)
# lenses, and the formats that hold them
LENSES = {
    "plain": (PLAIN, {"transforms", "colmap", "colmap-text", "blender", "llff"}),
    "off centre": (replace(PLAIN, cx=4.25, fy=11.0), {"transforms", "colmap", "colmap-text"}),
    "brown": (
        replace(PLAIN, k=(0.1, -0.02, 0, 0), p=(1e-3, -2e-3)),
        {"transforms", "colmap", "colmap-text"},
    ),
    "r^8": (replace(PLAIN, k=(0.1, -0.02, 0.003, 0.001)), {"transforms"}),
    "rational": (
        replace(PLAIN, k=(0.1, -0.02, 0.01, 0), p=(1e-3, 0), q=(0.05, 0.01, 0.002)),
        {"transforms", "colmap", "colmap-text"},
    ),
    "fisheye": (
        replace(PLAIN, lens="fisheye", k=(0.1, -0.02, 0.003, 0.001)),
        {"transforms", "colmap", "colmap-text"},
    ),
    "thin prisms": (
        replace(PLAIN, lens="fisheye", k=(0.1, 0, 0, 0), p=(1e-3, 2e-3), s=(1e-3, 0, 2e-3, 0)),
        {"colmap", "colmap-text"},
    ),
    "fov": (replace(PLAIN, lens="fov", omega=0.9), {"colmap", "colmap-text"}),
}
CASES = [(name, to) for name in LENSES for to in WRITERS]


def make(folder, cameras=(PLAIN,), n=5, names="images/{:02d}.png", **options):
    """Posed photos of 8x6 pixels, each of its own colour."""
    files = [names.format(i) for i in range(n)]
    for i, file in enumerate(files):
        save_photo(folder / file, colour=(40 * i, 100, 50))
    # more than one turn of the circle, and not at the origin
    c2w = np.stack([pose(i) for i in range(n)]) + np.array([0, 0, 0, 1.0])[None, None] * [[0.5], [-2], [7], [0]]
    splits = options.pop("splits", {"train": [1, 2, 3], "val": [4], "test": [0]})
    cameras = [cameras[i % len(cameras)] for i in range(n)]
    return PosedPhotos("scene", folder, "transforms", files, cameras, c2w, splits, **options)


def by_colour(photos):
    """Index of each photo by the colour that tells it."""
    return {Image.open(photos.root / file).getpixel((0, 0)): i for i, file in enumerate(photos.files)}


def check_same(before, after, tolerance=1e-6):
    """The same photos with the same poses, cameras and rays, in whatever order."""
    order = by_colour(after)
    indices = {colour: index for colour, index in by_colour(before).items() if colour in order}
    assert len(indices) == len(after)
    pixels = np.stack(np.meshgrid(np.linspace(0, 8, 5), np.linspace(0, 6, 5)), -1).reshape(-1, 2)
    for colour, index in indices.items():
        other = order[colour]
        np.testing.assert_allclose(after.c2w[other], before.c2w[index], rtol=0, atol=tolerance)
        rays = [pixels_to_directions(photos.cameras[i], pixels) for photos, i in ((before, index), (after, other))]
        np.testing.assert_allclose(rays[1], rays[0], rtol=0, atol=tolerance)
        assert (after.cameras[other].width, after.cameras[other].height) == (8, 6)


def said(findings, level=None):
    return [finding.what for finding in findings if level in (None, finding.level)]


@pytest.mark.parametrize("name, to", CASES)
def test_a_lens_comes_back_or_is_refused(tmp_path, name, to):
    camera, held = LENSES[name]
    photos, findings = make(tmp_path / "in", [camera]), Findings()
    if to not in held:
        with pytest.raises(NerfkitError, match="cannot hold the cameras of 5 of 5 photos") as caught:
            write_posed_photos(photos, tmp_path / "out", to, findings=findings)
        assert any(f"--to {other}" in caught.value.fix for other in held)
        assert not (tmp_path / "out").exists()
        return
    write_posed_photos(photos, tmp_path / "out", to, findings=findings)
    again = read_posed_photos(tmp_path / "out", findings=Findings())
    check_same(photos, again)
    assert again.format == to.removesuffix("-text")
    # Blender's photos are listed split by split
    assert to == "blender" or again.splits == photos.splits
    assert said(findings, "warning") == []


@pytest.mark.parametrize("to", ["transforms", "colmap", "colmap-text", "llff"])
def test_a_camera_for_each_photo(tmp_path, to):
    cameras = [replace(PLAIN, fx=10.0 + i, fy=10.0 + i) for i in range(5)]
    photos = make(tmp_path / "in", cameras)
    write_posed_photos(photos, tmp_path / "out", to)
    again = read_posed_photos(tmp_path / "out")
    check_same(photos, again)
    assert [camera.fx for camera in again.cameras] == [10, 11, 12, 13, 14]


def test_blender_has_one_angle_for_all(tmp_path):
    photos = make(tmp_path / "in", [PLAIN, replace(PLAIN, fx=11.0, fy=11.0)])
    with pytest.raises(NerfkitError, match="angle of view differs"):
        write_posed_photos(photos, tmp_path / "out", "blender")


@pytest.mark.parametrize("to", WRITERS)
def test_photos_of_one_name_stay_apart(tmp_path, to):
    photos = make(tmp_path / "in", n=4, splits={"train": [0, 1, 2], "val": [], "test": [3]})
    for i in range(4):
        save_photo(tmp_path / f"in/cam{i % 2}/{i // 2}.png", colour=(40 * i, 100, 50))
    photos.files = [f"cam{i % 2}/{i // 2}.png" for i in range(4)]
    plan = write_posed_photos(photos, tmp_path / "out", to, findings=Findings())
    assert len(set(plan.names)) == 4
    check_same(photos, read_posed_photos(tmp_path / "out", findings=Findings()))


def test_names():
    assert distinct_names(["images/a.png", "images/b.png"]) == ["a.png", "b.png"]
    assert distinct_names(["a/A.png", "a/a.png"]) == ["A.png", "a_2.png"]
    assert distinct_names(["x/1.png", "x/1_2.png", "x/1.png"]) == ["1.png", "1_2.png", "1_3.png"]
    assert distinct_names(["/abs/p/1.png", "../p/2.png"]) == ["abs/p/1.png", "p/2.png"]
    assert flat_names(["train/r_0.png", "test/r_0.png"]) == ["train_r_0.png", "test_r_0.png"]


@pytest.mark.parametrize("to", ["transforms", "blender"])
def test_a_split_is_kept(tmp_path, to):
    photos = make(tmp_path / "in", splits={"train": [0, 4], "val": [1], "test": [1, 2]})
    findings = Findings()
    write_posed_photos(photos, tmp_path / "out", to, findings=findings)
    again = read_posed_photos(tmp_path / "out", findings=Findings())
    colours = {index: colour for colour, index in by_colour(photos).items()}
    for split, members in photos.splits.items():
        pictures = [Image.open(again.root / again.files[i]).getpixel((0, 0)) for i in again.splits[split]]
        assert pictures == [colours[i] for i in members]
    assert bool(said(findings)) == (to == "blender")
    assert len(set(again.files)) == (5 if to == "transforms" else 4)


def test_blender_says_that_it_cannot_leave_all_for_training(tmp_path):
    findings = Findings()
    photos = make(tmp_path / "in", splits={"train": [0, 1, 2, 3, 4], "val": [], "test": []})
    write_posed_photos(photos, tmp_path / "out", "blender", findings=findings)
    assert "cannot say so" in said(findings)[0]
    photos.splits = {"train": [], "val": [], "test": []}
    with pytest.raises(NerfkitError, match="no photo is in a split"):
        write_posed_photos(photos, tmp_path / "out", "blender", findings=findings)


@pytest.mark.parametrize("to", ["colmap", "llff"])
def test_what_a_format_does_not_hold_is_named(tmp_path, to):
    save_photo(tmp_path / "in/masks/00.png", mode="L", colour=255)
    photos = make(
        tmp_path / "in", [replace(PLAIN, image_circle=4.0)], splits={"train": [0, 1, 2, 3], "val": [], "test": [4]},
        masks=[tmp_path / "in/masks/00.png", None, None, None, None],
        depths=[None, tmp_path / "in/masks/00.png", None, None, None],
    )  # fmt: skip
    findings = Findings()
    write_posed_photos(photos, tmp_path / "out", to, findings=findings)
    masks, depths, circle, split = said(findings, "warning")
    assert depths.startswith("1 depth maps are left out")
    assert masks.startswith("1 masks are left out") and "fisheye_crop_radius" in circle and "held out" in split
    assert all("--to transforms" in finding.fix for finding in findings if finding.level == "warning")


def test_masks_and_hints_stay_in_transforms(tmp_path):
    save_photo(tmp_path / "in/masks/00.png", mode="L", colour=255)
    (tmp_path / "in/points.ply").write_text("ply")
    applied = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    hints = {"aabb_scale": 4, "applied_transform": applied, "ply_file_path": "points.ply", "near": 0.5}
    hints["depth_unit_scale_factor"] = 0.002
    np.save(tmp_path / "in/far.npy", np.ones((6, 8), np.float32))
    photos = make(
        tmp_path / "in", [replace(PLAIN, image_circle=4.0)], hints=hints,
        masks=[None, tmp_path / "in/masks/00.png", None, None, None],
        depths=[None, None, tmp_path / "in/far.npy", None, None],
    )  # fmt: skip
    write_posed_photos(photos, tmp_path / "out", "transforms")
    again = read_posed_photos(tmp_path / "out")
    assert again.masks == [None, tmp_path / "out/masks/01.png", None, None, None]
    assert again.depths == [None, None, tmp_path / "out/depth/02.npy", None, None]
    assert again.hints == {name: value for name, value in hints.items() if name != "near"}
    assert again.cameras[0].image_circle == 4
    assert (tmp_path / "out/points.ply").read_text() == "ply"


def test_depths_of_llff_are_kept_or_guessed(tmp_path):
    photos, findings = make(tmp_path / "in"), Findings()
    write_posed_photos(photos, tmp_path / "guessed", "llff", findings=findings)
    assert said(findings, "info")[0].startswith("nearest and farthest depths are guessed")
    rows = np.load(tmp_path / "guessed/poses_bounds.npy")
    np.testing.assert_allclose(rows[:, 15:], [[0.6, 15.0]] * 5, rtol=1e-6)
    photos.hints = {"near": 1.0, "far": 9.0}
    write_posed_photos(photos, tmp_path / "kept", "llff", findings=Findings())
    assert read_posed_photos(tmp_path / "kept").hints == photos.hints


def test_links_are_relative_and_copies_are_files(tmp_path):
    photos = make(tmp_path / "in")
    write_posed_photos(photos, tmp_path / "linked/deep", "colmap", link=True)
    link = tmp_path / "linked/deep/images/00.png"
    assert link.is_symlink() and str(link.readlink()) == "../../../in/images/00.png"
    write_posed_photos(photos, tmp_path / "copied", "colmap")
    assert not (tmp_path / "copied/images/00.png").is_symlink()
    check_same(photos, read_posed_photos(tmp_path / "linked/deep"))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("uses_exif", [True, False])
def test_exif_is_settled(tmp_path, suffix, uses_exif):
    photos = make(tmp_path / "in", names="images/{:02d}." + suffix)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: no size tells whether it is heeded
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[:3] = 200
    Image.fromarray(picture).save(tmp_path / f"in/images/00.{suffix}", exif=exif)
    photos.uses_exif, findings = [uses_exif] * 5, Findings()
    write_posed_photos(photos, tmp_path / "out", "colmap", link=True, findings=findings)
    assert said(findings)[0].startswith("1 photos have an EXIF orientation")
    target = tmp_path / f"out/images/00.{suffix}"
    with Image.open(target) as image:
        assert image.getexif().get(0x0112, 1) == 1
        top = np.asarray(image)[0, 4, 0]
    assert (top < 50) == uses_exif
    assert not target.is_symlink() and (tmp_path / f"out/images/01.{suffix}").is_symlink()


def test_the_suffix_of_png_is_left_to_nerfs_loader(tmp_path):
    save_photo(tmp_path / "in/images/00.png.png", colour=(0, 100, 50))
    photos = make(tmp_path / "in")
    photos.files[0] = "images/00.png.png"
    write_posed_photos(photos, tmp_path / "out", "blender", findings=Findings())
    listed = json.loads((tmp_path / "out/transforms_test.json").read_text())
    assert [frame["file_path"] for frame in listed["frames"]] == ["./test/00.png.png"]
    listed = json.loads((tmp_path / "out/transforms_train.json").read_text())
    assert listed["frames"][0]["file_path"] == "./train/01"


def test_pycolmap_reads_what_is_written(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    for name, (camera, held) in LENSES.items():
        for to in held & {"colmap", "colmap-text"}:
            out = tmp_path / name / to
            photos = make(tmp_path / "in", [camera])
            write_posed_photos(photos, out, to)
            model = pycolmap.Reconstruction(str(out / "sparse/0"))
            assert sorted(image.name for image in model.images.values()) == [f"{i:02d}.png" for i in range(5)]
            for image in model.images.values():
                index = int(image.name[:2])
                centre = photos.c2w[index, :3, 3]
                np.testing.assert_allclose(image.projection_center(), centre, atol=1e-9)
                # a point before the camera, projected by COLMAP, and by our ray through it
                pixel = np.array([[5.0, 2.0]])
                ray = photos.c2w[index, :3, :3] @ pixels_to_directions(camera, pixel)[0]
                np.testing.assert_allclose(image.project_point(centre + 4 * ray), pixel[0], atol=1e-6)


def test_errors_of_disk_and_format(tmp_path):
    photos = make(tmp_path / "in")
    with pytest.raises(NerfkitError, match="no format 'ply' is written"):
        write_posed_photos(photos, tmp_path / "out", "ply")
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match="cannot be written"):
        write_posed_photos(photos, tmp_path / "file", "colmap")


def test_photos_from_anywhere_round_trip_through_transforms(tmp_path):
    folder = write_transforms(tmp_path / "scene", n=4)
    first = read_posed_photos(folder)
    for i, file in enumerate(first.files):
        save_photo(folder / file, colour=(40 * i, 1, 1))
    write_posed_photos(first, tmp_path / "a", "colmap")
    second = read_posed_photos(tmp_path / "a")
    write_posed_photos(second, tmp_path / "b", "blender")
    third = read_posed_photos(tmp_path / "b")
    check_same(first, third)


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
@pytest.mark.parametrize("to", ["transforms", "colmap", "colmap-text", "blender"])
def test_names_that_are_no_utf_8_there_and_back(tmp_path, to):
    photos = make(tmp_path / "a", names="images/" + os.fsdecode(b"gr\xfcn") + "_{:02d}.png")
    write_posed_photos(photos, tmp_path / "b", to)
    again = read_posed_photos(tmp_path / "b")
    assert sorted(Path(file).name for file in again.files) == sorted(Path(file).name for file in photos.files)
