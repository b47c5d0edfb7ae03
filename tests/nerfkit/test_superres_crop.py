"""A part of the frames is cut from them before all else: as frames of that size would be, with shifts of the whole."""

import shutil

import numpy as np
import pytest
from lowres_scenes import make_frames, rms, run, turned_frames, write, write_csv

import nerfkit
from nerfkit.cli import main
from nerfkit.picture_files import png_bytes_of_depth
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import read_shifts, write_shifts
from nerfkit.superresolution.inputs import read_source
from nerfkit.superresolution.settings import SuperresConfig

CROP = (4, 2, 16, 12)


def error_of(config, source, **options):
    with pytest.raises(NerfkitError) as caught:
        read_source(source, config, **options)
    return str(caught.value)


def test_the_part_is_cut_from_files_arrays_and_pages_with_its_alpha(tmp_path):
    frames = np.round(np.random.default_rng(0).random((3, 20, 24, 4)) * 255).astype(np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    write(tmp_path / "frames", frames / 255)
    for source in (tmp_path / "frames.npy", tmp_path / "frames"):
        read = read_frames(source, crop=CROP)
        np.testing.assert_array_equal(np.round(read.images * 255), frames[:, 2:14, 4:20, :3])
        assert read.alpha is not None and read.size == (16, 12) and read.whole_size == (24, 20) and read.crop == CROP
        np.testing.assert_array_equal(np.round(read.alpha * 255), frames[:, 2:14, 4:20, 3])
        assert read_frames(source).whole_size == (24, 20)


def test_settings_follow_from_the_part_alone(tmp_path):
    frames = make_frames(4)[0] * 0.5
    frames[:, 20:] = 1.0
    source = read_source(write(tmp_path / "f", frames), SuperresConfig(scale=2, crop=CROP))
    assert source.settings.frame_size == (16, 12) and source.settings.output_size == (32, 24)
    assert source.settings.value_range[1] < 0.6
    assert source.describe()[0].startswith("f: 4 grey frames of 16 x 12 at (4, 2) of 24 x 24, 8 bits")


def test_what_is_no_part_of_the_frames_is_refused(tmp_path, capsys):
    folder = write(tmp_path / "f", make_frames(2)[0])
    beyond = error_of(SuperresConfig(crop=(10, 4, 15, 12)), folder)
    assert "10,4,15,12 is not within the frames of 24x24 pixels" in beyond and "--crop" in beyond
    for crop, seen in (
        ("0,0,16,7", "at least 8"),
        ("16", "got '16'"),
        ("15x12+10+4", "not within"),
        ("-1,0,9,9", "X,Y"),
    ):
        code = main(["superres", str(folder), "-o", str(tmp_path / "a.png"), f"--crop={crop}"])
        assert code == 2 and seen in (said := capsys.readouterr().err) and "--crop" in said
    with pytest.raises(NerfkitError, match=r"crop must be X,Y,W,H from X and Y of 0 on, at least 8 .* got -1,0,16,12"):
        nerfkit.superres(folder, tmp_path / "a.png", crop=(-1, 0, 16, 12))


def test_an_output_too_large_for_memory_is_advised_to_crop():
    from nerfkit.superresolution.settings import plan_grids

    with pytest.raises(NerfkitError) as caught:
        plan_grids(8, (1920, 1080))
    assert "--crop X,Y,W,H" in str(caught.value)


def test_matrices_of_the_whole_frames_become_those_of_the_part(tmp_path):
    frames, matrices = turned_frames(perspective=1e-4)
    folder = write(tmp_path / "f", frames)
    write_shifts(tmp_path / "m.csv", read_frames(folder).files, matrices / matrices[:, 2:, 2:], "homography")
    config = SuperresConfig(scale=2, crop=(12, 6, 18, 20))
    source = read_source(folder, config, shifts=tmp_path / "m.csv")
    whole = read_source(folder, SuperresConfig(scale=2), shifts=tmp_path / "m.csv").motion
    assert source.motion is not None and whole is not None
    at = np.array([3.5, 8.5])
    seen = source.motion.seen(source.motion.matrices.new_tensor(at[None]))[:, 0].numpy()
    expected = whole.seen(whole.matrices.new_tensor(at[None] + (12, 6)))[:, 0].numpy() - (12, 6)
    np.testing.assert_allclose(seen, expected, atol=1e-9)
    back = source.in_whole_frames(source.motion).matrices.numpy()
    np.testing.assert_allclose(back, whole.matrices.numpy(), atol=1e-9)


def test_a_large_shift_is_judged_by_the_whole_frame(tmp_path):
    frames = read_frames(write(tmp_path / "f", make_frames(2)[0]), crop=(0, 0, 8, 8))
    shifts = read_shifts(write_csv(tmp_path / "s.csv", [(0, 0), (5.5, 0.25)]), frames)
    assert shifts.values[1].tolist() == [5.5, 0.25] and shifts.of_part((3, 4)) is shifts


def test_a_part_is_what_frames_of_its_size_give_and_is_kept_in_the_run(tmp_path, capsys):
    frames, shifts, truth = make_frames(12)
    folder, csv = write(tmp_path / "f", frames, 16), write_csv(tmp_path / "s.csv", shifts)
    (tmp_path / "truth.png").write_bytes(png_bytes_of_depth(truth[4:28, 8:40], 16))
    known = ["--shifts", csv, "--scale", 2, "--seconds", 100]
    code, result = run(
        capsys, "superres", folder, "-o", tmp_path / "a.png", *known, "--crop", "4,2,16,12", "--truth",
        tmp_path / "truth.png",
    )  # fmt: skip
    assert code == 0 and result["size"] == [32, 24] and result["crop"] == list(CROP) and result["psnr_interior"] > 24
    cut = write(tmp_path / "cut", frames[:, 2:14, 4:20], 16)
    assert run(capsys, "superres", cut, "-o", tmp_path / "b.png", *known)[0] == 0
    assert rms(read_frames(tmp_path / "a.png").images, read_frames(tmp_path / "b.png").images) == 0
    assert "the part of 16 x 12 pixels at (4, 2)" in (tmp_path / "a" / "report.html").read_text()
    shutil.move(tmp_path / "a" / "config.yml", tmp_path / "config.yml")
    again = ["--config", tmp_path / "config.yml", "--shifts", csv, "--seconds", 1]
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "c.png", *again)
    assert code == 0 and result["size"] == [32, 24]
