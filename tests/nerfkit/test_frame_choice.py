"""Long sequences: the sharpest frame of each stretch is used, and few frames are in memory at once."""

import weakref
from contextlib import nullcontext

import numpy as np
import pytest
from lowres_scenes import make_frames, run, write, write_csv

from nerfkit.cli import main
from nerfkit.doctor import examine_data
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import frames as frames_module
from nerfkit.scenes.readers import video
from nerfkit.scenes.readers._images import Decoded
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.superresolution.frame_choice import SharpestOfEachStretch, sharpness
from nerfkit.superresolution.inputs import read_source
from nerfkit.superresolution.settings import SuperresConfig


def bytes_of(frames):
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def blurred(frames):
    """The means of 3 x 3 pixels."""
    sides = [np.roll(frames, move, (1, 2)) for move in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]]
    return np.mean(sides, axis=0)


def mostly_blurred(n, sharp):
    frames = make_frames(n)[0]
    kept = frames[list(sharp)].copy()
    frames = blurred(frames)
    frames[list(sharp)] = kept
    return frames


def chosen(frames, most, kept=None):
    return SharpestOfEachStretch(most, kept)((str(index), frame) for index, frame in enumerate(frames))


class Alive:
    """Makes frames one after the other, and counts how many of them are there at most."""

    def __init__(self, n):
        self.n, self.now, self.most = n, 0, 0

    def _gone(self):
        self.now -= 1

    def frame(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 20), dtype=np.uint8)
        weakref.finalize(pixels, self._gone)
        self.now += 1
        self.most = max(self.most, self.now)
        return pixels


def test_the_sharpest_of_each_stretch_is_chosen_from_bytes_and_floats_of_any_brightness():
    frames = mostly_blurred(12, (1, 5, 8)) * np.linspace(0.3, 1, 12)[:, None, None]
    assert chosen(frames, 3) == chosen(bytes_of(frames), 3) == [1, 5, 8]
    colours = np.repeat(bytes_of(frames)[..., None], 4, axis=3)
    assert chosen(colours, 3) == [1, 5, 8]
    assert sharpness(np.ones((9, 9))) == sharpness(np.eye(4)) == 0


def test_noise_is_not_taken_for_sharpness():
    frames = blurred(make_frames(4)[0])
    frames[2] = make_frames(4)[0][2]
    noisy = frames + np.random.default_rng(0).normal(0, 0.02, frames.shape)
    assert chosen(noisy, 1) == [2]


def test_neither_repeats_nor_frames_that_show_nothing_are_chosen():
    frames = bytes_of(mostly_blurred(8, (1,)))
    frames[2:6] = frames[1]
    frames[6] = 0
    assert chosen(frames, 4) == [0, 1, 7] and chosen(frames, 2)[0] == 1
    noise = np.random.default_rng(0).normal(0.1, 0.002, frames[0].shape)
    assert 6 not in chosen([*frames[:6] / 255, noise, frames[7] / 255], 8)
    # whoever reads them says that all are blank
    assert len(chosen(np.zeros((5, 8, 8)), 2)) == 2


def test_the_named_reference_is_chosen_whatever_it_looks_like():
    frames = mostly_blurred(9, (1, 4, 7))
    assert chosen(frames, 3, kept="5") == [1, 5, 7]


def test_up_to_the_limit_all_frames_are_read_and_said_to_be(tmp_path):
    folder = write(tmp_path / "f", make_frames(6)[0])
    source = read_source(folder, SuperresConfig(most_frames=6))
    assert len(source.files) == 6 and source.frames.chosen_from is None and not source.frames.is_cut
    assert not any("stretches" in line for line in source.describe())


