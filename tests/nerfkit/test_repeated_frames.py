"""Frames that repeat another: copies, repeats that were compressed anew, and exposures that are none."""

import numpy as np
from lowres_scenes import make_frames, run, write

from nerfkit.superresolution.repeated_frames import find_repeats


def rounded(frames):
    return np.rint(np.clip(frames, 0, 1) * 255) / 255


def test_copies_anywhere_and_repeats_compressed_anew_are_found():
    frames = rounded(make_frames(6)[0])
    frames[4] = frames[1]
    frames[3] = frames[2]
    frames[3, 5:8, 5:8] += 1 / 255  # a block
    assert find_repeats(frames).tolist() == [-1, -1, -1, 2, 1, -1]


def test_exposures_of_a_still_scene_with_half_a_step_of_noise_are_no_repeats():
    scene = make_frames(1)[0][0]
    frames = rounded(scene + np.random.default_rng(0).normal(0, 0.5 / 255, (5, *scene.shape)))
    assert (find_repeats(frames) == -1).all()


def test_clipped_pixels_do_not_make_a_repeat():
    frames = rounded(make_frames(3)[0])
    frames[:, :, :22] = 1.0
    assert (find_repeats(frames) == -1).all()


def test_repeats_are_left_out_and_said_and_the_reference_is_kept(tmp_path, capsys):
    frames = make_frames(6)[0]
    frames[3] = frames[2]
    write(tmp_path / "frames", frames)
    code, result = run(capsys, "superres", tmp_path / "frames", "-o", tmp_path / "a.png", "--scale", 2, "--seconds", 2)
    assert code == 0 and result["repeated"] == ["f3.png"] and len(result["registered"]) == 6
    assert [row["used"] for row in result["registered"] if row["file"] == "f3.png"] == [False]
    known = ["--scale", 2, "--seconds", 2, "--reference", "f3.png"]
    code, result = run(capsys, "superres", tmp_path / "frames", "-o", tmp_path / "b.png", *known)
    assert code == 0 and result["repeated"] == ["f2.png"] and result["reference"] == "f3.png"
