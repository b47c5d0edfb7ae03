"""camera_path.json: written, read back, and each way in which a file can be wrong."""

import json

import numpy as np
import pytest

from nerfkit.scenes.camera_path import PathFrames, read_camera_path, write_camera_path
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.poses import look_at


def make_frames(n=5):
    rng = np.random.default_rng(0)
    c2w = look_at(rng.normal(size=(n, 3)) * 1e3, rng.normal(size=(n, 3)), [0, 0, 1])
    return PathFrames(c2w, np.linspace(30, 60, n), 16 / 9, is_cycle=True)


def write_json(tmp_path, change=None, **keys):
    write_camera_path(tmp_path / "p.json", make_frames(), (1280, 720), 30)
    data = json.loads((tmp_path / "p.json").read_text())
    data.update(keys)
    if change:
        change(data)
    (tmp_path / "p.json").write_text(json.dumps(data))
    return tmp_path / "p.json"


def test_round_trip(tmp_path):
    frames = make_frames()
    path = write_camera_path(tmp_path / "new" / "folder" / "camera_path.json", frames, (1280, 720), 29.97)
    back = read_camera_path(path)
    np.testing.assert_array_equal(back.c2w, frames.c2w)
    np.testing.assert_array_equal(back.fov_y, frames.fov_y)
    assert (back.aspect, back.is_cycle, back.size, back.fps) == (frames.aspect, True, (1280, 720), 29.97)
    assert [file.name for file in path.parent.iterdir()] == ["camera_path.json"]


def test_form_is_nerfstudios(tmp_path):
    path = write_camera_path(tmp_path / "camera_path.json", make_frames(40), (640, 480), 20)
    data = json.loads(path.read_text())
    assert {"keyframes", "is_cycle", "smoothness_value", "fps"} <= set(data)
    assert (data["camera_type"], data["crop"], data["seconds"]) == ("perspective", None, 2.0)
    assert (data["render_width"], data["render_height"]) == (640, 480)
    frame = data["camera_path"][3]
    assert set(frame) == {"camera_to_world", "fov", "aspect"}
    assert frame["camera_to_world"][3::4][:3] == make_frames(40).c2w[3, :3, 3].tolist()
    assert 1 < len(data["keyframes"]) <= 16
    assert data["keyframes"][0]["matrix"] == data["camera_path"][0]["camera_to_world"]


def test_reads_what_others_write(tmp_path):
    # the Blender add-on: no keyframes and no fps; the viewer: sizes as floats, further keys in a frame
    def change(data):
        for key in ("fps", "keyframes", "is_cycle", "crop"):
            del data[key]
        data["render_width"] = 1280.0
        for frame in data["camera_path"]:
            del frame["aspect"]
            frame["render_time"] = 0.5

    back = read_camera_path(write_json(tmp_path, change))
    assert (back.size, back.fps, back.is_cycle, back.aspect) == ((1280, 720), None, False, 16 / 9)


def set_frame(key, value):
    def change(data):
        data["camera_path"][2][key] = value

    return change


def drop_frame_keys(*keys):
    def change(data):
        for key in keys:
            del data["camera_path"][2][key]

    return change


EYE = np.eye(4).ravel().tolist()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda data: data.pop("camera_path"),
            r"list 'camera_path' was looked for; the keys found are: camera_type, .*fps",
        ),
        (lambda data: data.update(camera_path={}), "list 'camera_path' was looked for"),
        (lambda data: data.update(camera_path=[]), "'camera_path' is empty; add cameras"),
        (lambda data: data.update(camera_path=[3]), "frame 0 is a int, not an object"),
        (lambda data: data.update(camera_type="equirectangular"), "camera_type is 'equirectangular'"),
        (lambda data: data.update(fps="fast"), "fps is not made of numbers"),
        (lambda data: data.update(fps=-1), "fps is -1, not a positive number"),
        (drop_frame_keys("fov"), "frame 2 lacks 'fov'; the keys found are: aspect, camera_to_world"),
        (drop_frame_keys("fov", "camera_to_world"), "frame 2 lacks 'camera_to_world' and 'fov'"),
        (set_frame("camera_to_world", EYE[:12]), "frame 2: camera_to_world has 12 numbers, not 16"),
        (set_frame("camera_to_world", [*EYE[:15], "x"]), "frame 2: camera_to_world is not made of numbers"),
        (set_frame("camera_to_world", [float("nan"), *EYE[1:]]), "frame 2: camera_to_world holds a NaN"),
        (set_frame("camera_to_world", [2, *EYE[1:]]), "frame 2: camera_to_world is no pose: its axes"),
        (set_frame("fov", 180), "frame 2: fov is 180, not an angle between 0 and 180"),
        (set_frame("fov", float("inf")), "frame 2: fov holds a NaN or an infinity"),
        (set_frame("aspect", 1.0), "frame 2 has aspect 1, frame 0 has 1.77778"),
        (set_frame("aspect", 0), "frame 2: aspect is 0, not a positive number"),
    ],
)
def test_wrong_files(tmp_path, change, message):
    path = write_json(tmp_path, change)
    with pytest.raises(NerfkitError, match=message) as caught:
        read_camera_path(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"camera_path": [\n  1,,]}', "this is not JSON: .* at line 2, column 5"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "an object with the key 'camera_path' was wanted; this is a list"),
    ],
)
def test_not_a_camera_path(tmp_path, content, message):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(NerfkitError, match=message):
        read_camera_path(tmp_path / "p.json")


def test_absent_file(tmp_path):
    with pytest.raises(NerfkitError, match=r"no\.json: the camera path cannot be read: No such file"):
        read_camera_path(tmp_path / "no.json")


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match=r"p\.json: cannot be written \(.*\); give a folder"):
        write_camera_path(tmp_path / "file" / "p.json", make_frames(), (64, 48), 30)


def test_half_written_file_is_removed(tmp_path, monkeypatch):
    (tmp_path / "p.json").write_text("old")

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(NerfkitError, match=r"p\.json: no space left on the disk for .* MB; free some"):
        write_camera_path(tmp_path / "p.json", make_frames(), (64, 48), 30)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("p.json", "old")]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"c2w": np.zeros((0, 4, 4))}, "c2w must be finite"),
        ({"c2w": np.full((5, 4, 4), np.nan)}, "c2w must be finite"),
        ({"fov_y": np.full(4, 50.0)}, "fov_y must be 5 angles"),
        ({"fov_y": np.full(5, np.nan)}, "fov_y must be 5 angles"),
        ({"aspect": 0.0}, "aspect must be positive"),
    ],
)
def test_frames_check_themselves(change, message):
    frames = make_frames()
    parts = {"c2w": frames.c2w, "fov_y": frames.fov_y, "aspect": frames.aspect, **change}
    with pytest.raises(ValueError, match=message):
        PathFrames(**parts)


def test_a_scale_of_a_pose_is_divided_out(tmp_path):
    scaled = np.diag([0.4, 0.4, 0.4, 1.0])
    scaled[:3, 3] = [1.0, 2.0, 3.0]
    path = write_json(tmp_path, set_frame("camera_to_world", scaled.ravel().tolist()))
    found = read_camera_path(path).c2w[2]
    np.testing.assert_allclose(found[:3, :3], np.eye(3), atol=1e-15)
    assert found[:3, 3].tolist() == [1.0, 2.0, 3.0]