@pytest.mark.parametrize("kind", ["folder", "array", "pages"])
def test_names_and_shifts_stay_with_the_chosen_frames(tmp_path, kind):
    frames, shifts, _ = make_frames(9)
    frames = bytes_of(mostly_blurred(9, (1, 4, 7)))
    names = [str(i) if kind != "folder" else f"f{i}.png" for i in range(9)]
    path = save(tmp_path, frames, kind)
    rows = [f"{name},{dx},{dy}" for name, (dx, dy) in zip(names, shifts, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join(["file,dx,dy", *rows]) + "\n")
    source = read_source(path, SuperresConfig(most_frames=3), shifts=tmp_path / "s.csv")
    assert source.files == [names[1], names[4], names[7]] and source.frames.chosen_from == 9
    assert source.motion is not None
    np.testing.assert_allclose(source.motion.shifts.numpy(), shifts[[1, 4, 7]])
    np.testing.assert_array_equal(np.rint(source.images * 255), frames[[1, 4, 7]])
    said = "9 frames: the sharpest of each of 3 stretches are used; --most-frames N takes more"
    assert said in source.describe()
    assert read_source(path, SuperresConfig(most_frames=3), n_frames=6).frames.chosen_from == 6


def save(folder, frames, kind):
    if kind == "folder":
        return write(folder / "f", frames / 255)
    if kind == "array":
        np.save(folder / "f.npy", frames)
        return folder / "f.npy"
    import tifffile

    tifffile.imwrite(folder / "f.tif", frames, photometric="minisblack")
    return folder / "f.tif"


def test_few_frames_of_a_long_video_are_in_memory_at_once(tmp_path, monkeypatch):
    alive = Alive(300)
    (tmp_path / "v.mp4").write_bytes(b"video")
    monkeypatch.setattr(video, "_pictures", lambda *_: (alive.frame(index) for index in range(alive.n)))
    monkeypatch.setattr("av.open", lambda *_, **__: nullcontext())
    frames = read_frames(tmp_path / "v.mp4", choose=SharpestOfEachStretch(16))
    assert len(frames) == 16 and frames.chosen_from == 300 and alive.most < 24
    assert frames.is_indexed and frames.is_cut and int(frames.files[-1]) >= 280
    index = int(frames.files[5])
    np.testing.assert_array_equal(np.rint(frames.images[5] * 255), Alive(1).frame(index))
    with pytest.raises(NerfkitError, match="400 frames are wanted, the video has 300"):
        read_frames(tmp_path / "v.mp4", 400, choose=SharpestOfEachStretch(16))
    assert read_frames(tmp_path / "v.mp4", 100, choose=SharpestOfEachStretch(16)).chosen_from == 100


def test_few_files_of_a_long_folder_are_in_memory_at_once(tmp_path, monkeypatch):
    alive = Alive(200)
    for index in range(alive.n):
        (tmp_path / f"{index}.png").touch()
    monkeypatch.setattr(frames_module, "decode_image", lambda path: Decoded(alive.frame(int(path.stem)), None, None))
    frames = read_frames(tmp_path, choose=SharpestOfEachStretch(16))
    assert len(frames) == 16 and frames.chosen_from == 200 and alive.most < 40
    with pytest.raises(NerfkitError, match="400 frames are wanted, there are 200"):
        read_frames(tmp_path, 400, choose=SharpestOfEachStretch(16))


def test_the_command_says_it_and_keeps_it_in_the_run(tmp_path, capsys):
    frames, shifts, _ = make_frames(12)
    folder, csv = write(tmp_path / "f", frames), write_csv(tmp_path / "s.csv", shifts)
    known = ["--shifts", csv, "--scale", 2, "--seconds", 2, "--most-frames", 8]
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "a.png", *known)
    assert code == 0 and result["chosen_from"] == 12 and len(result["registered"]) == 8
    assert "most_frames: 8" in (tmp_path / "a" / "config.yml").read_text()
    assert "Of 12 frames the sharpest of each" in (tmp_path / "a" / "report.html").read_text()
    assert main(["superres", str(folder), "-o", str(tmp_path / "b.png"), "--most-frames", "0"]) == 2
    assert "most_frames must be above 0; got 0" in capsys.readouterr().err


def test_doctor_looks_at_the_frames_that_are_used(tmp_path, monkeypatch):
    folder = write(tmp_path / "f", make_frames(9)[0])
    assert examine_data(folder).facts["frames"] == 9
    monkeypatch.setattr("nerfkit.doctor.frames.MOST_FRAMES", 3)
    report = examine_data(folder)
    assert report.facts["frames"] == 9
    assert ("frames", "9, of which the 3 sharpest of as many stretches are looked at") in report.lines
