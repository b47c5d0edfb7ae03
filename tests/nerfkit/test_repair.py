"""`nerfkit doctor --fix`: each usual mistake found in photos of a room, and datasets that have several put right."""

import json
from dataclasses import replace

import numpy as np
import pytest
from photo_folders import save_photo, write_transforms
from PIL import Image
from textured_room import photograph, room_poses, textures

from nerfkit.doctor import examine_data
from nerfkit.doctor.copies import find_copies, held_out_copies
from nerfkit.doctor.matches import Features, Matches
from nerfkit.doctor.misplaced import find_misplaced
from nerfkit.doctor.mistakes import find_mistake
from nerfkit.doctor.repair import repair_data, without
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.poses import similarity_between
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.transforms import read_transforms

FLIP, MIRROR = np.diag([1.0, -1.0, -1.0, 1.0]), np.diag([1.0, 1.0, -1.0, 1.0])
N = 12
RIGHT = {"fl_x": 280.0, "fl_y": 280.0, "w": 320, "h": 240}


def write_room(folder, pictures, matrices=None, order=None, **root):
    """A transforms.json of the photos with matrices as given."""
    matrices = room_poses(N) if matrices is None else matrices
    entries = [{"file_path": f"images/{i:02d}.png", "transform_matrix": m.tolist()} for i, m in enumerate(matrices)]
    write_transforms(folder, entries=entries, photos=False, **(RIGHT | root))
    (folder / "images").mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"images/{(order or range(N))[i]:02d}.png")
    return folder


@pytest.fixture(scope="module")
def pictures():
    walls = textures()
    return [photograph(c2w, walls) for c2w in room_poses(N)]


@pytest.fixture(scope="module")
def photos(pictures, tmp_path_factory):
    return read_posed_photos(write_room(tmp_path_factory.mktemp("room") / "room", pictures), findings=Findings())


@pytest.fixture(scope="module")
def matches(photos):
    return Features(photos, 500).matches([(i, i + 2) for i in range(0, 10, 2)])


def with_focal(matches, factor):
    cameras = {i: replace(c, fx=c.fx * factor, fy=c.fy * factor) for i, c in matches.cameras.items()}
    return replace(matches, cameras=cameras)


def off_centre(c2w):
    """The world's origin elsewhere, so that signs of positions matter."""
    out = c2w.copy()
    out[:, :3, 3] += [3.0, 2.0, 1.0]
    return out


def sign(axis):
    def read(c2w):
        out = c2w.copy()
        out[:, axis, 3] *= -1
        return out

    return read


@pytest.mark.parametrize(
    "wrong, factor, words",
    [
        (lambda m: m, 1.0, None),
        (lambda m: m, 1.04, None),
        (lambda m: m @ FLIP, 1.0, "the poses are camera to world, OpenCV axes"),
        (np.linalg.inv, 1.0, "the poses are world to camera, OpenGL axes"),
        (lambda m: np.linalg.inv(m @ FLIP), 1.0, "the poses are world to camera, OpenCV axes"),
        (sign(1), 1.0, "the poses are mirrored: their positions have y with the wrong sign"),
        (
            lambda m: MIRROR @ m @ MIRROR,
            1.0,
            "the poses are left-handed: z of the world and of the cameras",
        ),
        (lambda m: m, 0.5, "the focal length is of photos half as large"),
        (lambda m: m, 2.0, "the focal length is of photos twice as large"),
        (lambda m: m, 4 / 3, "the focal length is of the other side: the angle of the height was taken for that"),
        (lambda m: m, 0.6, "the focal length is 0.60 times"),
        (lambda m: m @ FLIP, 1.6, "the poses are camera to world, OpenCV axes and the focal length is 1.60 times"),
        (lambda m: m[[7, 2, 9, 0, 4, 11, 6, 1, 8, 3, 10, 5]], 1.0, None),
    ],
)
def test_a_mistake_is_found_by_what_photos_share(matches, wrong, factor, words):
    right = off_centre(room_poses(N))
    listed = with_focal(matches, factor)
    mistake = find_mistake(listed, wrong(right))
    if words is None:
        assert mistake is None
        return
    assert mistake is not None and mistake.words.startswith(words)
    assert mistake.after > 0.85 and mistake.before < 0.9 * mistake.after
    np.testing.assert_allclose(mistake.c2w(wrong(right)), right, atol=1e-9)
    assert mistake.camera(listed.cameras[0]).fx == pytest.approx(matches.cameras[0].fx, rel=0.02)


