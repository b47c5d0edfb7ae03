"""`nerfkit render`: what each suffix makes, that a path read back gives the same pictures, and what it refuses."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

SMALL = ("--size", "24x16", "--frames", 2)


def frames_of(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def pngs_of(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def test_an_mp4(nerfkit, trained_run, tmp_path):
    out = tmp_path / "new" / "orbit.mp4"
    answer = nerfkit("render", trained_run, "--frames", 3, "--fps", 12, "--out", out, "--json")
    assert answer.code == 0
    result = answer.json
    assert set(result) == {"output", "frames", "seconds", "camera_path"}
    assert (result["output"], result["frames"]) == (str(out), 3)
    # the training size, unless told
    assert [frame.shape for frame in frames_of(out)] == [(32, 32, 3)] * 3
    path = json.loads(Path(result["camera_path"]).read_text())
    assert len(path["camera_path"]) == 3
    assert (path["render_width"], path["render_height"], path["fps"]) == (32, 32, 12)


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_other_videos(nerfkit, trained_run, tmp_path, suffix):
    out = tmp_path / f"orbit{suffix}"
    assert nerfkit("render", trained_run, *SMALL, "--out", out).code == 0
    assert [frame.shape for frame in frames_of(out)] == [(16, 24, 3)] * 2


@pytest.mark.parametrize("path", ["orbit", "spiral", "interpolate"])
def test_a_folder_of_pictures(nerfkit, trained_run, tmp_path, path):
    out = tmp_path / path
    # three: after half of its way a spiral is where it started
    answer = nerfkit("render", trained_run, "--path", path, "--size", "24x16", "--frames", 3, "--out", out, "--json")
    assert answer.code == 0
    pictures = pngs_of(out)
    assert [picture.shape for picture in pictures] == [(16, 24, 3)] * 3
    assert (pictures[0] != pictures[1]).any()
    # the lighthouse is in the middle, before white
    assert all(picture.std() > 10 for picture in pictures)
    assert Path(answer.json["camera_path"]).parent == tmp_path


def test_a_path_that_was_written_gives_the_same_pictures(nerfkit, trained_run, tmp_path):
    first = nerfkit("render", trained_run, *SMALL, "--out", tmp_path / "first", "--json").json
    answer = nerfkit("render", trained_run, "--path", first["camera_path"], "--out", tmp_path / "second", "--json")
    assert answer.json["frames"] == 2
    for a, b in zip(pngs_of(tmp_path / "first"), pngs_of(tmp_path / "second"), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_a_path_that_was_written_has_its_own_number_of_frames(nerfkit, trained_run, tmp_path):
    path = nerfkit("render", trained_run, *SMALL, "--out", tmp_path / "first", "--json").json["camera_path"]
    answer = nerfkit("render", trained_run, "--path", path, "--frames", 5, "--out", tmp_path / "second")
    assert answer.code == 2
    assert "holds 2 frames, which cannot become 5" in answer.err
    assert not (tmp_path / "second").exists()


def test_channels_get_files_of_their_own(nerfkit, trained_run, tmp_path):
    answer = nerfkit(
        "render", trained_run, *SMALL, "--channels", "rgb,depth,opacity", "--out", tmp_path / "all", "--json"
    )
    assert answer.code == 0
    result = answer.json
    assert list(result["outputs"]) == ["rgb", "depth", "opacity"]
    pictures = {name: pngs_of(Path(folder))[0].astype(int) for name, folder in result["outputs"].items()}
    opacity = pictures["opacity"]
    assert (opacity[..., 0] == opacity[..., 1]).all()
    assert opacity.max() > 200
    # depth is black where nothing is, and coloured elsewhere
    assert pictures["depth"][opacity[..., 0] == 0].sum() == 0
    assert np.ptp(pictures["depth"][opacity[..., 0] > 200], axis=-1).max() > 100


def test_one_other_channel_keeps_the_name(nerfkit, trained_run, tmp_path):
    answer = nerfkit("render", trained_run, *SMALL, "--channels", "depth", "--out", tmp_path / "d.mp4", "--json")
    assert answer.json["output"] == str(tmp_path / "d.mp4")
    assert len(frames_of(tmp_path / "d.mp4")) == 2


def test_the_default_output_is_in_the_run(nerfkit, run_copy):
    answer = nerfkit("render", run_copy, *SMALL, "--path", "spiral")
    assert answer.code == 0
    assert str(run_copy / "spiral.mp4") in answer.out
    assert "2 frames in" in answer.out
    assert (run_copy / "spiral_camera_path.json").is_file()


def test_quiet(nerfkit, trained_run, tmp_path):
    answer = nerfkit("render", trained_run, *SMALL, "--out", tmp_path / "o", "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path", "zigzag"], "is neither a path's name (orbit, spiral, interpolate) nor a file"),
        (["--size", "640"], "must be WIDTHxHEIGHT in pixels, 1 to 16384; got '640'"),
        (["--size", "0x10"], "must be WIDTHxHEIGHT"),
        (["--size", "99999x10"], "must be WIDTHxHEIGHT"),
        (["--channels", "rgb,normals"], "no channel 'normals'"),
        (["--channels", ""], "no channel ''"),
        (["--frames", "0"], "must be above 0; got 0"),
        (["--fps", "-1"], "must be above 0; got -1"),
        (["--fps", "inf"], "fps must be finite; got inf"),
        (["--fps", "nan"], "fps must be finite; got nan"),
        (["--out", "movie.avi"], "no video format '.avi'"),
    ],
)
def test_what_it_refuses(nerfkit, trained_run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    answer = nerfkit("render", trained_run, "--out", "orbit.mp4", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_bad_path_file(nerfkit, trained_run, tmp_path):
    path = tmp_path / "path.json"
    path.write_text('{"camera_path": []}')
    answer = nerfkit("render", trained_run, "--path", path, "--out", tmp_path / "o.mp4", "--json")
    assert answer.code == 2
    assert answer.json["error"]["where"] == str(path)


def test_no_run(nerfkit, tmp_path):
    answer = nerfkit("render", tmp_path)
    assert answer.code == 2
    assert "is no run folder" in answer.err


def test_photos_that_moved(nerfkit, run_copy, scene_folder, tmp_path):
    path = run_copy / "config.yml"
    path.write_text(path.read_text().replace("/lighthouse", "/gone"))
    arguments = ["render", run_copy, *SMALL, "--out", tmp_path / "o"]
    answer = nerfkit(*arguments)
    assert answer.code == 2
    assert "--data DATA" in answer.err
    assert nerfkit(*arguments, "--data", scene_folder).code == 0


def test_an_output_below_a_file(nerfkit, trained_run, tmp_path):
    (tmp_path / "file").write_text("")
    answer = nerfkit("render", trained_run, *SMALL, "--out", tmp_path / "file" / "orbit.mp4")
    assert answer.code == 2
    assert "cannot be written" in answer.err
