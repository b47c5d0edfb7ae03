"""What all formats share: absent photos, matrices, EXIF and sizes, splits, skip_bad, the choice of format."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from photo_folders import frames, pose, save_photo, write_transforms
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import READERS, load_photos, read_posed_photos
from nerfkit.scenes.readers.photo_search import Found, PhotoSearch
from nerfkit.scenes.readers.posed import check_c2w, split_by_rule


def test_reading_needs_no_torch():
    modules = ", ".join(f"nerfkit.scenes.readers.{name}" for name in ("blender", "transforms", "colmap"))
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_no_such_path(tmp_path):
    with pytest.raises(NerfkitError, match="absent: no such file or folder"):
        read_posed_photos(tmp_path / "absent")


def test_a_folder_round_the_scene_says_which(tmp_path):
    write_transforms(tmp_path / "scene")
    with pytest.raises(NerfkitError, match=r"give .*scene, which has poses"):
        read_posed_photos(tmp_path)


def test_no_format_names_what_is_read_and_what_was_found(tmp_path):
    with pytest.raises(NerfkitError) as error:
        read_posed_photos(tmp_path)
    assert all(name in str(error.value) for name in READERS) and "found an empty folder" in str(error.value)
    save_photo(tmp_path / "images" / "0.png")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NerfkitError, match=r"found images/, notes\.txt; nerfkit process "):
        read_posed_photos(tmp_path)
    with pytest.raises(NerfkitError, match=r"found a file named notes\.txt"):
        read_posed_photos(tmp_path / "notes.txt")
    for i in range(9):
        (tmp_path / f"{i}").touch()
    with pytest.raises(NerfkitError, match="and 3 more"):
        read_posed_photos(tmp_path)


def test_absent_photos_are_skipped_with_one_warning(tmp_path, caplog):
    folder = write_transforms(tmp_path / "scene", n=10)
    for i in (0, 5):
        (folder / f"images/{i:02d}.png").unlink()
    with caplog.at_level(logging.WARNING):
        photos = read_posed_photos(folder)
    assert photos.skipped == ["images/00.png", "images/05.png"]
    assert photos.name == "scene" and photos.format == "transforms" and photos.root == folder
    assert len(caplog.records) == 1
    assert "2 of 10 listed photos are absent: images/00.png, images/05.png" in caplog.text
    # the rule counts the views that exist
    assert photos.files[photos.splits["test"][0]] == "images/01.png"
    np.testing.assert_allclose(photos.c2w[0], pose(1), atol=1e-12)


def test_a_lens_without_inverse_is_a_finding(tmp_path):
    entries = frames(6)
    entries[4] |= {"k1": -4.0}
    findings = Findings()
    read_posed_photos(write_transforms(tmp_path, entries=entries), findings=findings)
    (finding,) = findings
    assert finding.level == "warning" and "has no inverse in up to" in finding.what and "1 photos" in finding.what
    assert "images/04.png: perspective, k = (-4.0, 0.0, 0.0, 0.0)" in finding.what and "undistort" in finding.fix


def test_all_photos_absent(tmp_path):
    write_transforms(tmp_path, n=3, photos=False)
    with pytest.raises(NerfkitError, match=r"none of the 3 listed photos exists; the first is 'images/00\.png'"):
        read_posed_photos(tmp_path)


@pytest.mark.parametrize("n, n_train", [(1, 0), (2, 1)])
def test_too_few_views(tmp_path, n, n_train):
    write_transforms(tmp_path, n=n)
    with pytest.raises(NerfkitError, match=rf"{n} usable photos, {n_train} of them for training; .*at least 2"):
        read_posed_photos(tmp_path)


def test_split_rule():
    splits = split_by_rule(20)
    assert splits["test"] == [0, 8, 16] and splits["val"] == [4, 12]
    assert sorted(i for ids in splits.values() for i in ids) == list(range(20))


@pytest.mark.parametrize(
    "listed, found",
    [
        ("a", "a.png"),
        ("./a", "a.png"),
        ("b", "b.JPG"),
        ("c.d", "c.d.jpg"),
        ("a.png", "a.png"),
        ("s\\e.jpg", "s/e.jpg"),
    ],
)
def test_photos_are_found_with_and_without_suffix(tmp_path, listed, found):
    for name in ("a.png", "b.JPG", "c.d.jpg", "s/e.jpg"):
        save_photo(tmp_path / name)
    assert PhotoSearch(tmp_path).find(listed) == Found(found)


@pytest.mark.parametrize(
    "listed, found",
    [
        ("images/a.jpg", "images/a.png"),  # cut out after the poses were made
        ("images/A.PNG", "images/a.png"),
        ("images/b.png", "images/b.png.png"),  # Blender appended what was there already
        ("train/c.png.png", "train/c.png"),
        ("Images/d.png", "images/d.png"),
        ("C:\\Users\\me\\scene\\images\\a.png", "images/a.png"),
        ("/home/me/scene/images/a.png", "images/a.png"),
        ("scene/images/a.png", "images/a.png"),  # relative to the folder above
        ("photos/e.jpg", "images/e.jpg"),
        ("train/e.jpg", None),  # that folder is there, and it is not in it
        ("C:\\me\\scene\\train\\e.jpg", None),  # nor by a path of another machine
        ("x/twice.png", None),  # two may be meant
        ("train/twice.png", "train/twice.png"),
        ("images/m.png", None),  # a mask is no photo
        ("images/absent.png", None),
        ("", None),
    ],
)
def test_photos_are_found_by_the_end_of_their_path(tmp_path, listed, found):
    for name in (
        *("images/a.png", "images/b.png.png", "train/c.png", "images/d.png", "images/e.jpg", "masks/a.png"),
        *("train/twice.png", "test/twice.png", "masks/m.png", ".cache/images/a.png"),
    ):
        save_photo(tmp_path / name)
    place = PhotoSearch(tmp_path).find(listed)
    assert (None if place is None else place.file) == found


def test_a_photo_is_not_taken_for_two(tmp_path):
    save_photo(tmp_path / "train/r_0.png")
    # the folder test is absent: its photo is no photo of train
    assert PhotoSearch(tmp_path).find_all(["train/r_0.png", "test/r_0.png"]) == [Found("train/r_0.png"), None]


def test_photos_of_another_name_are_said(tmp_path):
    write_transforms(tmp_path, n=5)
    for file in list((tmp_path / "images").iterdir()):
        file.rename(file.with_suffix(".PNG" if file.stem == "00" else ".jpg"))
    findings = Findings()
    photos = read_posed_photos(tmp_path, findings=findings)
    assert photos.files == ["images/00.PNG", *(f"images/{i:02d}.jpg" for i in range(1, 5))]
    assert [finding.level for finding in findings] == ["info"]
    assert "5 of 5 photos have another name or place than is listed" in findings[0].what
    assert "'images/00.png' is read from images/00.PNG" in findings[0].what


def test_paths_of_another_machine_without_photos(tmp_path):
    entries = frames(4, name="C:\\me\\{:02d}.png")
    write_transforms(tmp_path, entries=entries, photos=False)
    with pytest.raises(NerfkitError, match=r"paths are of another machine: write names .*such as images/00\.png"):
        read_posed_photos(tmp_path)


def test_photos_that_may_be_several_are_named(tmp_path):
    write_transforms(tmp_path)
    (tmp_path / "images").rename(tmp_path / "images_2")
    write_transforms(tmp_path)
    (tmp_path / "images").rename(tmp_path / "images_4")
    with pytest.raises(NerfkitError, match=r"it may be any of images_2/00\.png, images_4/00\.png: list one"):
        read_posed_photos(tmp_path)


def sheared():
    matrix = np.eye(4)
    matrix[0, 1] = 0.1
    return matrix


@pytest.mark.parametrize(
    "matrix, message",
    [
        (None, "has no transform_matrix"),
        ("abc", "not a number, or rows of unequal length"),
        ([[1, 2], [3]], "rows of unequal length"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "this one has shape 3x3"),
        (5.0, "shape of a single number"),
        (np.full((4, 4), np.nan), "holds NaN or infinity"),
        (np.diag([1.0, 1, 0, 1]), "singular"),
        (np.zeros((3, 4)), "singular"),
        (sheared(), r"not orthonormal \(off by 0\.1, allowed 0\.001\)"),
        (np.diag([1.0, 1, 2, 1]), "not orthonormal"),
        (np.diag([1.0, 1, -1, 1]), "mirrors the world"),
        (pose(1).T, r"its last row is .* instead of 0 0 0 1 \(is it transposed\?\)"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(NerfkitError, match=rf"frame 3: .*{message}"):
        check_c2w(matrix, "frame 3")


def test_good_matrices():
    np.testing.assert_allclose(check_c2w(pose(2)[:3], ""), pose(2), atol=1e-12)
    scaled = pose(2)
    scaled[:3, :3] *= 0.33
    np.testing.assert_allclose(check_c2w(scaled, ""), pose(2), atol=1e-12)
    noisy = pose(2) + 1e-5 * np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_allclose(check_c2w(noisy, ""), pose(2), atol=1e-4)


def test_bad_frame_is_named_or_left_out(tmp_path, caplog):
    entries = frames(8)
    del entries[1]["transform_matrix"]
    entries[6]["transform_matrix"][0][0] = float("nan")
    write_transforms(tmp_path, entries=entries)
    (tmp_path / "images/03.png").write_bytes(b"")
    whole = (tmp_path / "images/04.png").read_bytes()
    (tmp_path / "images/04.png").write_bytes(whole[:50])
    with pytest.raises(NerfkitError, match=r"transforms\.json: frame 1 \(images/01\.png\): has no transform_matrix"):
        read_posed_photos(tmp_path)
    photos = read_posed_photos(tmp_path, skip_bad=True)
    assert photos.skipped == [f"images/0{i}.png" for i in (1, 3, 4, 6)]
    assert photos.files == [f"images/0{i}.png" for i in (0, 2, 5, 7)]
    assert photos.splits == {"train": [1, 2, 3], "val": [], "test": [0]}
    assert caplog.text.count("skipped ") == 4
    assert "frame 6 (images/06.png): its pose" in caplog.text and "NaN" in caplog.text
    assert len(load_photos(photos, range(4)).images) == 4


def test_nothing_good_left(tmp_path):
    write_transforms(tmp_path, entries=[{**entry, "transform_matrix": None} for entry in frames(3)])
    with pytest.raises(NerfkitError, match="0 usable photos"):
        read_posed_photos(tmp_path, skip_bad=True)


def test_same_aspect_rescales_and_says_so_once(tmp_path, caplog):
    write_transforms(tmp_path, w=1600.0, h=1200.0, fl_x=2000.0, cx=820.0)
    with caplog.at_level(logging.INFO):
        camera = read_posed_photos(tmp_path).cameras[0]
    assert (camera.width, camera.height) == (8, 6)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((10, 10, 4.1, 3))
    assert caplog.text.count("rescaled") == 1
    assert "intrinsics of 4 photos rescaled" in caplog.text and "listed 1600x1200, photo 8x6" in caplog.text


def test_another_aspect_is_refused(tmp_path):
    write_transforms(tmp_path, w=60, h=80)
    with pytest.raises(NerfkitError, match=r"00\.png: the photo has 8x6 pixels, its intrinsics are for 60x80"):
        read_posed_photos(tmp_path)


def write_turned(folder, orientation, **root):
    """Photos stored 8 wide and 6 high, with a red top left corner."""
    write_transforms(folder, **root)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[0, 0] = [255, 0, 0]
    for i in range(4):
        Image.fromarray(pixels).save(folder / f"images/{i:02d}.png", exif=exif)


@pytest.mark.parametrize(
    "stated, size, red_at",
    [
        ((6, 8), (6, 8), (0, 5)),  # the turned size: turned a quarter clockwise
        ((8, 6), (8, 6), (0, 0)),  # the stored size: poses and intrinsics are for the stored pixels
        ((800, 600), (8, 6), (0, 0)),  # the same at another scale
        ((None, None), (6, 8), (0, 5)),  # not stated: as a viewer shows it
    ],
)
def test_exif_follows_the_stated_size(tmp_path, caplog, stated, size, red_at):
    write_turned(tmp_path, 6, w=stated[0], h=stated[1])
    photos = read_posed_photos(tmp_path)
    camera = photos.cameras[0]
    assert (camera.width, camera.height) == size
    image = load_photos(photos, [0]).images[0]
    assert image[red_at].tolist() == [255, 0, 0]
    assert "4 photos have an EXIF orientation" in caplog.text
    assert ("4 stay as stored" in caplog.text) == (size == (8, 6))


def test_exif_upside_down_is_turned(tmp_path, caplog):
    write_turned(tmp_path, 3)
    assert load_photos(read_posed_photos(tmp_path), [1]).images[0][5, 7].tolist() == [255, 0, 0]
    assert "4 are turned by it, 0 stay" in caplog.text
