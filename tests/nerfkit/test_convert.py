"""`nerfkit convert`: from every format to every other, folders that are not free, what is said."""

import dataclasses

import numpy as np
import pytest
from photo_folders import save_photo, write_transforms

import nerfkit as library
from nerfkit.cli import convert, doctor
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.writers import WRITERS


@pytest.fixture
def scene(tmp_path):
    return write_transforms(tmp_path / "scene", n=5)


@pytest.mark.parametrize("command", [convert, doctor])
def test_the_formats_of_the_commands_are_those_that_are_written(command):
    (to,) = (field for field in dataclasses.fields(command.Options) if field.name == "to")
    assert to.metadata["choices"] == tuple(WRITERS)


@pytest.mark.parametrize("to", WRITERS)
def test_convert(nerfkit, scene, tmp_path, to):
    answer = nerfkit("convert", scene, "-o", tmp_path / "out", "--to", to, "--json")
    assert answer.code == 0
    splits = {"train": 3, "val": 1, "test": 1}
    expected = {"output": str(tmp_path / "out"), "format": to, "photos": 5, "splits": splits, "left_out": []}
    assert answer.json == expected
    before, after = read_posed_photos(scene), read_posed_photos(tmp_path / "out")
    assert after.format == to.removesuffix("-text")
    order = [[file.split("/")[-1] for file in after.files].index(file.split("/")[-1]) for file in before.files]
    np.testing.assert_allclose(after.c2w[order], before.c2w, atol=1e-9)


def test_what_a_person_reads(nerfkit, scene, tmp_path):
    save_photo(scene / "images/04.jpg")
    (scene / "images/04.png").unlink()
    (scene / "images/01.png").unlink()
    answer = nerfkit("convert", scene, "-o", tmp_path / "a b", "--to", "blender")
    assert answer.out.splitlines()[-2:] == [
        f"{tmp_path / 'a b'}: 4 photos (3 train, 0 val, 1 test), blender",
        f"next: nerfkit train '{tmp_path / 'a b'}'",
    ]
    assert "1 of 5 listed photos are absent: images/01.png" in answer.err
    assert "'images/04.png' is read from images/04.jpg" in answer.err


def test_a_folder_with_files_is_replaced_only_where_it_is_ours(nerfkit, scene, tmp_path):
    out = tmp_path / "out"
    assert nerfkit("convert", scene, "-o", out).code == 0
    again = nerfkit("convert", scene, "-o", out)
    assert again.code == 2 and "is not empty" in again.err and "--resume" not in again.err
    assert nerfkit("convert", scene, "-o", out, "--to", "colmap", "--overwrite").code == 0
    assert not (out / "transforms.json").exists()
    strange = nerfkit("convert", out, "-o", scene, "--overwrite")
    assert strange.code == 2 and "only folders that nerfkit made" in strange.err
    for place in (out, out / "images"):
        inside = nerfkit("convert", out, "-o", place, "--overwrite")
        assert inside.code == 2 and "the photos that are read lie in it" in inside.err
    assert len(read_posed_photos(out)) == 5


def test_what_is_refused_changes_nothing(nerfkit, scene, tmp_path):
    write_transforms(scene, n=5, k1=0.1)
    answer = nerfkit("convert", scene, "-o", tmp_path / "out", "--to", "llff", "--json")
    assert (answer.code, answer.json["error"]["fix"][:16]) == (2, "--to transforms ")
    assert not (tmp_path / "out").exists()
    assert "no output given" in nerfkit("convert", scene).err
    with pytest.raises(library.NerfkitError, match="no format 'ply' is written; there are transforms, colmap"):
        library.convert(scene, tmp_path / "out", "ply")
