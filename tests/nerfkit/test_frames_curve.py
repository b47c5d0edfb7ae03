"""A super-resolution averages by the curve that the frames' files name, and its run folder remembers it."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nerfkit.superresolution.inputs import read_source
from nerfkit.superresolution.settings import SuperresConfig


def write_frames(folder, *chunk, colours=3):
    """Four frames of noise with a chunk after IHDR."""
    folder.mkdir(exist_ok=True)
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 14, colours), np.uint8)
        file = folder / f"{i}.png"
        Image.fromarray(pixels if colours == 3 else pixels[..., 0]).save(file)
        content = file.read_bytes()
        for name, data in chunk:
            made = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            content = content[:33] + made + content[33:]
        file.write_bytes(content)
    return folder


LINEAR, BT709, PQ = (b"gAMA", struct.pack(">I", 100_000)), (b"cICP", b"\1\1\0\1"), (b"cICP", b"\x09\x10\0\1")


@pytest.mark.parametrize(
    ("chunks", "colours", "asked", "used"),
    [
        ((), 3, "auto", "srgb"),
        ((), 1, "auto", "linear"),
        ((LINEAR,), 3, "auto", "linear"),
        ((BT709,), 3, "auto", "bt709"),
        ((BT709,), 1, "auto", "bt709"),
        ((PQ,), 3, "auto", "srgb"),
        ((PQ,), 1, "auto", "srgb"),
        ((BT709,), 3, "linear", "linear"),
        ((LINEAR,), 3, "srgb", "srgb"),
        ((), 1, "gamma22", "gamma22"),
    ],
)
def test_auto_is_what_the_files_name(tmp_path, chunks, colours, asked, used):
    source = read_source(write_frames(tmp_path / "f", *chunks, colours=colours), SuperresConfig(transfer=asked))
    assert source.settings.transfer == used
    text = source.describe()[0]
    assert ("averaged in linear" in text) == (used != "linear")
    assert ("BT.709" in text, "gamma 2.2" in text) == (used == "bt709", used == "gamma22")
    # config.yml, from which a run's settings are made again without its frames
    again = type(source.settings).for_frames(
        source.config, size=(14, 12), n_channels=source.settings.n_channels, bit_depth=source.settings.bit_depth,
        value_range=source.settings.value_range, white=source.settings.white,
    )  # fmt: skip
    assert again == source.settings
