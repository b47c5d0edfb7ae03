"""shifts.csv: every form that is read, every mistake that is named, and the way back."""

import os
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import shifts as module
from nerfkit.scenes.readers.frames import Frames, read_frames
from nerfkit.scenes.readers.shifts import Shifts, read_shifts, write_shifts

NAMES = ("a1.png", "a2.png", "a10.png")
ROWS = "a1.png,0,0\na2.png,0.25,-0.5\na10.png,-1.5,0.125\n"
VALUES = [[0, 0], [0.25, -0.5], [-1.5, 0.125]]
IDENTITY = np.eye(3)


def _save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 10)).save(path)


def burst(folder, names=NAMES, n_frames=None):
    """Frames of 20x10 pixels in files."""
    for name in names:
        _save(folder / name)
    return read_frames(folder, n_frames)


def indexed(n=3, is_cut=False):
    files = [str(i) for i in range(n)]
    return Frames(np.zeros((n, 10, 20), np.float32), files, 8, "f", module.Path(), is_indexed=True, is_cut=is_cut)


def read(folder, text, frames=None):
    path = folder / "shifts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_shifts(path, burst(folder) if frames is None else frames)


def error_of(folder, text, frames=None):
    with pytest.raises(NerfkitError) as caught:
        read(folder, text, frames)
    return str(caught.value).removeprefix(f"{folder / 'shifts.csv'}: ")


# --- forms that are read ---


def test_shifts_in_the_order_of_the_frames(tmp_path):
    lines = ROWS.splitlines()
    shifts = read(tmp_path, "\n".join(["file,dx,dy", lines[2], lines[0], lines[1]]))
    assert shifts.kind == "shift" and shifts.files == list(NAMES)
    assert shifts.values.dtype == np.float64
    np.testing.assert_array_equal(shifts.values, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffile,dx,dy\n" + ROWS,
        ("file,dx,dy\n" + ROWS).replace("\n", "\r\n"),
        ("file,dx,dy\n" + ROWS).replace("\n", "\r"),
        ("file,dx,dy\n" + ROWS).replace(",", " , "),
        "# made by hand\n\nfile,dx,dy\n  # the reference\n" + ROWS + "\n\n",
        "File,DX,dY\n" + ROWS,
        'file,dx,dy\n"a1.png",0,0\n"a2.png","0.25",-5e-1\n./a10.png,-1.5,.125\n',
        "dy,file,dx\n0,a1.png,0\n-.5,a2.png,.25\n.125,a10.png,-1.5\n",
        "file,dx,dy,used,residual\na1.png,0,0,1,.1\na2.png,.25,-.5,1,.1\na10.png,-1.5,.125,0,nan\n",
        "file,dx,dy\nC:\\burst\\a1.png,0,0\n/data/a2.png,.25,-.5\nburst/a10.png,-1.5,.125\n",
    ],
)
def test_ways_to_write_the_same(tmp_path, text):
    np.testing.assert_array_equal(read(tmp_path, text).values, VALUES)


def test_affine(tmp_path):
    rows = "".join(f"{name},1.01,0.02,{i}.5,-0.03,0.98,0.25\n" for i, name in enumerate(NAMES))
    shifts = read(tmp_path, "file,a00,a01,a02,a10,a11,a12\n" + rows)
    assert shifts.kind == "affine" and shifts.values.shape == (3, 2, 3)
    np.testing.assert_array_equal(shifts.values[2], [[1.01, 0.02, 2.5], [-0.03, 0.98, 0.25]])


def test_homography_is_scaled_to_a_last_element_of_one(tmp_path):
    header = "file," + ",".join(f"h{i}{j}" for i in range(3) for j in range(3))
    rows = "".join(f"{name},-2,0,-1,0,-2,-0.5,-0.002,0,-2\n" for name in NAMES)
    shifts = read(tmp_path, f"{header}\n{rows}")
    assert shifts.kind == "homography" and shifts.values.shape == (3, 3, 3)
    np.testing.assert_array_equal(shifts.values[0], [[1, 0, 0.5], [0, 1, 0.25], [0.001, 0, 1]])


