"""Datasets name files of their own folder and the one above it; those elsewhere are refused by every reader."""

import json
import os

import numpy as np
import pytest
from photo_folders import frames, pose, save_photo, write_transforms

from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.places import VARIABLE, also_read, is_allowed, plain_name
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.writers import write_posed_photos


@pytest.fixture
def root(tmp_path):
    """A dataset's folder, deep enough that there is something outside."""
    folder = tmp_path / "home" / "data" / "scene"
    folder.mkdir(parents=True)
    return folder


def test_what_lies_in_the_folder_or_beside_it_is_allowed(root):
    assert is_allowed(root, "images/0.png") and is_allowed(root, "../images/0.png")
    assert is_allowed(root, str(root / "0.png")) and is_allowed(root, str(root.parent / "other" / "0.png"))
    assert not is_allowed(root, "../../secret.png") and not is_allowed(root, "../images/../../secret.png")
    assert not is_allowed(root, "/secret.png") and not is_allowed(root, "../.ssh/key.png")


def test_a_folder_of_the_whole_disk_has_nothing_beside_it(monkeypatch, tmp_path):
    monkeypatch.setattr("pathlib.Path.resolve", lambda path, strict=False: path)
    top = type(tmp_path)(tmp_path.anchor) / "data"
    assert is_allowed(top, "0.png") and not is_allowed(top, "../etc/0.png")


def test_a_link_to_the_folder_is_seen_through(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert is_allowed(tmp_path / "link", "../images/0.png")
    assert not is_allowed(tmp_path / "link", str(tmp_path / "0.png"))


def test_plain_names():
    assert plain_name("./images//a/../0.png") == "images/0.png"
    assert plain_name("..\\x\\0.png") == "../x/0.png" and plain_name("//etc/0.png") == "/etc/0.png"


def test_folders_can_be_allowed(root, tmp_path, monkeypatch):
    assert not is_allowed(root, str(tmp_path / "photos" / "0.png"))
    with also_read([tmp_path / "photos"]):
        assert is_allowed(root, str(tmp_path / "photos" / "0.png"))
        assert not is_allowed(root, str(tmp_path / "other" / "0.png"))
    assert not is_allowed(root, str(tmp_path / "photos" / "0.png"))
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(tmp_path / "x"), str(tmp_path / "photos")]))
    assert is_allowed(root, str(tmp_path / "photos" / "0.png"))


# --- each reader ---


def transforms(root, name):
    entries = frames(4)
    entries[2]["file_path"] = name
    write_transforms(root, entries=entries, photos=False)


def blender(root, name):
    entries = frames(4)
    entries[2]["file_path"] = name
    write_transforms(root, entries=entries, file="transforms_train.json", photos=False, camera_angle_x=0.7, fl_x=None)


def colmap(root, name):
    model = root / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 SIMPLE_PINHOLE 8 6 10 4 3\n")
    names = ["00.png", "01.png", name, "03.png"]
    rows = [f"{i} 1 0 0 0 {i} 0 0 1 {n}\n\n" for i, n in enumerate(names)]
    (model / "images.txt").write_text("".join(rows))


READERS = {"transforms": transforms, "blender": blender, "colmap": colmap}


def put_photos(root):
    for i in (0, 1, 3):
        save_photo(root / f"images/{i:02d}.png")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_photo_of_another_folder_is_refused(root, tmp_path, kind, is_absolute):
    put_photos(root)
    save_photo(tmp_path / "private.png")
    # COLMAP's names are below images/, whatever they begin with
    up = "../../../.." if kind == "colmap" else "../../.."
    if is_absolute and kind == "colmap":
        up, is_absolute = "../../../..", False
    READERS[kind](root, str(tmp_path / "private.png") if is_absolute else f"{up}/private.png")
    with pytest.raises(NerfkitError, match=r"private\.png' is outside of the dataset's folder .*scene") as error:
        read_posed_photos(root)
    assert f"--also-read {tmp_path}" in error.value.fix and error.value.where
    findings = Findings()
    photos = read_posed_photos(root, skip_bad=True, findings=findings)
    assert len(photos) == 3 and len(photos.skipped) == 1
    assert [finding.level for finding in findings if "outside" in finding.what] == ["error"]
    with also_read([tmp_path]):
        assert len(read_posed_photos(root)) == 4


@pytest.mark.parametrize("kind", READERS)
def test_a_photo_beside_the_folder_is_read(root, kind):
    put_photos(root)
    save_photo(root.parent / "photos" / "02.png")
    READERS[kind](root, f"{'../' * (kind == 'colmap')}../photos/02.png")
    assert len(read_posed_photos(root)) == 4


def test_links_to_photos_are_followed(root, tmp_path):
    save_photo(tmp_path / "far.png")
    write_transforms(root, n=4)
    (root / "images/02.png").unlink()
    (root / "images/02.png").symlink_to(tmp_path / "far.png")
    assert len(read_posed_photos(root)) == 4