def test_single_photos_with_other_poses_are_told(photos):
    features, right = Features(photos, 400), room_poses(N)
    assert find_misplaced(features, right).poses == {}
    exchanged = right[[0, 9, 2, 3, 4, 5, 6, 7, 8, 1, 10, 11]]
    assert find_misplaced(features, exchanged).poses == {1: 9, 9: 1}
    strange = right.copy()
    strange[5] = room_poses(40)[0] @ np.diag([-1.0, 1, -1, 1])
    found = find_misplaced(features, strange)
    assert (found.poses, found.wrong, found.is_clear) == ({}, [5], True)
    shuffled = right[[7, 2, 9, 0, 4, 11, 6, 1, 8, 3, 10, 5]]
    assert not find_misplaced(features, shuffled).is_clear


def test_no_points_say_nothing():
    assert find_mistake(Matches({}, [], []), room_poses(2)) is None


def check_poses(out, names):
    """The poses of photos are the room's, up to where its origin is and how it is turned."""
    found = read_posed_photos(out, findings=Findings())
    assert [file.split("/")[-1] for file in found.files] == [f"{i:02d}.png" for i in names]
    known = room_poses(N)[names]
    scale, turn, shift = similarity_between(found.c2w[:, :3, 3], known[:, :3, 3])
    np.testing.assert_allclose(scale * found.c2w[:, :3, 3] @ turn.T + shift, known[:, :3, 3], atol=1e-6)
    np.testing.assert_allclose(turn @ found.c2w[:, :3, :3], known[:, :3, :3], atol=1e-6)
    return found


def test_a_dataset_with_several_faults(pictures, tmp_path, nerfkit):
    matrices = room_poses(N) @ FLIP
    matrices[11, 0, 0] = np.nan
    # a copy of a photo to train on, and a pose of no photo
    matrices[10] = matrices[0]
    matrices[5] = room_poses(40)[0] @ np.diag([-1.0, 1, -1, 1])
    names = [f"images/{i:02d}.png" for i in range(N)]
    lists = {"train_filenames": names[:9], "val_filenames": [names[9]], "test_filenames": [names[10]]}
    folder = write_room(tmp_path / "a room", pictures, matrices, **lists)
    (folder / "images/03.png").rename(folder / "images/03.PNG")
    (folder / "images/04.png").write_text("no picture")
    (folder / "images/08.png").unlink()
    (folder / "images/10.png").write_bytes((folder / "images/00.png").read_bytes())
    examined = nerfkit("doctor", folder)
    assert examined.code == 2
    assert "images/00.png = images/10.png" in examined.out and "trained on and held out at once" in examined.out
    answer = nerfkit("doctor", folder, "--fix", "-o", tmp_path / "fixed", "--json")
    changes = "\n".join(answer.json["changes"])
    for words in (
        "3 frames are left out", "NaN", "04.png: is not an image", "images/03.png' is read from images/03.PNG",
        "the poses are camera to world, OpenCV axes",
        "1 photos are held out as well, and no longer trained on: images/00.png",
        "1 photos are left out, since their poses do not fit them: images/05.png",
    ):  # fmt: skip
        assert words in changes, words


def test_cameras_of_photos_on_their_side_and_matrices_that_mirror(pictures, tmp_path, nerfkit):
    mirrored = np.diag([1.0, -1, 1, 1]) @ room_poses(N)
    folder = write_room(tmp_path / "room", pictures, mirrored, w=240, h=320, cx=160.0, cy=120.0)
    assert nerfkit("doctor", folder).code == 2
    answer = nerfkit("doctor", folder, "--fix", "-o", tmp_path / "fixed", "--link")
    assert answer.code == 0
    assert "changed: 12 matrices mirrored the world" in answer.out
    assert "changed: width and height of the cameras of 12 photos were exchanged" in answer.out
    found = check_poses(tmp_path / "fixed", list(range(N)))
    camera = found.cameras[0]
    assert (camera.width, camera.height, camera.cx, camera.fx) == (320, 240, 160, 280)
    note = json.loads((tmp_path / "fixed/nerfkit.json").read_text())
    assert note["command"] == "doctor --fix" and len(note["changes"]) == 2