@pytest.mark.parametrize("kind", ["shift", "affine", "homography"])
def test_every_kind_is_a_homography(kind: Any):
    move = np.array([[1, 0, 0.5], [0, 1, -2], [0, 0, 1]])
    value = {"shift": move[:2, 2], "affine": move[:2], "homography": move}[kind]
    np.testing.assert_array_equal(Shifts(kind, value[None], ["a.png"]).matrices(), move[None])


def test_names_with_folders(tmp_path):
    for name in ("left/x.png", "right/x.png", "right/y.png"):
        _save(tmp_path / name)
    frames = read_frames(tmp_path / "*" / "*.png")
    rows = "file,dx,dy\nleft/x.png,.5,0\nright/x.png,0,.5\ny.png,.25,0\n"
    np.testing.assert_array_equal(read(tmp_path, rows, frames).values, [[0.5, 0], [0, 0.5], [0.25, 0]])
    message = error_of(tmp_path, rows.replace("left/x", "x"), frames)
    assert message.startswith("line 2 names 'x.png', which is not among the 3 frames (left/x.png, right/x.png,")


def test_indices_of_a_video_or_an_array(tmp_path):
    rows = "file,dx,dy\n2,-1.5,.125\n000,0,0\n01,.25,-.5\n"
    np.testing.assert_array_equal(read(tmp_path, rows, indexed()).values, VALUES)
    # Python reads no number of more than 4300 digits
    for index in ("3", "9" * 5000):
        message = error_of(tmp_path, rows + f"{index},0,0\n", indexed())
        assert message.startswith(f"line 5 names '{index}', which is not among the 3 frames (0, 1, 2); ")
    assert "not among the 3 frames" in error_of(tmp_path, rows.replace("2,", "f2.png,"), indexed())


def test_rows_of_frames_that_were_left_out_are_passed_over(tmp_path):
    assert len(read(tmp_path, "file,dx,dy\n" + ROWS, burst(tmp_path, n_frames=2)).values) == 2
    moved = ("file,dx,dy\n" + ROWS).replace("a1", "there/a1").replace("a2", "there/a2").replace("a10", "there/a10")
    assert len(read(tmp_path, moved, burst(tmp_path, n_frames=2)).values) == 2
    rows = "file,dx,dy\n0,0,0\n1,.5,0\n2,0,.5\n"
    assert len(read(tmp_path, rows, indexed(2, is_cut=True)).values) == 2


def test_whole_numbers_alone_bring_a_warning(tmp_path, caplog):
    read(tmp_path, "file,dx,dy\na1.png,0,0\na2.png,1,-2\na10.png,3.0,0\n")
    assert len(caplog.records) == 1 and "every shift is a whole number of low-res pixels" in caplog.text
    caplog.clear()
    read(tmp_path, "file,dx,dy\n" + ROWS)
    read(tmp_path, "file,dx,dy\n0,0,0\n", indexed(1))
    assert not caplog.records


# --- mistakes ---


def test_absent_file(tmp_path):
    with pytest.raises(NerfkitError, match=r"absent\.csv: no such file; give the csv .* leave --shifts out"):
        read_shifts(tmp_path / "absent.csv", indexed())
    with pytest.raises(NerfkitError, match="this is a folder; give the csv"):
        read_shifts(tmp_path, indexed())


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.Path, "read_text", refuse)
    assert error_of(tmp_path, "file,dx,dy\n") == "cannot be read (Permission denied)"


def test_file_that_is_no_text(tmp_path):
    assert error_of(tmp_path, ("file,dx,dy\n" + ROWS).encode("utf-16")) == (
        "this is not UTF-8 text; save it as CSV UTF-8"
    )


@pytest.mark.parametrize(
    "header", ["name,dx,dy", "file,dx", "file,x,y", "file;dx;dy", "file,dx,dy,theta", "file,dx,dy,dx", "a1.png,0,0"]
)
def test_wrong_header_is_shown_with_the_three_that_are_right(tmp_path, header):
    message = error_of(tmp_path, f"# comment\n{header}\n{ROWS}")
    assert message.startswith(
        "the header must be file,dx,dy or file,a00,a01,a02,a10,a11,a12 or "
        f"file,h00,h01,h02,h10,h11,h12,h20,h21,h22; found {header};"
    )


