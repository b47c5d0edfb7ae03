"""COLMAP's points: which photo sees which, binary and text, and which are left out."""

import struct

import numpy as np
import pytest

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.colmap_points import read_seen_points

NAMES = {3: "a.png", 7: "b c.png", 8: "d.png"}
# position, error, images; the second is seen by two, the fourth is far off
POINTS = [
    ((1, 2, 3), 0.5, [3, 7, 8]),
    ((0, 0, 1), 0.5, [3, 7]),
    ((4, 5, 6), 1.0, [8, 7, 3]),
    ((9, 9, 9), 9.0, [3, 7, 8]),
]


def write_text(folder):
    (folder / "cameras.txt").write_text("1 PINHOLE 8 6 10 10 4 3\n")
    (folder / "images.txt").write_text("".join(f"{i} 1 0 0 0 0 0 0 1 {name}\n1.5 2.5 1\n" for i, name in NAMES.items()))
    lines = [
        f"{k} {' '.join(map(str, xyz))} 255 0 0 {error} {' '.join(f'{image} 0' for image in images)}"
        for k, (xyz, error, images) in enumerate(POINTS)
    ]
    (folder / "points3D.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")


def write_binary(folder):
    (folder / "cameras.bin").write_bytes(struct.pack("<Q", 0))
    images = b"".join(
        struct.pack("<i7di", i, 1, 0, 0, 0, 0, 0, 0, 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
        for i, name in NAMES.items()
    )
    (folder / "images.bin").write_bytes(struct.pack("<Q", len(NAMES)) + images)
    points = b"".join(
        struct.pack("<Q3d3BdQ", k, *xyz, 255, 0, 0, error, len(images))
        + b"".join(struct.pack("<ii", image, 0) for image in images)
        for k, (xyz, error, images) in enumerate(POINTS)
    )
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(POINTS)) + points)


@pytest.mark.parametrize("write", [write_text, write_binary])
def test_points_of_three_photos_and_a_usual_error_by_name(tmp_path, write):
    write(tmp_path)
    seen = read_seen_points(tmp_path)
    assert set(seen) == set(NAMES.values())
    np.testing.assert_array_equal(seen["b c.png"], [[1, 2, 3], [4, 5, 6]])


def test_a_model_without_points_has_none(tmp_path):
    write_text(tmp_path)
    (tmp_path / "points3D.txt").write_text("# nothing\n")
    assert read_seen_points(tmp_path) == {}
    (tmp_path / "points3D.txt").unlink()
    assert read_seen_points(tmp_path) == {}


def test_a_damaged_file_is_named(tmp_path):
    write_text(tmp_path)
    (tmp_path / "points3D.txt").write_text("1 2 x 3 0 0 0 0.5 3 0\n")
    with pytest.raises(NerfkitError, match="expected 'POINT3D_ID X Y Z"):
        read_seen_points(tmp_path)
    write_binary(tmp_path)
    data = (tmp_path / "points3D.bin").read_bytes()
    (tmp_path / "points3D.bin").write_bytes(data[:60])
    with pytest.raises(NerfkitError, match="cut off at byte 60"):
        read_seen_points(tmp_path)
