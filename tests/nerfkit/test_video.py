"""VideoWriter: what it writes is looked into with PyAV; nothing is ever half there."""

import errno
import logging
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import InvalidDataError
from PIL import Image

from nerfkit import video as video_module
from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.video import VideoWriter, to_uint8

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128], [255, 255, 255], [16, 80, 200]], np.uint8)
BT709 = 1  # in ITU-T H.273: primaries, transfer and matrix alike
LIMITED_RANGE = 1


def patches(height=64, width=96):
    """Six flat patches side by side."""
    return np.repeat(COLOURS, width // 6, axis=0)[None].repeat(height, axis=0)


def write(path, frames, fps=25.0, **kwargs):
    frames = list(frames)
    with VideoWriter(path, (frames[0].shape[1], frames[0].shape[0]), fps, **kwargs) as video:
        for frame in frames:
            video.add(frame)
    return path


def decode(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return frames


def middles(rgb):
    return rgb[rgb.shape[0] // 2, 8::16][:6].astype(int)


def bt709_to_rgb(frame):
    """Colours of a decoded frame by the formula of BT.709 limited range, whatever a library believes."""
    y, u, v = (np.asarray(plane).astype(float) for plane in split_planes(frame))
    u, v = (np.kron(c, np.ones((2, 2))) for c in (u, v))
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    rgb = np.stack([y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u], -1)
    return np.clip(rgb * 255, 0, 255).round()


def split_planes(frame):
    planes = frame.to_ndarray(format="yuv420p")
    h, w = frame.height, frame.width
    chroma = planes[h:].reshape(2, h // 2, w // 2)
    return planes[:h], chroma[0], chroma[1]


@pytest.mark.parametrize("suffix, codec", [(".mp4", "h264"), (".webm", "vp9"), (".MP4", "h264")])
def test_plays_everywhere(tmp_path, suffix, codec):
    path = write(tmp_path / f"v{suffix}", [patches()] * 12, fps=24)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name.replace("libvpx-", ""), context.pix_fmt) == (codec, "yuv420p")
        assert (context.width, context.height, stream.average_rate) == (96, 64, 24)
        assert (context.color_primaries, context.color_trc, context.colorspace) == (BT709, BT709, BT709)
        assert context.color_range == LIMITED_RANGE
        assert len(list(container.decode(stream))) == 12
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_are_right(tmp_path, suffix):
    frame = decode(write(tmp_path / f"v{suffix}", [patches()] * 5))[2]
    assert np.abs(middles(bt709_to_rgb(frame)) - COLOURS).max() <= 6


def test_mp4_starts_fast(tmp_path):
    data = write(tmp_path / "v.mp4", [patches()] * 3).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("height, width", [(63, 95), (64, 95), (63, 96), (1, 1), (50, 38)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path, caplog, suffix, height, width):
    frame = np.broadcast_to(np.linspace(40, 200, width).astype(np.uint8)[None, :, None], (height, width, 3))
    with caplog.at_level(logging.WARNING):
        decoded = decode(write(tmp_path / f"v{suffix}", [frame] * 4))[0]
    odd = height % 2 or width % 2
    assert (decoded.height, decoded.width) == (height + height % 2, width + width % 2)
    assert caplog.text.count("the last column or row is repeated") == (1 if odd else 0)
    # a column is where it was: had the picture been rescaled, the last ones would have moved
    luma = split_planes(decoded)[0].astype(float)
    want = 16 + frame[0, :, 0].astype(float) * 219 / 255
    np.testing.assert_allclose(luma[:height, :width], np.broadcast_to(want, (height, width)), atol=4)
    np.testing.assert_allclose(luma[-1, -1], want[-1], atol=4)


@pytest.mark.parametrize("fps, rate", [(30, 30), (29.97, 29.97), (24000 / 1001, 24000 / 1001), (2.5, 2.5)])
def test_frame_rate(tmp_path, fps, rate):
    path = write(tmp_path / "v.mp4", [patches()] * 3, fps=fps)
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(rate, rel=1e-5)


def test_gif(tmp_path):
    frames = [np.roll(patches(63, 96), 16 * i, axis=1) for i in range(4)]
    decoded = decode(write(tmp_path / "v.gif", frames, fps=10))
    assert [(f.width, f.height) for f in decoded] == [(96, 63)] * 4
    for got, want in zip(decoded, frames, strict=True):
        assert np.abs(middles(got.to_ndarray(format="rgb24")) - middles(want)).max() <= 6
    with Image.open(tmp_path / "v.gif") as image:
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100


def test_gif_says_that_it_leaves_frames_out(tmp_path, caplog):
    frames = [np.roll(patches(), i, axis=1) for i in range(60)]
    with caplog.at_level(logging.WARNING):
        path = write(tmp_path / "v.gif", frames, fps=60)
    assert "a gif holds 50 frames per second; some of 60 are left out" in caplog.text
    decoded = decode(path)
    assert 49 <= len(decoded) <= 51
    assert [frame.pts for frame in decoded[:4]] == [0, 2, 4, 6]  # hundredths of a second


def test_png_folder(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (7, 5, 3), np.uint8) for _ in range(3)]
    folder = write(tmp_path / "new" / "frames", frames)
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    for name, frame in zip(names, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / name)), frame)
    assert [file.name for file in folder.parent.iterdir()] == ["frames"]


def test_png_folder_that_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "frames"
    folder.mkdir()
    write(folder, [patches()] * 3)
    with pytest.raises(NerfkitError, match=r"frames: this folder is not empty; give another --out, or --overwrite"):
        write(folder, [patches()])
    write(folder, [patches()] * 2, overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == ["frame_00000.png", "frame_00001.png"]
    (folder / "notes.txt").write_text("mine")
    write(folder, [patches()], overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == ["frame_00000.png", "notes.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["frames"]
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert len(list(write(Path(), [patches()]).resolve().iterdir())) == 1


def test_other_suffixes(tmp_path):
    with pytest.raises(
        NerfkitError, match=r"written as '\.avi'; end the name in \.mp4, \.webm or \.gif, or in nothing"
    ):
        VideoWriter(tmp_path / "v.avi", (64, 48), 24)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e6])
def test_frame_rates_that_are_none(tmp_path, fps):
    with pytest.raises(NerfkitError, match="--fps: frames per second must be above 0"):
        VideoWriter(tmp_path / "v.mp4", (64, 48), fps)


def test_size_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        VideoWriter(tmp_path / "v.mp4", (0, 48), 24)


@pytest.mark.parametrize(
    "frame, message",
    [
        (np.zeros((48, 63, 3), np.uint8), r"frame 1 has shape \(48, 63, 3\); \(48, 64, 3\) was announced"),
        (np.zeros((48, 64), np.uint8), r"frame 1 has shape \(48, 64\)"),
        (np.zeros((48, 64, 3)), "frame 1 is float64; uint8 is wanted"),
        (np.full((48, 64, 3), np.nan, np.float32), "frame 1 is float32 and holds NaN"),
    ],
)
@pytest.mark.parametrize("name", ["v.mp4", "frames"])
def test_frames_that_do_not_fit(tmp_path, name, frame, message):
    with (
        pytest.raises(ValueError, match=message),
        VideoWriter(tmp_path / name, (64, 48), 24) as video,
    ):
        video.add(np.zeros((48, 64, 3), np.uint8))
        video.add(frame)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.mp4", "v.webm", "v.gif", "frames"])
def test_interrupted_writing_leaves_nothing(tmp_path, name):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / name, (96, 64), 24) as video:
        for _ in range(30):
            video.add(patches())
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.mp4", "frames"])
def test_no_frames(tmp_path, name):
    with pytest.raises(ValueError, match="no frame was added"), VideoWriter(tmp_path / name, (64, 48), 24):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_outside_the_with_block(tmp_path):
    video = VideoWriter(tmp_path / "v.mp4", (64, 48), 24)
    with pytest.raises(RuntimeError, match="inside `with VideoWriter"):
        video.add(np.zeros((48, 64, 3), np.uint8))


def test_earlier_video_is_replaced_only_by_a_whole_one(tmp_path):
    path = write(tmp_path / "v.mp4", [patches()] * 2)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (96, 64), 24) as video:
        video.add(patches())
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    write(path, [patches()] * 5)
    assert len(decode(path)) == 5


