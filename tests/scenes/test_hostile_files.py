"""Small files that declare what would take all memory, or that name other files: refused by their heads, in words."""

import json
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from photo_folders import save_photo, write_transforms

from nerfkit.report.media import load_picture
from nerfkit.scenes.camera_path import read_camera_path
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.json_text import parse_json
from nerfkit.scenes.photo_masks import _read_mask
from nerfkit.scenes.readers import array_files, picture_size, read_posed_photos
from nerfkit.scenes.readers._xml import parse_xml
from nerfkit.scenes.readers.array_files import open_arrays
from nerfkit.scenes.readers.depth_maps import read_depth_map
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.kspace import read_kspace
from nerfkit.scenes.readers.llff import read_llff
from nerfkit.scenes.readers.photos import read_header, read_photo
from nerfkit.scenes.readers.picture import array_names, read_picture
from nerfkit.scenes.readers.sinogram import read_scan
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.readers.video import read_video
from nerfkit.scenes.readers.volume import read_volume

# --- pictures ---


def png(width, height):
    """A PNG of that size by its head, with a few bytes of pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def read_mask_file(path):
    return _read_mask(path, uses_exif=True)


@pytest.mark.parametrize(
    "read", [read_header, read_photo, read_picture, read_depth_map, read_frames, read_mask_file]
)  # fmt: skip
def test_a_picture_is_refused_by_its_head(tmp_path, read):
    file = tmp_path / "huge.png"
    file.write_bytes(png(40_000, 50_000))
    with pytest.raises(NerfkitError, match=r"huge\.png: declares (40000x50000|too many) pixels.*at most 268,435,456"):
        read(file)


def test_more_pixels_than_twice_the_limit_are_refused_in_the_same_words(tmp_path):
    for side in (17_000, 30_000):
        (tmp_path / "huge.png").write_bytes(png(side, side))
        with pytest.raises(NerfkitError, match="at most 268,435,456 are read"):
            read_photo(tmp_path / "huge.png")


def test_a_report_leaves_a_huge_picture_out(tmp_path):
    (tmp_path / "huge.png").write_bytes(png(40_000, 50_000))
    assert load_picture(tmp_path / "huge.png", "") is None


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_tiff_is_refused_by_its_head(tmp_path, dtype):
    """Also one of floats of 64 bits, which Pillow does not know."""
    file = tmp_path / "huge.tif"
    tifffile.imwrite(file, np.zeros((8, 8, 3), dtype), photometric="rgb")
    with tifffile.TiffFile(file, mode="r+") as stored:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            stored.pages[0].tags[name].overwrite(30_000)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(NerfkitError, match=r"huge\.tif"):
        read_picture(file)


def test_a_video_is_refused_by_its_head(tmp_path, monkeypatch):
    file = tmp_path / "a.y4m"
    file.write_bytes(b"YUV4MPEG2 W16 H16 F5:1 Ip C420jpeg\nFRAME\n" + bytes(16 * 16 * 3 // 2))
    assert len(read_video(file).pixels) == 1
    monkeypatch.setattr(picture_size, "MAX_PIXELS", 200)
    with pytest.raises(NerfkitError, match=r"declares 16x16 pixels, 256; at most 200 are read"):
        read_video(file)


def test_a_playlist_is_no_video(tmp_path):
    """ffmpeg would read what it names, from files and from the network."""
    playlist = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\na.y4m\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F5:1 Ip C420jpeg\nFRAME\n" + bytes(16 * 16 * 3 // 2))
    for text in (playlist, "ffconcat version 1.0\nfile a.y4m\n"):
        (tmp_path / "b.mp4").write_text(text)
        with pytest.raises(NerfkitError, match="no frame can be read from this video"):
            read_video(tmp_path / "b.mp4")


def test_postscript_is_no_picture(tmp_path):
    """Pillow would start Ghostscript on it, whatever its name is."""
    save_photo(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "photo.png")
    for read in (read_header, read_photo, read_picture, read_depth_map, read_mask_file):
        with pytest.raises(NerfkitError, match=r"photo\.png.*(is not an image|is no image|cannot identify)"):
            read(tmp_path / "photo.png")


def test_an_image_of_several_files_names_none_of_another_folder(tmp_path):
    values = np.zeros((2, 8, 8), np.float32)
    tifffile.imwrite(tmp_path / "a.ome.tif", values, ome=True, metadata={"axes": "ZYX"})
    assert read_volume(tmp_path / "a.ome.tif").shape == (2, 8, 8)
    head = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels DimensionOrder='
        '"XYZCT" ID="Pixels:0" SizeC="1" SizeT="1" SizeX="8" SizeY="8" SizeZ="2" Type="float"><TiffData IFD="0" '
        'FirstZ="1" PlaneCount="1"><UUID FileName="../b.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "c.tif", values[:1], description=head, metadata=None)
    with pytest.raises(NerfkitError, match=r"names '\.\./b\.tif'; the parts of an image are read from its own folder"):
        read_volume(tmp_path / "c.tif")


# --- arrays ---


def npy(shape, dtype="<f8", values=b""):
    head = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + values


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**62, 4), (3,)])
def test_an_array_that_declares_more_than_its_file_holds(tmp_path, shape):
    file = tmp_path / "a.npy"
    file.write_bytes(npy(shape, values=bytes(16)))
    with pytest.raises(NerfkitError, match=r"declares [\d,]+ bytes of float64, shape .*, and has 16"):
        read_picture(file)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", npy(shape, values=bytes(16)))
    with pytest.raises(NerfkitError, match=r"declares [\d,]+ bytes"):
        read_picture(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "head", [npy((-4, 4), values=bytes(99)), b"\x93NUMPY\x01\x00\xff\x03" + b"(" * 1023, b"\x93NUMPY\x09\x00"]
)
def test_a_head_that_is_none(tmp_path, head):
    (tmp_path / "a.npy").write_bytes(head)
    with pytest.raises(NerfkitError, match=r"a\.npy: .*cannot be read"):
        read_picture(tmp_path / "a.npy")


def test_an_array_larger_than_memory(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((8, 8)))
    monkeypatch.setattr(array_files, "physical_memory", lambda: 1000)
    with pytest.raises(NerfkitError, match="needs 512 bytes of memory; half of this machine's is 500"):
        read_picture(tmp_path / "a.npy")


def test_zeros_that_are_compressed_a_thousandfold(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((300, 300)))
    assert read_picture(tmp_path / "a.npz").size == (300, 300)
    monkeypatch.setattr(array_files, "MAX_ZEROS", 1000)
    with pytest.raises(NerfkitError, match=r"would become 720,128; 200 times as many, or 1,000, are read at most"):
        read_picture(tmp_path / "a.npz")


def test_a_damaged_archive_is_a_users_mistake(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", image=np.arange(99.0).reshape(9, 11))
    payload = (tmp_path / "a.npz").read_bytes()
    at = len(payload) // 2
    (tmp_path / "a.npz").write_bytes(payload[:at] + bytes(8) + payload[at + 8 :])
    with pytest.raises(NerfkitError, match=r"a\.npz"):
        read_picture(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(payload[: len(payload) // 2])
    assert array_names(tmp_path / "b.npz") == []
    with pytest.raises(NerfkitError, match=r"b\.npz"):
        open_arrays(tmp_path / "b.npz")


ARRAYS = (
    np.arange(6), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(3.5), np.zeros((0, 3)),
    np.array(["a", "bc"]), np.arange(4, dtype=">u2"), np.array([True, False]),
)  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS)
def test_what_numpy_writes_is_read_alike(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    for found in (open_arrays(tmp_path / "a.npy").load(), open_arrays(tmp_path / "a.npz").load("x")):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype and found.flags.writeable


def test_poses_of_llff_may_be_no_archive(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 17)))
    (tmp_path / "a.npz").rename(tmp_path / "poses_bounds.npy")
    with pytest.raises(NerfkitError, match=r"poses_bounds\.npy: is an npz; an npy of one array is wanted"):
        read_llff(tmp_path, False, Findings())


# --- texts ---


def test_json_that_is_nested_deep(tmp_path):
    deep = '{"a":' * 50_000
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(deep)
    (tmp_path / "transforms.json").write_text(deep)
    with pytest.raises(NerfkitError, match=r"transforms\.json: broken json: its lists and objects are nested too deep"):
        read_posed_photos(tmp_path)
    with pytest.raises(NerfkitError, match=r"transforms\.json: this is not JSON that can be read: its lists"):
        read_camera_path(tmp_path / "transforms.json")


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 400, "1e200"])
def test_numbers_beyond_all_measure(tmp_path, number):
    write_transforms(tmp_path, n=4)
    file = tmp_path / "transforms.json"
    for key in ("fl_x", "w"):
        changed = json.loads(file.read_text()) | {key: "NUMBER"}
        (tmp_path / "other.json").write_text(json.dumps(changed).replace('"NUMBER"', number))
        with pytest.raises(NerfkitError, match=r"must be a finite number|broken json"):
            read_posed_photos(tmp_path / "other.json")
    # a place so far away that squares of distances are infinite
    changed = json.loads(file.read_text())
    changed["frames"][0]["transform_matrix"][0][3] = "NUMBER"
    (tmp_path / "other.json").write_text(json.dumps(changed).replace('"NUMBER"', number))
    with pytest.raises(NerfkitError, match=r"broken json|beyond 1e\+15|not a number"):
        read_posed_photos(tmp_path / "other.json")


def test_counts_that_a_model_of_colmap_cannot_hold(tmp_path):
    model = tmp_path / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ3d", 1, 1, 0, 8, 6, 10, 4, 3))
    for payload in (
        struct.pack("<Q", 2**60),
        struct.pack("<Qi7diB", 1, 1, *[0.0] * 7, 1, 0) + struct.pack("<Q", 2**61),
    ):
        (model / "images.bin").write_bytes(payload)
        with pytest.raises(NerfkitError, match=r"images\.bin: is cut off"):
            read_posed_photos(tmp_path)


@pytest.mark.parametrize("size", ["99999999999 6", f"{'9' * 400} 6", "² 6"])
def test_a_camera_of_colmap_that_no_photo_has(tmp_path, size):
    model = tmp_path / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(f"1 SIMPLE_PINHOLE {size} 10 4 3\n")
    (model / "images.txt").write_text("".join(f"{i} 1 0 0 0 {i} 0 0 1 {i}.png\n\n" for i in range(3)))
    for i in range(3):
        save_photo(tmp_path / f"images/{i}.png")
    with pytest.raises(NerfkitError, match=r"a camera's sides are 1048576 pixels at most|expected 'CAMERA_ID"):
        read_posed_photos(tmp_path)


# Python reads no number of more than 4300 digits
@pytest.mark.parametrize("number", ["²", "9" * 5000])
def test_a_number_of_colmap_that_is_none(tmp_path, number):
    model = tmp_path / "sparse" / "²"
    model.mkdir(parents=True)
    (tmp_path / "sparse" / "cameras.txt").write_text(f"{number} SIMPLE_PINHOLE 8 6 10 4 3\n")
    (tmp_path / "sparse" / "images.txt").write_text("1 1 0 0 0 0 0 0 1 0.png\n\n")
    with pytest.raises(NerfkitError, match=f"CAMERA_ID must be a whole number; got '{number[:60]}'"):
        read_posed_photos(tmp_path)


def test_xml_declares_no_entities():
    with pytest.raises(ValueError, match="declares a document type"):
        parse_xml(b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><a>&b;</a>")
    assert parse_xml("<a><b/></a>")[0].tag == "b"


# --- scanners and surfaces ---


def test_a_nifti_is_refused_by_its_head(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header.set_data_dtype(np.uint8)
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(8))
    with pytest.raises(NerfkitError, match=r"declares the shape \(30000, 30000, 30000\); 1 to 1,073,741,824 voxels"):
        read_volume(tmp_path / "a.nii")


def test_a_series_of_dicom_is_refused_by_its_heads(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra nerfkit[medical]")
    from dicom_files import write_series

    write_series(tmp_path / "s", np.zeros((3, 4, 5)), [0.0, 3.0, 6.0], Rows=65_535, Columns=65_535)
    with pytest.raises(NerfkitError, match="3 slices of 65535x65535 are 12,884,508,675 voxels; at most 1,073,741,824"):
        read_volume(tmp_path / "s")


def test_a_stack_of_tiff_is_refused_by_its_head(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 8), np.uint8), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as stored:
        for page in stored.pages:
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                page.tags[name].overwrite(60_000)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(NerfkitError, match=r"a\.tif"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["link", "storage", "virtual", "huge"])
def test_values_of_hdf5_lie_in_the_file_itself(tmp_path, kind):
    h5py = pytest.importorskip("h5py", reason="needs the extra nerfkit[medical]")
    (tmp_path / "secret").write_bytes(bytes(8 * 32))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.zeros((4, 1, 8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "link":
            file["exchange/data"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "data")
        elif kind == "storage":
            file.create_dataset("exchange/data", (4, 1, 8), "f8", external=[(str(tmp_path / "secret"), 0, 256)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 1, 8), "f8")
            layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (4, 1, 8))
            file.create_virtual_dataset("exchange/data", layout)
        else:
            file.create_dataset("exchange/data", (10**6, 10**6, 8), "f8", chunks=(1, 1, 8))
        file["exchange/data_white"] = np.full((1, 1, 8), 1000.0)
    said = {"link": "is a link into another file", "huge": "data declares 64,000,000,000,000 bytes"}
    with pytest.raises(NerfkitError, match=said.get(kind, "the values of data lie in another file")):
        read_scan(tmp_path / "a.h5")


def test_a_whole_group_of_hdf5_in_another_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the extra nerfkit[medical]")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("exchange", "dataset"):
            file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
    for read in (read_scan, read_kspace):
        with pytest.raises(NerfkitError, match="is a link into another file, which is not read"):
            read(tmp_path / "a.h5")


@pytest.mark.parametrize("uri", ["../outside.bin", "sub/inside.bin", "/outside.bin", "key"])
def test_a_mesh_names_no_file_but_a_buffer_beside_it(tmp_path, uri):
    trimesh = pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")
    folder = tmp_path / "mesh"
    folder.mkdir()
    exported = trimesh.creation.icosphere(subdivisions=2).export(file_type="gltf")
    for name, payload in exported.items():
        (folder / name).write_bytes(payload)
    scene = json.loads(exported["model.gltf"])
    assert read_surface(folder / "model.gltf")
    buffer = next(name for name in exported if name.endswith(".bin"))
    for target in (tmp_path / "outside.bin", folder / "key", folder / "sub" / "inside.bin"):
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(exported[buffer])
    for one in scene["buffers"]:
        one["uri"] = uri
    (folder / "model.gltf").write_text(json.dumps(scene))
    with pytest.raises(NerfkitError, match=r"is no buffer beside model\.gltf, and is not read"):
        read_surface(folder / "model.gltf")
