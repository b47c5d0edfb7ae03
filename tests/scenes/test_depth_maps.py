"""Depth maps: 16-bit images in millimetres, arrays, what is unknown, and what is no map."""

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.depth_maps import read_depth_map


def test_an_image_is_in_millimetres_and_an_array_in_its_unit(tmp_path):
    values = np.array([[0, 1500], [2000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "map.png")
    np.testing.assert_allclose(read_depth_map(tmp_path / "map.png"), [[0, 1.5], [2, 65.535]], rtol=1e-6)
    np.save(tmp_path / "map.npy", np.array([[np.nan, 0.5], [-1, np.inf]])[..., None])
    np.testing.assert_array_equal(read_depth_map(tmp_path / "map.npy", 2.0), [[0, 1], [0, 0]])


def test_what_is_no_map_is_named(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "photo.png")
    with pytest.raises(NerfkitError, match="one number a pixel; got shape 3x4x3"):
        read_depth_map(tmp_path / "photo.png")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    for name in ("broken.npy", "absent.png"):
        with pytest.raises(NerfkitError, match=r"cannot be read|no depth map that can be read"):
            read_depth_map(tmp_path / name)