@pytest.mark.parametrize("text", ["", "\n\n# nothing\n"])
def test_empty_file(tmp_path, text):
    assert "found an empty file" in error_of(tmp_path, text)


def test_row_of_a_file_that_is_not_there(tmp_path):
    message = error_of(tmp_path, "file,dx,dy\n" + ROWS + "a11.png,0,0\n")
    assert message.startswith("line 5 names 'a11.png', which is not among the 3 frames (a1.png, a2.png, a10.png); ")
    assert "line 5 names ''" in error_of(tmp_path, "file,dx,dy\n" + ROWS + ",0,0\n")


def test_too_few_rows(tmp_path):
    assert error_of(tmp_path, "file,dx,dy\na2.png,0,0\n").startswith(
        "2 of 3 frames have no row: a1.png, a10.png; add them"
    )
    assert "3 of 3 frames have no row" in error_of(tmp_path, "file,dx,dy\n")


def test_two_rows_of_a_frame(tmp_path):
    message = error_of(tmp_path, "file,dx,dy\n" + ROWS + "\na2.png,0.25,-0.5\n")
    assert message == "frame a2.png has two rows, lines 3 and 6; delete one of them"


@pytest.mark.parametrize("cell", ["", "left", "0.5px", "--1"])
def test_what_is_not_a_number(tmp_path, cell):
    message = error_of(tmp_path, f"file,dx,dy\na1.png,0,0\na2.png,0,{cell}\n")
    assert message == f"line 3: dy is {cell!r}, which is not a number; correct it"


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-inf", "1e999"])
def test_what_is_not_finite(tmp_path, cell):
    message = error_of(tmp_path, f"file,dx,dy\na1.png,{cell},0\n")
    assert message.startswith(f"line 2: dx is {cell}; a finite number is wanted; ")


@pytest.mark.parametrize(("row", "n"), [("a2.png,0", 2), ("a2.png,0,0,0", 4), ("a2.png,0,5,0,5", 5)])
def test_wrong_number_of_columns(tmp_path, row, n):
    message = error_of(tmp_path, f"file,dx,dy\na1.png,0,0\n{row}\n")
    assert message.startswith(f"line 3 has {n} columns, the header 3: {row!r}; columns are divided by commas")


@pytest.mark.parametrize(("dx", "dy"), [(10.5, 0), (-10.5, 0), (0, 5.5), (0, -5.5)])
def test_shifts_in_another_unit(tmp_path, dx, dy):
    message = error_of(tmp_path, f"file,dx,dy\na1.png,{dx},{dy}\n")
    assert message.startswith(
        f"line 2: the frame moves by ({dx:g}, {dy:g}) low-res pixels, more than half of its 20x10"
    )
    assert message.endswith("the unit is the low-res pixel: divide shifts of the high-res grid by the scale")
    read(tmp_path, "file,dx,dy\n0,10,5\n1,-10,-5\n2,.5,0\n", indexed())  # half the frame is allowed


def test_affine_in_another_unit(tmp_path):
    header = "file,a00,a01,a02,a10,a11,a12\n"
    assert "the frame moves by (12, 0)" in error_of(tmp_path, header + "a1.png,1,0,12,0,1,0\n")
    # a matrix for the 4 times finer grid moves the frame's centre
    assert "the frame moves by (30, 15)" in error_of(tmp_path, header + "a1.png,4,0,0,0,4,0\n")


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), [[1, 1, 0], [1, 1, 0]], [[0.05, 0, 0], [0, 0.05, 0]]])
def test_singular_affine(tmp_path, matrix):
    row = ",".join(map(str, np.ravel(matrix)))
    message = error_of(tmp_path, f"file,a00,a01,a02,a10,a11,a12\na1.png,{row}\n")
    assert message.startswith("line 2: the matrix is singular or shrinks the frame to nothing (determinant ")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3, 3)), "the homography is singular or not scaled: h22 is 0"),
        ([[1, 0, 0], [0, 1, 0], [1, 0, 0]], "the homography is singular or not scaled: h22 is 0"),
        ([[1, 1, 0], [1, 1, 0], [0, 0, 1]], "the matrix is singular"),
        ([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]], "sends a corner of the frame to infinity or behind the camera"),
        ([[1, 0, 12], [0, 1, 0], [0, 0, 1]], r"the frame moves by \(12, 0\)"),
    ],
)
def test_impossible_homography(tmp_path, matrix, message):
    header = "file," + ",".join(f"h{i}{j}" for i in range(3) for j in range(3))
    row = ",".join(map(str, np.ravel(matrix)))
    assert re.match(f"line 2: .*{message}", error_of(tmp_path, f"{header}\na1.png,{row}\n"))