def test_doctor_names_photos_with_the_poses_of_others(pictures, tmp_path):
    right = room_poses(N)
    matrices = right[[0, 9, 2, 3, 4, 5, 6, 7, 8, 1, 10, 11]]
    matrices[5] = room_poses(40)[0] @ np.diag([-1.0, 1, -1, 1])
    report = examine_data(write_room(tmp_path / "room", pictures, matrices))
    exchanged, wrong = (problem for problem in report.problems if problem.level == "error")
    assert exchanged.what.startswith("poses of photos are exchanged: images/01.png and images/09.png, by the")
    assert wrong.what.startswith("1 photos have poses that others deny") and wrong.what.endswith("images/05.png")
    assert "--fix -o" in exchanged.fix and "leave them out: nerfkit doctor" in wrong.fix


def test_positions_in_another_unit_are_said(pictures, tmp_path):
    matrices = room_poses(N)
    matrices[:, :3, 3] *= 1000
    report = examine_data(write_room(tmp_path / "room", pictures, matrices, aabb_scale=4))
    assert report.ok
    assert any("far beyond the scene's box (aabb_scale 4): probably millimetres" in p.what for p in report.problems)


def test_transposed_matrices_and_a_photo_listed_twice(pictures, tmp_path):
    matrices = room_poses(N).transpose(0, 2, 1)
    folder = write_room(tmp_path / "room", pictures, matrices)
    content = json.loads((folder / "transforms.json").read_text())
    content["frames"].append(content["frames"][3])
    (folder / "transforms.json").write_text(json.dumps(content))
    repaired = repair_data(folder, tmp_path / "fixed", to="colmap")
    assert repaired.changes[:2] == ["13 matrices were transposed", "1 photos were listed more than once: images/03.png"]
    assert repaired.report is not None and repaired.report.ok
    check_poses(tmp_path / "fixed", list(range(N)))


def test_what_cannot_be_put_right_is_said(pictures, tmp_path, nerfkit):
    order = [7, 2, 9, 0, 4, 11, 6, 1, 8, 3, 10, 5]
    folder = write_room(tmp_path / "room", pictures, order=order)
    answer = nerfkit("doctor", folder, "--fix", "-o", tmp_path / "fixed")
    assert "left: the poses fit the photos in no way that was tried; `nerfkit process` finds new ones" in answer.out
    assert "changed: nothing" in answer.out
    for arguments, what in (
        (["--fix", "-o", tmp_path / "x"], "needs a dataset"), ([folder, "--fix"], "needs a folder for the new dataset"),
        ([folder, "-o", tmp_path / "x"], "--out: is for --fix"),
        ([folder, "--fix", "-o", tmp_path / "fixed"], "is not empty"),
        ([tmp_path, "--fix", "-o", tmp_path / "x"], "no poses found"),
    ):  # fmt: skip
        refused = nerfkit("doctor", *arguments)
        assert refused.code == 2 and what in refused.err


def test_where_nothing_can_be_matched_the_axes_decide(tmp_path):
    entries = [{"file_path": f"images/{i:02d}.png", "transform_matrix": (m @ FLIP).tolist()} for i, m in
               enumerate(room_poses(N))]  # fmt: skip
    folder = write_transforms(tmp_path / "plain", entries=entries)
    for i in range(N):
        save_photo(folder / f"images/{i:02d}.png", colour=(9 * i, 9, 9))
    repaired = repair_data(folder, tmp_path / "fixed")
    assert "the poses are taken for camera to world, OpenCV axes" in repaired.changes[0]
    np.testing.assert_allclose(read_posed_photos(tmp_path / "fixed").c2w, room_poses(N), atol=1e-9)


def test_copies_are_told_by_their_bytes(tmp_path):
    write_transforms(tmp_path, n=6)
    for i in (0, 1, 2, 3):
        save_photo(tmp_path / f"images/{i:02d}.png", colour=(60 * i, 9, 9))
    photos = read_transforms(tmp_path, False, Findings())
    assert photos is not None
    assert find_copies(photos) == [[4, 5]]
    assert photos.splits == {"train": [1, 2, 3, 5], "val": [4], "test": [0]}
    assert held_out_copies(photos) == [(5, 4)]
    fewer = without(photos, [0, 2])
    assert fewer.files == [f"images/{i:02d}.png" for i in (1, 3, 4, 5)]
    assert fewer.splits == {"train": [0, 1, 3], "val": [2], "test": []}
    assert len(fewer.c2w) == len(fewer.cameras) == 4 and isinstance(fewer.cameras[0], Camera)
    with pytest.raises(NerfkitError, match="no such file"):
        repair_data(tmp_path / "no", tmp_path / "out")
