"""Shifts and matrices in another convention than ours are told from the frames, with the reading that fits."""

import numpy as np
import pytest
from lowres_scenes import make_frames, turned_frames

from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.shifts import Shifts, write_shifts
from nerfkit.superresolution.given_motion import check_given_motion

SCALE = 4
EXCHANGE = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
TO_OUTPUT = np.diag([SCALE, SCALE, 1.0])


def check(given, frames, where, **known):
    """Check shifts [n, 2] or matrices [n, 3, 3], affine where nothing else is needed."""
    kind = "shift" if given.ndim == 2 else "homography" if given[:, 2, :2].any() else "affine"
    values = given[:, :2] if kind == "affine" else given
    names = [str(index) for index in range(len(frames))]
    check_given_motion(Shifts(kind, values, names), frames, SCALE, where, **known)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda shifts: -shifts, "both signs changed"),
        (lambda shifts: shifts[:, ::-1], "dx and dy exchanged"),
        (lambda shifts: shifts * [-1, 1], "the sign of dx changed"),
        (lambda shifts: shifts * 4, "divided by 4"),
    ],
)
def test_shifts_of_another_convention_are_refused_by_name(wrong, said, caplog):
    frames, shifts, _ = make_frames()
    check(shifts, frames, "shifts.csv")
    with pytest.raises(NerfkitError, match=said) as caught:
        check(wrong(shifts), frames, "shifts.csv")
    assert "correct the file" in caught.value.fix and caught.value.where == "shifts.csv"
    # a user who insists is told, and obeyed
    check(wrong(shifts), frames, "shifts.csv", is_exact=True)
    assert said in caplog.text
    # whoever lists what was found gets it as data, and nothing is logged
    caplog.clear()
    findings = Findings()
    check(wrong(shifts), frames, "shifts.csv", is_exact=True, findings=findings)
    assert [(found.level, found.where) for found in findings] == [("warning", "shifts.csv")]
    assert said in findings[0].what and not caplog.records


def by_column(matrices):
    """Affine numbers written column by column, read row by row."""
    found = matrices.copy()
    found[:, :2] = matrices[:, :2].transpose(0, 2, 1).reshape(-1, 2, 3)
    return found


def turned_back(matrices):
    found = matrices.copy()
    found[:, :2, :2] = matrices[:, :2, :2].transpose(0, 2, 1)
    return found


WRONG = [
    (np.linalg.inv, "their inverse by"),
    (by_column, "column by column by"),
    (turned_back, "2 x 2 part transposed by"),
    (lambda m: EXCHANGE @ m @ EXCHANGE, "x and y exchanged by"),
    (lambda m: TO_OUTPUT @ m @ np.linalg.inv(TO_OUTPUT), "with lengths divided by 4"),
    (lambda m: TO_OUTPUT @ np.linalg.inv(m) @ np.linalg.inv(TO_OUTPUT), "their inverse, lengths divided by 4"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said for _, said in WRONG])
def test_affine_maps_of_another_convention_are_refused_by_name(wrong, said, caplog):
    frames, matrices = turned_frames(n=12, side=40, degrees=4.0)
    check(matrices, frames, "affine.csv")
    assert not caplog.records
    with pytest.raises(NerfkitError, match=said) as caught:
        check(wrong(matrices), frames, "affine.csv")
    assert "frame pixel to reference pixel" in caught.value.fix
    check(wrong(matrices), frames, "affine.csv", is_exact=True)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.linalg.inv, "their inverse by"),
        (lambda m: EXCHANGE @ m @ EXCHANGE, "x and y exchanged by"),
        (lambda m: TO_OUTPUT @ m @ np.linalg.inv(TO_OUTPUT), "with lengths divided by 4"),
    ],
)
def test_homographies_of_another_convention_are_refused_by_name(wrong, said):
    frames, matrices = turned_frames(n=12, side=40, perspective=3e-4, degrees=4.0)
    check(matrices, frames, "h.csv")
    with pytest.raises(NerfkitError, match=said):
        check(wrong(matrices), frames, "h.csv")


def test_centres_at_whole_numbers_are_told_where_they_matter():
    half = np.eye(3)
    half[:2, 2] = 0.5
    frames, matrices = turned_frames(n=12, side=40, degrees=12.0)
    check(matrices, frames, "affine.csv")
    with pytest.raises(NerfkitError, match=r"centres lie at whole numbers; ours lie at \+0.5") as caught:
        check(np.linalg.inv(half) @ matrices @ half, frames, "affine.csv")
    assert "T M inverse(T)" in caught.value.fix
    # a tenth of a degree moves a frame by less than a hundredth of a pixel
    frames, matrices = turned_frames(n=12, side=40, degrees=0.1)
    check(np.linalg.inv(half) @ matrices @ half, frames, "affine.csv")


def test_another_reference_and_brightness_do_not_confuse_the_check():
    frames, matrices = turned_frames(n=10, side=40, degrees=4.0)
    frames = frames * np.linspace(0.6, 1.0, len(frames), dtype=np.float32)[:, None, None] + 0.05
    check(matrices, frames, "affine.csv", reference=3)
    with pytest.raises(NerfkitError, match="their inverse"):
        check(np.linalg.inv(matrices), frames, "affine.csv", reference=3)


def test_matrices_that_are_right_pass_from_the_command_line_and_wrong_ones_exit_with_2(tmp_path, capsys):
    frames, matrices = turned_frames(n=8, side=40, degrees=4.0)
    np.savez(tmp_path / "f.npz", frames=np.clip(frames, 0, 1))
    names = [str(index) for index in range(len(frames))]
    write_shifts(tmp_path / "wrong.csv", names, np.linalg.inv(matrices)[:, :2], "affine")
    arguments = ["superres", str(tmp_path / "f.npz"), "-o", str(tmp_path / "o.png"), "--shifts"]
    assert main([*arguments, str(tmp_path / "wrong.csv")]) == 2
    assert "with their inverse by" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()
    # a homography by columns has its shift where the perspective belongs
    perspective = turned_frames(n=8, side=40, perspective=1e-4, degrees=4.0)[1]
    write_shifts(tmp_path / "columns.csv", names, perspective.transpose(0, 2, 1), "homography")
    assert main([*arguments, str(tmp_path / "columns.csv")]) == 2
    assert "column by column" in capsys.readouterr().err