# --- writing ---


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("shift", np.random.default_rng(0).uniform(-1, 1, (3, 2))),
        ("affine", IDENTITY[:2] + np.random.default_rng(0).uniform(-0.1, 0.1, (3, 2, 3))),
        ("homography", IDENTITY + np.random.default_rng(0).uniform(-0.001, 0.001, (3, 3, 3)) * (1 - IDENTITY)),
    ],
)
def test_what_is_written_is_read_to_the_last_bit(tmp_path, kind: Any, values):
    if kind == "homography":
        values[:, 2, 2] = 1
    extra = {"used": [True, np.True_, False], "residual": np.array([0.1, 0.2, 0.3])}
    write_shifts(tmp_path / "new" / "registered.csv", NAMES, values, kind, extra)
    shifts = read_shifts(tmp_path / "new" / "registered.csv", burst(tmp_path))
    assert shifts.kind == kind
    np.testing.assert_array_equal(shifts.values, values)


def test_what_is_written(tmp_path):
    extra = {"used": [True, False], "residual": np.array([0.5, 0.25], np.float32)}
    write_shifts(tmp_path / "r.csv", ["a,b.png", "#2.png"], np.array([[0, 0], [0.1, -0.2]]), extra=extra)
    assert (tmp_path / "r.csv").read_bytes() == (
        b'file,dx,dy,used,residual\n"a,b.png",0.0,0.0,1,0.5\n./#2.png,0.1,-0.2,0,0.25\n'
    )
    assert (tmp_path / "r.csv").stat().st_mode & 0o777 == 0o644
    frames = burst(tmp_path / "f", ("a,b.png", "#2.png"))
    assert sorted(read_shifts(tmp_path / "r.csv", frames).values.ravel()) == [-0.2, 0, 0, 0.1]


@pytest.mark.parametrize(
    ("values", "extra", "message"),
    [
        ([[0, 0]], None, r"of shape \(3, 2\); got \(1, 2\)"),
        ([[0, 0], [0, np.nan], [0, 0]], None, "must be finite"),
        (VALUES, {"theta": [0, 0, 0]}, "extra columns must be of"),
        (VALUES, {"used": [1]}, "with 3 values each"),
    ],
)
def test_what_cannot_be_written(tmp_path, values, extra, message):
    with pytest.raises(ValueError, match=message):
        write_shifts(tmp_path / "r.csv", NAMES, values, extra=extra)
    assert not list(tmp_path.iterdir())


def test_failed_writing_keeps_what_was_there(tmp_path, monkeypatch):
    write_shifts(tmp_path / "r.csv", NAMES, VALUES)
    before = (tmp_path / "r.csv").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Path, "replace", fail)
    with pytest.raises(NerfkitError, match=r"r\.csv: no space left on the disk for .* MB; free some"):
        write_shifts(tmp_path / "r.csv", NAMES, np.add(VALUES, 1))
    assert (tmp_path / "r.csv").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_writing_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NerfkitError, match=r"r\.csv: cannot be written \(.*\); give a folder"):
        write_shifts(tmp_path / "file" / "r.csv", NAMES, VALUES)


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
def test_names_that_are_no_utf_8_there_and_back(tmp_path):
    names = [*NAMES, os.fsdecode(b"gr\xfcn.png")]
    frames = burst(tmp_path, names)
    write_shifts(tmp_path / "shifts.csv", frames.files, [[0.5 * i, 0] for i in range(4)])
    assert b"gr\xfcn.png,1.5" in (tmp_path / "shifts.csv").read_bytes()
    assert read_shifts(tmp_path / "shifts.csv", frames).files == frames.files