def test_llff_lists_its_own_folder(root):
    rows = np.zeros((4, 17))
    for i, row in enumerate(rows):
        row[:15] = np.hstack(
            [pose(i)[:3, :3] @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], pose(i)[:3, 3:], [[6], [8], [10]]]
        ).ravel()
    np.save(root / "poses_bounds.npy", rows)
    for i in range(4):
        save_photo(root / f"images/{i:02d}.png")
    assert all(is_allowed(root, file) for file in read_posed_photos(root).files)


@pytest.mark.parametrize("key", ["mask_path", "depth_file_path"])
def test_masks_and_depth_maps_of_another_folder_are_refused(root, tmp_path, key):
    save_photo(tmp_path / "private.png", mode="L", colour=255)
    entries = frames(4)
    entries[1][key] = "../../../private.png"
    write_transforms(root, entries=entries)
    with pytest.raises(NerfkitError, match=r"private\.png' is outside of the dataset's folder"):
        read_posed_photos(root)
    photos = read_posed_photos(root, skip_bad=True, findings=Findings())
    found = photos.masks if key == "mask_path" else photos.depths
    assert len(photos) == 4 and found == [None] * 4


def test_a_name_that_no_file_system_takes_is_absent(root):
    entries = frames(4)
    entries[1]["file_path"], entries[2]["file_path"] = "a" * 5000, "a\0b.png"
    for i in (0, 3):
        save_photo(root / f"images/{i:02d}.png")
    write_transforms(root, entries=entries, photos=False)
    with pytest.raises(NerfkitError, match="2 usable photos"):
        read_posed_photos(root)


def test_the_option_is_heard(root, tmp_path, capsys):
    put_photos(root)
    save_photo(tmp_path / "private.png")
    transforms(root, "../../../private.png")
    command = ["convert", str(root), "-o", str(tmp_path / "out"), "--json"]
    assert main(command) == 2
    assert "--also-read" in json.loads(capsys.readouterr().out)["error"]["fix"]
    assert main([*command, "--also-read", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["photos"] == 4


@pytest.mark.parametrize("name", ["a\x1b[2J\r.png", "\ud800.png", "\x9b31m.png"])
def test_names_move_no_cursor_and_stop_no_command(root, tmp_path, capsys, name):
    put_photos(root)
    transforms(root, name)
    assert main(["convert", str(root), "-o", str(tmp_path / "out")]) == 0
    said = "".join(capsys.readouterr())
    assert "1 of 4 listed photos are absent" in said and not set(said) & set("\x1b\r\x9b\ud800")
    assert main(["convert", str(root / name), "-o", str(tmp_path / "other")]) == 2
    assert not set("".join(capsys.readouterr())) & set("\x1b\r\x9b\ud800")


# --- what is written ---


@pytest.mark.parametrize("to", ["transforms", "colmap", "colmap-text", "blender", "llff"])
def test_no_name_leads_out_of_a_new_dataset(root, tmp_path, to):
    """Photos that are listed by absolute paths, with two slashes too, and beside the folder."""
    out = tmp_path / "home" / "out" / "new"
    for i in range(4):
        save_photo(root / f"images/{i:02d}.png")
    save_photo(root.parent / "photos" / "04.png")
    names = [str(root / "images/00.png"), f"/{root / 'images/01.png'}", "../photos/04.png", "images/03.png"]
    entries = [frame | {"file_path": name} for frame, name in zip(frames(4), names, strict=True)]
    write_transforms(root, entries=entries, photos=False)
    before = {path for path in tmp_path.rglob("*") if out not in path.parents}
    plan = write_posed_photos(read_posed_photos(root, findings=Findings()), out, to, findings=Findings())
    made = {path for path in tmp_path.rglob("*") if out not in path.parents} - before
    assert made <= {out, out.parent} and before <= set(tmp_path.rglob("*"))
    assert all((out / name).is_file() for name in plan.names if name)


def test_a_plan_that_leads_out_is_refused(root, tmp_path):
    from nerfkit.scenes.writers import plan_dataset, write_plan

    photos = read_posed_photos(write_transforms(root, n=4))
    plan = plan_dataset(photos, "transforms", Findings())
    plan.names[0] = "../../x.png"
    with pytest.raises(NerfkitError, match=r"would be written to '\.\./\.\./x\.png', outside of it"):
        write_plan(photos, plan, tmp_path / "out" / "new", findings=Findings())
    assert not (tmp_path / "x.png").exists()


def test_a_point_cloud_is_copied_only_where_it_is_one_of_the_dataset(root, tmp_path):
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key.ply").write_text("secret")
    (root / "points.ply").write_text("ply")
    copied = {}
    for name in ("../../../key", "../../../key.ply", "transforms.json", "points.ply", 3, f"{'a' * 5000}.ply"):
        write_transforms(root, n=4, ply_file_path=name, colmap_model="a" * 5000)
        out = tmp_path / "out" / str(len(copied))
        write_posed_photos(read_posed_photos(root, findings=Findings()), out, findings=Findings())
        copied[name] = sorted(path.name for path in out.glob("*") if path.is_file())
    assert all(found == ["transforms.json"] for name, found in copied.items() if name != "points.ply")
    assert copied["points.ply"] == ["points.ply", "transforms.json"]