def test_names_that_ffmpeg_could_misread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(Path("a:b %d 'c'.mp4"), [patches()] * 2)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["v.mp4", "frames"])
def test_place_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match=r"this cannot be written: .*; give another --out"):
        write(tmp_path / "file" / name, [patches()])


def test_file_and_folder_of_the_same_name(tmp_path):
    (tmp_path / "frames").write_text("")
    with pytest.raises(NerfkitError, match="a file has this name; a name without a suffix is a folder of PNGs"):
        write(tmp_path / "frames", [patches()])
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(NerfkitError, match="a folder has this name"):
        write(tmp_path / "v.mp4", [patches()])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["frames", "v.mp4"]


def test_full_disk_of_pngs(tmp_path, monkeypatch):
    save = Image.Image.save

    def refuse(self, file, *args, **kwargs):
        if "frame_00002" in str(file):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, file, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", refuse)
    message = r"the disk of .* is full at frame 2 of 96x64: more than \d\.\d\d MB are needed; make room"
    with pytest.raises(NerfkitError, match=message):
        write(tmp_path / "frames", [patches()] * 4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.mp4", "v.webm", "v.gif"])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_a_video_that_cannot_be_written_to_its_end(tmp_path, name, fraction):
    resource = pytest.importorskip("resource")  # POSIX
    frames = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8) for i in range(8)]
    whole = write(tmp_path / name, frames).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(fraction * whole), before[1]))
    try:
        with pytest.raises(NerfkitError, match=r"this cannot be written: File too large; give another --out"):
            write(tmp_path / f"again_{name}", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.ENOSPC, "No space"), r"the disk of .* is full at frame 0 of 96x64: .* MB are needed; make room"),
        (InvalidDataError(1094995529, "Bad"), r"v\.mp4: ffmpeg failed at frame 0: Bad"),
    ],
)
def test_what_keeps_a_video_from_being_written(tmp_path, monkeypatch, error, message):
    def refuse(self):
        raise error

    monkeypatch.setattr(video_module._VideoFile, "_encode_ready", refuse)
    with pytest.raises(NerfkitError, match=message):
        write(tmp_path / "v.mp4", [patches()])
    assert not list(tmp_path.iterdir())


def test_an_ffmpeg_without_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"gif"})
    with pytest.raises(MissingCapabilityError, match="no encoder libx264; pip install --force-reinstall av, or give"):
        write(tmp_path / "v.mp4", [patches()])


def test_no_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingCapabilityError, match=r"cannot be imported .*; pip install av, or give --out") as caught:
        write(tmp_path / "v.mp4", [patches()])
    assert caught.value.exit_code == 3
    assert write(tmp_path / "frames", [patches()]).is_dir()


def test_threads_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(video_module, "_n_cpus", lambda: 500)
    with VideoWriter(tmp_path / "v.mp4", (96, 64), 24) as video:
        video.add(patches())
        assert isinstance(video._sink, video_module._VideoFile)
        assert video._sink.stream.codec_context.thread_count == 16


def test_to_uint8():
    got = to_uint8(np.array([-1.0, 0.0, 0.5 / 255 + 1e-6, 0.999, 1.0, 7.0, np.inf], np.float32))
    assert got.dtype == np.uint8
    assert got.tolist() == [0, 0, 1, 255, 255, 255, 255]
    with pytest.raises(ValueError, match="1 of 3 colour values are NaN"):
        to_uint8(np.array([0.0, np.nan, 1.0]))
