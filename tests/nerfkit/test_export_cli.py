"""`nerfkit export`: what each format holds, in the input's frame, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")

import trimesh

from nerfkit.scenes.readers import read_posed_photos

COUNTS = {"vertices", "faces", "area", "components", "holes", "boundary_edges", "floaters", "floater_faces"}
CHOICE = {"output", "format", "seconds", "box", "box_is", "seen_in_box", "views", "cells"}


@pytest.fixture(scope="module")
def meshes(trained_run, tmp_path_factory):
    """The scene as each kind of mesh: what was told, and what trimesh reads."""
    from nerfkit.tasks import load_run

    folder, scene = tmp_path_factory.mktemp("meshes"), load_run(trained_run, device="cpu")
    told = {kind: scene.export(folder / f"mesh.{kind}", size=40) for kind in ("ply", "obj", "glb")}
    return {kind: (found, trimesh.load_mesh(found["output"], process=False)) for kind, found in told.items()}


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_a_mesh_as_other_programs_read_it(meshes, kind):
    told, mesh = meshes[kind]
    assert set(told) == COUNTS | CHOICE and told["format"] == kind
    assert len(mesh.faces) == told["faces"] > 500
    low, high = np.array(told["box"]).reshape(2, 3)
    # to a cell
    room = (high - low).max() / told["cells"]
    assert (mesh.vertices >= low - room).all() and (mesh.vertices <= high + room).all()
    # the lighthouse stands upright on its base
    assert (mesh.bounds[1] - mesh.bounds[0] > [1.2, 1.2, 1.2]).all()
    assert mesh.visual.kind == "vertex"
    assert np.asarray(mesh.visual.vertex_colors)[:, :3].std(0).min() > 10


def test_formats_hold_the_same(meshes):
    (_, ply), (_, obj), (_, glb) = (meshes[kind] for kind in ("ply", "obj", "glb"))
    for other in (obj, glb):
        np.testing.assert_allclose(other.vertices, ply.vertices, atol=1e-5)
        np.testing.assert_array_equal(other.faces, ply.faces)
        np.testing.assert_allclose(other.visual.vertex_colors, ply.visual.vertex_colors, atol=1)


def test_points(nerfkit, trained_run, tmp_path):
    answer = nerfkit("export", trained_run, "--format", "pointcloud", "-o", tmp_path / "p.ply", "--size", 32, "--json")
    assert answer.code == 0 and set(answer.json) == {"points", "floaters"} | CHOICE
    cloud: Any = trimesh.load(tmp_path / "p.ply")
    assert len(cloud.vertices) == answer.json["points"] > 200
    assert len(cloud.colors) == len(cloud.vertices)
    raw = cloud.metadata["_ply_raw"]["vertex"]["data"]
    lengths = np.linalg.norm(np.stack([raw[name].ravel() for name in ("nx", "ny", "nz")], 1), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_cameras(nerfkit, trained_run, scene_folder, tmp_path):
    answer = nerfkit("export", trained_run, "-o", tmp_path / "cameras.json", "--json")
    assert answer.code == 0 and answer.json["cameras"] == 29
    found, photos = read_posed_photos(tmp_path / "cameras.json"), read_posed_photos(scene_folder)
    # a scale is divided out of rotations when they are read
    np.testing.assert_allclose(found.c2w, photos.c2w, rtol=1e-14, atol=1e-15)
    assert found.cameras == photos.cameras and found.splits == photos.splits


def test_depth(nerfkit, trained_run, tmp_path):
    answer = nerfkit("export", trained_run, "--format", "depth", "-o", tmp_path / "depth", "--json")
    assert answer.code == 0 and answer.json["views"] == 29 and answer.json["metres_per_unit"] == 1
    told = json.loads((tmp_path / "depth" / "depth.json").read_text())
    names = [view["depth"] for view in told["views"]]
    assert len(set(names)) == 29 and all((tmp_path / "depth" / name).is_file() for name in names)
    values = np.asarray(Image.open(tmp_path / "depth" / names[0]))
    # the cameras stand 3.2 to 3.6 from the middle
    assert values.shape == (32, 32) and 2000 < np.median(values[values > 0]) < 4500
    said = nerfkit("export", trained_run, "--format", "depth", "-o", tmp_path / "small", "--unit", 0.001).err
    assert "steps of a picture's value" in said
    said = nerfkit("export", trained_run, "--format", "depth", "-o", tmp_path / "large", "--unit", 100).err
    assert "do not fit in 16 bits; they are 0: train/r_0.png" in said


def test_for_a_person(nerfkit, run_copy):
    answer = nerfkit("export", run_copy, "--size", 24, "--box=-1,-1,-1,1,1,0")
    assert answer.code == 0 and f"{run_copy / 'mesh.ply'}: " in answer.out and " holes (" in answer.out
    assert "box: (-1, -1, -1) to (1, 1, 0), --box; " in answer.err


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["-o", "a.stl"], "nothing is exported as .stl", ".glb"),
        (["-o", "a.obj", "--format", "ply"], "--format ply is a .ply file; got .obj", "-o "),
        (["-o", "a.ply", "--format", "depth"], "--format depth is a folder", "leave --format out"),
        (["-o", "a.ply", "--unit", "2"], "is for depth; this is ply", "leave --unit out"),
        (["-o", "a.json", "--size", "64"], "is for ply, obj, glb, pointcloud; this is cameras", "leave --size out"),
        (["-o", "a", "--unit", "0"], "must be above 0, metres in one unit", "millimetres"),
        (["-o", "a.ply", "--box", "1,2,3"], "must be six numbers", "--box=-1"),
        (["-o", "a.ply", "--size", "4"], "8 to 1024 are possible", "256"),
        (["-o", "a.ply", "--box=9,9,9,10,10,10"], "no surface that is seen lies in it", "most of what is seen lies in"),
    ],
)  # fmt: skip
def test_refused(nerfkit, trained_run, tmp_path, arguments, what, fix):
    arguments[1] = tmp_path / arguments[1]
    answer = nerfkit("export", trained_run, *arguments, "--json")
    assert answer.code == 2 and what in answer.json["error"]["what"] and fix in answer.json["error"]["fix"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_is_wanted(nerfkit, trained_run, tmp_path):
    (tmp_path / "a.ply").mkdir()
    answer = nerfkit("export", trained_run, "-o", tmp_path / "a.ply")
    assert answer.code == 2 and "a.ply: is a folder; ply is a file" in answer.err


def test_an_unknown_format(nerfkit, trained_run):
    assert "invalid choice: 'fbx'" in nerfkit("export", trained_run, "--format", "fbx").err


def test_runs_of_other_tasks(tmp_path):
    from nerfkit.fitted_shape import FittedShape
    from nerfkit.runs import Run
    from nerfkit.scenes.errors import NerfkitError
    from nerfkit.tasks.shape import ShapeConfig

    run = Run(tmp_path)
    run.write_config(ShapeConfig(), data=tmp_path, device="cpu")
    with pytest.raises(NerfkitError, match=r"of which nothing is exported; write it: nerfkit render RUN --size N"):
        FittedShape(run, "cpu").export("a.ply")
