"""The readers that ``fuzz.py`` gives changed files to: what a good file is, how it is read, what wraps its bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import load_photos, read_posed_photos
from nerfkit.scenes.readers.posed import PosedPhotos

__all__ = ["PARSERS", "Parser"]

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
# photos of a small scene, and the seed of what is random in the files
N_PHOTOS, SIZE, SEED = 4, (8, 6), 7


def _same(payload: bytes) -> bytes:
    return payload


@dataclass(frozen=True)
class Parser:
    """A reader under test.

    Parameters
    ----------
    name : str
    make : callable
        Writes good files into a folder, and names those that are changed.
    read : callable
        Reads the folder with the reader, all of what a command would read of it.
    unpack, pack : callable
        To the bytes that are changed and back, so that checksums and compression do not hide what is within.
    words : tuple of bytes
        Of the format, which a change may insert.
    needs : str
        Package of an extra, without which the parser is left out.
    """

    name: str
    make: Callable[[Path], list[str]]
    read: Callable[[Path], object]
    unpack: Callable[[bytes], bytes] = _same
    pack: Callable[[bytes], bytes] = _same
    words: tuple[bytes, ...] = ()
    needs: str = ""


# --- posed photos ---


def _poses() -> NDArray[np.float64]:
    """Cameras [n, 4, 4] on a circle, which look inwards."""
    c2w = np.tile(np.eye(4), (N_PHOTOS, 1, 1))
    for matrix, angle in zip(c2w, 0.7 * np.arange(N_PHOTOS), strict=True):
        back = np.array([np.cos(angle), np.sin(angle), 0.0])
        matrix[:3, :3] = np.stack([np.cross([0, 0, 1], back), [0, 0, 1], back], axis=-1)
        matrix[:3, 3] = 3 * back
    return c2w


def _picture(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(SEED).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def _posed(folder: Path) -> PosedPhotos:
    """Photos below ``folder``/source."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    for index in range(N_PHOTOS):
        _picture().save(source / f"{index}.png")
    camera = Camera(*SIZE, 10.0, 10.0, SIZE[0] / 2, SIZE[1] / 2)
    splits = {"train": [1, 2, 3], "val": [], "test": [0]}
    files = [f"{index}.png" for index in range(N_PHOTOS)]
    return PosedPhotos("scene", source, "transforms", files, [camera] * N_PHOTOS, _poses(), splits)


def _dataset(to: str, *files: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        from nerfkit.scenes.writers import write_posed_photos

        write_posed_photos(_posed(folder), folder / "data", to, findings=Findings())
        return [f"data/{file}" for file in files]

    return make


def _make_transforms(folder: Path) -> list[str]:
    """With what nerfstudio and instant-ngp add: masks, depth maps, lists, a lens."""
    _dataset("transforms")(folder)
    file = folder / "data" / "transforms.json"
    content = json.loads(file.read_text())
    content |= {"k1": 0.01, "p1": 0.001, "aabb_scale": 4, "depth_unit_scale_factor": 0.001}
    content["ply_file_path"] = "points.ply"
    for index, frame in enumerate(content["frames"]):
        for kind in ("mask", "depth"):
            path = folder / "data" / f"{kind}s" / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            _picture(mode="L").save(path)
            frame["mask_path" if kind == "mask" else "depth_file_path"] = f"{kind}s/{index}.png"
    file.write_text(json.dumps(content, indent=1))
    return ["data/transforms.json"]


def _read_posed(folder: Path) -> None:
    """Read a dataset with and without leniency, its photos, and what would be written of it."""
    from nerfkit.scenes.readers.colmap_points import read_seen_points
    from nerfkit.scenes.writers import plan_dataset

    strict_error = None
    try:
        photos = read_posed_photos(folder / "data", findings=Findings())
    except Exception as error:
        strict_error = error
        photos = read_posed_photos(folder / "data", skip_bad=True, findings=Findings())
    load_photos(photos, [0], max_side=4, findings=Findings())
    if "model" in photos.hints:
        read_seen_points(Path(photos.hints["model"]))
    plan_dataset(photos, "transforms", Findings())
    if strict_error is not None:
        raise strict_error


def _with_points(text: bool) -> Callable[[Path], list[str]]:
    """A COLMAP model with a few points that photos see."""

    def make(folder: Path) -> list[str]:
        suffix = "txt" if text else "bin"
        _dataset("colmap-text" if text else "colmap")(folder)
        model = folder / "data" / "sparse" / "0"
        if text:
            lines = [f"{n} 0 0 {n} 255 0 0 0.5 1 {n} 2 {n} 3 {n}" for n in range(4)]
            (model / "points3D.txt").write_text("\n".join(lines) + "\n")
        else:
            payload = struct.pack("<Q", 4)
            for n in range(4):
                payload += struct.pack("<Q3d3BdQ6i", n, 0.0, 0.0, n, 255, 0, 0, 0.5, 3, 1, n, 2, n, 3, n)
            (model / "points3D.bin").write_bytes(payload)
        return [f"data/sparse/0/{name}.{suffix}" for name in ("cameras", "images", "points3D")]

    return make


# --- pictures ---


def _saved(name: str, **options: Any) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        _picture((12, 10)).save(folder / name, **options)
        return [name]

    return make


def _deep_tiff(folder: Path) -> list[str]:
    """Two pages of 16-bit colour."""
    import tifffile

    values = np.random.default_rng(SEED).integers(0, 65536, (2, 10, 12, 3), np.uint16)
    tifffile.imwrite(folder / "picture.tif", values, photometric="rgb")
    return ["picture.tif"]


def _deep_png(folder: Path) -> list[str]:
    from nerfkit.picture_files import picture_bytes

    values = np.random.default_rng(SEED).random((10, 12, 3))
    (folder / "picture.png").write_bytes(picture_bytes(values, ".png", 16))
    return ["picture.png"]


def _read_picture(folder: Path) -> None:
    """As a photo, as a picture of a task, as a mask and as frames."""
    from nerfkit.scenes.readers.depth_maps import read_depth_map
    from nerfkit.scenes.readers.frames import read_frames
    from nerfkit.scenes.readers.photos import narrow_range, read_header, read_photo
    from nerfkit.scenes.readers.picture import read_picture

    file = next(path for path in folder.iterdir() if path.stem == "picture")
    _each(
        lambda: read_header(file), lambda: read_photo(file), lambda: narrow_range([file]), lambda: read_picture(file),
        lambda: read_frames(file, findings=Findings()), lambda: read_depth_map(file),
    )  # fmt: skip


def _each(*readers: Callable[[], object]) -> None:
    """Call all of what reads files of a kind; raise what the last one said where every one refuses the file."""
    from nerfkit.scenes.errors import NerfkitError

    refused = []
    for read in readers:
        try:
            read()
        except NerfkitError as error:
            refused.append(error)
    if len(refused) == len(readers):
        raise refused[-1]


def _with_checksums(payload: bytes) -> bytes:
    """A PNG whose chunks have the checksums of their content."""
    out, at = payload[:8], 8
    while at + 12 <= len(payload):
        length = int.from_bytes(payload[at : at + 4], "big")
        if at + 12 + length > len(payload):
            break
        body = payload[at + 4 : at + 8 + length]
        out += payload[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out + payload[at:]


# --- arrays ---


def _npy(values: NDArray) -> bytes:
    payload = io.BytesIO()
    np.save(payload, values, allow_pickle=False)
    return payload.getvalue()


def _array(name: str, shape: tuple[int, ...] = (6, 10, 12), dtype: Any = np.float32) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        values = np.random.default_rng(SEED).random(shape)
        (folder / name).write_bytes(_npy(values.astype(dtype)))
        return [name]

    return make


def _arrays(name: str, make_arrays: Callable[[], dict[str, Any]]) -> Callable[[Path], list[str]]:
    """An npz; its members are what is changed."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(_zipped({key: _npy(np.asarray(value)) for key, value in make_arrays().items()}))
        return [name]

    return make


def _zipped(members: dict[str, bytes]) -> bytes:
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return payload.getvalue()


# what stands between the members of an npz while they are changed
DIVIDER = b"\x93|nerfkit|\x93"


def _unzip(payload: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return DIVIDER.join(name.encode() + b"=" + archive.read(name) for name in archive.namelist())


def _zip(payload: bytes) -> bytes:
    members = (part.partition(b"=") for part in payload.split(DIVIDER))
    names = (
        (name.decode(errors="replace").replace("\0", "").removesuffix(".npy"), value) for name, _, value in members
    )
    return _zipped({name or "x": value for name, value in names})


def _read_array(folder: Path) -> None:
    from nerfkit.scenes.readers.frames import read_frames
    from nerfkit.scenes.readers.picture import read_picture
    from nerfkit.scenes.readers.psf import read_psf
    from nerfkit.scenes.readers.volume import read_volumes

    file = next(path for path in folder.iterdir() if path.stem == "array")
    _each(
        lambda: read_frames(file, findings=Findings()), lambda: read_picture(file), lambda: read_volumes(file),
        *([lambda: read_psf(file)] if file.suffix == ".npy" else []),
    )  # fmt: skip


# --- text ---


def _text(name: str, text: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / name).write_text(text)
        return [name]

    return make


def _make_shifts(folder: Path) -> list[str]:
    from nerfkit.scenes.readers.shifts import write_shifts

    (folder / "frames").mkdir(exist_ok=True)
    for index in range(3):
        _picture().save(folder / "frames" / f"{index}.png")
    files = [f"{index}.png" for index in range(3)]
    write_shifts(folder / "shifts.csv", files, [[0, 0], [0.25, -0.5], [0.5, 0.75]])
    matrices = np.tile(np.eye(3), (3, 1, 1)) + 0.01
    write_shifts(folder / "homographies.csv", files, matrices / matrices[:, 2:, 2:], "homography")
    return ["shifts.csv", "homographies.csv"]


def _read_shifts(folder: Path) -> None:
    from nerfkit.report.findings import read_registered
    from nerfkit.scenes.readers.frames import read_frames
    from nerfkit.scenes.readers.shifts import read_shifts

    frames = read_frames(folder / "frames", findings=Findings())
    for name in ("shifts.csv", "homographies.csv"):
        _ignoring(csv.Error, lambda name=name: read_registered(folder / name))
        read_shifts(folder / name, frames, Findings())


def _ignoring(kind: type[Exception], read: Callable[[], object]) -> None:
    """Of what a report shows a page is left out by whoever writes it."""
    try:
        read()
    except kind:
        return


def _make_camera_path(folder: Path) -> list[str]:
    from nerfkit.scenes.camera_path import PathFrames, write_camera_path

    frames = PathFrames(_poses(), np.full(N_PHOTOS, 50.0), 1.5)
    write_camera_path(folder / "path.json", frames, (60, 40), 24.0)
    return ["path.json"]


def _read_camera_path(folder: Path) -> None:
    from nerfkit.scenes.camera_path import read_camera_path

    read_camera_path(folder / "path.json")


def _read_psf(folder: Path) -> None:
    from nerfkit.scenes.readers.psf import read_psf

    read_psf(folder / "psf.txt")


# --- runs ---


def _make_config(folder: Path) -> list[str]:
    """Settings of each kind, not all of a preset: YAML is what takes the time."""
    from nerfkit.config import dump, to_dict
    from nerfkit.presets import PRESETS

    settings = to_dict(PRESETS["hash"])
    kept = {name: settings[name] for name in ("field", "steps", "seconds", "alpha", "box", "refine_poses")}
    (folder / "config.yml").write_bytes(dump({"task": "train"} | kept))
    return ["config.yml"]


def _read_config(folder: Path) -> None:
    from nerfkit.config import assigned
    from nerfkit.tasks import get_task

    get_task("train").configure(file=folder / "config.yml")
    text = (folder / "config.yml").read_text(errors="replace")
    assigned([f"a={line}" for line in text.splitlines()[:20]])


def _make_run(folder: Path) -> list[str]:
    """A training's run folder without its weights."""
    from nerfkit.presets import PRESETS
    from nerfkit.runs import Run
    from nerfkit.scenes.backgrounds import Background
    from nerfkit.scenes.bounds import unbounded_scene

    run = Run(folder / "run")
    run.folder.mkdir(exist_ok=True)
    run.write_config(PRESETS["hash"], data=folder / "photos", device="cpu", skip_bad=False)
    run.write_scene(unbounded_scene(_poses()), Background("white", (1.0, 1.0, 1.0)), 2.0)
    run.write_json("metrics.json", {"train": {"steps": 3, "seconds": 1.0, "psnr": 20.0}})
    run.write_json("eval_test.json", {"results": {"psnr": 20.0}, "images": [{"file": "a.png", "psnr": 20.0}]})
    return ["run/config.yml", "run/scene.json", "run/metrics.json", "run/eval_test.json"]


def _read_run(folder: Path) -> None:
    from nerfkit.runs import Run

    run = Run(folder / "run")
    run.read_config()
    run.read_scene()
    run.read_figures()


def _make_checkpoint(folder: Path) -> list[str]:
    import torch

    from nerfkit.checkpoints import CheckpointFolder

    state = {"kind": "x", "weights": torch.linspace(0, 1, 9), "optimizer": {0: {"exp_avg": torch.ones(2, 3)}}}
    CheckpointFolder(folder / "checkpoints").save(1, state)
    return ["checkpoints/step_00000001.json", "checkpoints/step_00000001.safetensors"]


def _read_checkpoint(folder: Path) -> None:
    """As it is, and with the size and the checksum that its bytes have."""
    from nerfkit.checkpoints import CheckpointFolder

    head, tensors = (folder / "checkpoints" / f"step_00000001.{suffix}" for suffix in ("json", "safetensors"))
    payload = tensors.read_bytes()
    try:
        content = json.loads(head.read_bytes())
        content |= {"bytes": len(payload), "crc32": zlib.crc32(payload)}
        head.write_text(json.dumps(content))
    except (ValueError, TypeError, RecursionError):
        # what no JSON is stays as it was changed
        pass
    CheckpointFolder(folder / "checkpoints").load_newest()


def _make_field(folder: Path) -> list[str]:
    """A run of `nerfkit fit image`: its recipe and its weights."""
    from nerfkit.runs import Run
    from nerfkit.tasks import get_task
    from nerfkit.workbench.held_fields import make_held_field

    run = Run(folder / "run")
    run.folder.mkdir(exist_ok=True)
    config = get_task("image").configure()
    given = {"more": [], "truth": None, "output": folder / "run.png", "example": None}
    run.write_config(config, data=folder / "picture.png", device="cpu", **given)
    held = make_held_field("siren", (8, 6), [[0.0, 1.0]], 200, seed=SEED)
    held.recipe["file"] = {"bit_depth": 8, "span": [0.0, 1.0], "n_channels": 1}
    held.save(run)
    return ["run/field/step_00000001.json"]


def _read_field(folder: Path) -> None:
    from nerfkit.tasks import load_run

    load_run(folder / "run", device="cpu").held  # noqa: B018  the weights are read when they are first asked for


def _make_start(folder: Path) -> list[str]:
    from nerfkit.workbench.many.learned import Learned, make_start, write_start
    from nerfkit.workbench.many.networks import Shape

    shape = Shape(1, 8, 2, 30.0)
    whole, part = (make_start("meta", shape, 0, SEED) for _ in range(2))
    write_start(folder, Learned(whole, part, 1e-3, (8, 6), (0.0, 1.0)))
    return ["start.json", "start.safetensors"]


def _read_start(folder: Path) -> None:
    from nerfkit.workbench.many.learned import read_start

    read_start(folder / "start.safetensors")


def _make_nkc(folder: Path) -> list[str]:
    (folder / "picture.nkc").write_bytes((CORPUS / "tiny.nkc").read_bytes())
    return ["picture.nkc"]


def _read_nkc(folder: Path) -> None:
    import nerfkit

    nerfkit.load(folder / "picture.nkc").pixels  # noqa: B018  decoded when they are first asked for


def _nkc_checksum(payload: bytes) -> bytes:
    if len(payload) < 12:
        return payload
    checked = struct.pack(">I", len(payload) - 19) + payload[12:] if len(payload) > 19 else payload[8:]
    return payload[:4] + struct.pack(">I", zlib.crc32(checked)) + checked


# --- scanners ---


def _volume() -> NDArray[np.float32]:
    return np.random.default_rng(SEED).random((4, 6, 5)).astype(np.float32)


def _make_nifti(name: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        import nibabel

        nibabel.Nifti1Image(_volume(), np.diag([2.0, 1.0, 3.0, 1.0])).to_filename(folder / name)  # pyright: ignore[reportPrivateImportUsage]
        return [name]

    return make


def _read_volume(folder: Path) -> None:
    from nerfkit.scenes.readers.volume import read_volumes

    read_volumes(next(path for path in folder.iterdir() if path.stem.startswith("volume")))


def _make_dicom(folder: Path) -> list[str]:
    """A series of three axial slices."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    (folder / "volume").mkdir(exist_ok=True)
    for index in range(3):
        found = Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.SOPClassUID, found.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid(entropy_srcs=[str(index)])
        found.file_meta.MediaStorageSOPClassUID = UID(found.SOPClassUID)
        found.file_meta.MediaStorageSOPInstanceUID = UID(found.SOPInstanceUID)
        found.SeriesInstanceUID, found.SeriesNumber, found.InstanceNumber = "1.2.3", 1, index
        found.Rows, found.Columns, found.SamplesPerPixel = 6, 5, 1
        found.PhotometricInterpretation, found.PixelRepresentation = "MONOCHROME2", 0
        found.BitsAllocated = found.BitsStored = 16
        found.HighBit = 15
        found.ImagePositionPatient, found.ImageOrientationPatient = [0.0, 0.0, 3.0 * index], [1, 0, 0, 0, 1, 0]
        found.PixelSpacing, found.SliceThickness = [2.0, 0.5], 3.0
        found.PixelData = np.arange(30, dtype="<u2").tobytes()
        found.save_as(folder / "volume" / f"{index}.dcm", enforce_file_format=True)
    return [f"volume/{index}.dcm" for index in range(3)]


def _make_stack(folder: Path) -> list[str]:
    """A TIFF stack as ImageJ writes it."""
    import tifffile

    metadata = {"spacing": 3.0, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(folder / "volume.tif", _volume(), imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    return ["volume.tif"]


def _make_ome(folder: Path) -> list[str]:
    import tifffile

    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(folder / "volume.ome.tif", _volume(), ome=True, metadata=metadata)
    (folder / "volume.ome.tif").rename(folder / "volume.tif")
    return ["volume.tif"]


def _volume_arrays() -> dict[str, Any]:
    return {"volume": _volume(), "spacing": np.array([2.0, 1.0, 3.0]), "thickness": np.array(3.0)}


def _scan_arrays() -> dict[str, Any]:
    values = np.random.default_rng(SEED).random((12, 20))
    return {"sinogram": values, "angles": 15.0 * np.arange(12), "geometry": np.array("parallel"), "center": 9.5}


def _make_scan_h5(folder: Path) -> list[str]:
    import h5py

    with h5py.File(folder / "scan.h5", "w", libver="latest") as file:
        file["exchange/data"] = np.random.default_rng(SEED).random((4, 1, 8))
        file["exchange/data_white"], file["exchange/data_dark"] = np.full((1, 1, 8), 1000.0), np.zeros((1, 1, 8))
        file["exchange/theta"] = np.arange(4.0)
    return ["scan.h5"]


def _read_scan(folder: Path) -> None:
    from nerfkit.scenes.readers.sinogram import read_scan

    read_scan(next(path for path in folder.iterdir() if path.stem == "scan"))


def _kspace_arrays() -> dict[str, Any]:
    generator = np.random.default_rng(SEED)
    values = generator.normal(size=(2, 16, 16)) + 1j * generator.normal(size=(2, 16, 16))
    values[:, 8, 8] = 100
    return {"kspace": values.astype(np.complex64), "mask": np.ones((16, 16), np.uint8)}


def _sample_arrays() -> dict[str, Any]:
    generator = np.random.default_rng(SEED)
    values = generator.normal(size=(2, 40)) + 1j * generator.normal(size=(2, 40))
    trajectory = generator.uniform(-0.5, 0.5, (40, 2))
    return {"samples": values.astype(np.complex64), "trajectory": trajectory, "size": np.array([16, 16])}


def _make_ismrmrd(folder: Path) -> list[str]:
    import h5py

    counters = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")
    fields = [("flags", "<u8"), ("active_channels", "<u2"), ("center_sample", "<u2"), ("trajectory_dimensions", "<u2")]
    head = [*fields, ("idx", [(name, "<u2") for name in counters])]
    table = np.zeros(16, [("head", head), ("data", h5py.vlen_dtype(np.float32))])
    for row in range(16):
        table["head"]["active_channels"][row], table["head"]["center_sample"][row] = 1, 8
        table["head"]["idx"]["kspace_encode_step_1"][row] = row
        values = np.zeros(32, np.float32)
        values[16] = 100.0 if row == 8 else 1.0
        table["data"][row] = values
    sizes = "<matrixSize><x>16</x><y>16</y><z>1</z></matrixSize>"
    text = (
        f"<ismrmrdHeader><encoding><encodedSpace>{sizes}</encodedSpace><reconSpace>{sizes}</reconSpace></encoding>"
        "</ismrmrdHeader>"
    )
    with h5py.File(folder / "kspace.h5", "w") as file:
        file["dataset/data"] = table
        file.create_dataset("dataset/xml", data=[text], dtype=h5py.string_dtype())
    return ["kspace.h5"]


def _forked(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Read with little patience, and HDF5 by a fork of this process, which has loaded the libraries."""

    def read_forked(folder: Path) -> None:
        from nerfkit.scenes.readers import _hdf5

        start, patience = _hdf5.start, _hdf5.PATIENCE
        _hdf5.start, _hdf5.PATIENCE = _fork, 1.0
        try:
            read(folder)
        finally:
            _hdf5.start, _hdf5.PATIENCE = start, patience

    return read_forked


def _fork(words: list[str]) -> Any:
    """What ``_hdf5.start`` gives, by a fork."""
    from nerfkit.scenes.readers import _hdf5_process

    kind, path, max_bytes, seconds = words
    ours, its = os.pipe()
    number = os.fork()
    if number == 0:
        try:
            os.close(ours)
            # the limits of whoever forked it are not inherited
            signal.alarm(int(float(seconds)) + 1)
            with os.fdopen(its, "wb") as out:
                _hdf5_process.answer(kind, path, int(max_bytes), out)
        finally:
            os._exit(0)
    os.close(its)
    return SimpleNamespace(
        stdout=os.fdopen(ours, "rb"), kill=lambda: os.kill(number, signal.SIGKILL),
        wait=lambda: os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]),
    )  # fmt: skip


def _read_kspace(folder: Path) -> None:
    from nerfkit.scenes.readers.kspace import read_kspace

    read_kspace(next(path for path in folder.iterdir() if path.stem == "kspace"))


# --- surfaces and videos ---


def _make_surface(suffix: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        import trimesh

        mesh = trimesh.creation.icosphere(subdivisions=1)
        payload: Any = mesh.export(file_type=suffix)
        (folder / f"surface.{suffix}").write_bytes(payload.encode() if isinstance(payload, str) else payload)
        return [f"surface.{suffix}"]

    return make


def _make_points(folder: Path) -> list[str]:
    points = np.random.default_rng(SEED).normal(size=(70, 6)).round(3)
    (folder / "surface.xyz").write_text("\n".join(" ".join(map(str, row)) for row in points.tolist()))
    return ["surface.xyz"]


def _read_surface(folder: Path) -> None:
    from nerfkit.scenes.readers.surface import read_surface

    read_surface(next(path for path in folder.iterdir() if path.stem == "surface"))


def _make_video(name: str, codec: str, layout: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        import av

        values = np.random.default_rng(SEED).integers(0, 256, (4, 16, 16, 3), np.uint8)
        with av.open(str(folder / name), "w") as container:
            stream: Any = container.add_stream(codec, rate=5)
            stream.width = stream.height = 16
            stream.pix_fmt = layout
            for frame in values:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
        return [name]

    return make


def _read_video(folder: Path) -> None:
    from nerfkit.scenes.readers.video import StreamedVideo, read_video

    file = next(path for path in folder.iterdir() if path.stem == "video")
    _each(lambda: read_video(file, findings=Findings()), lambda: list(StreamedVideo(file)))


_PNG_WORDS = (b"IHDR", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"tRNS", b"pHYs", b"gAMA", b"cICP")
_YAML_WORDS = (b"&a [*a, *a]", b"<<: *a", b"!!binary |", b"2001-99-99", b"? [1]", b"!!set {1}", b"0o8", b"1:99:99")
_PATH_WORDS = (b"../../../../etc/passwd", b"/dev/zero", b"images/" + b"a" * 300, b"images\\0.png")

PARSERS = {
    parser.name: parser
    for parser in (
        Parser("transforms", _make_transforms, _read_posed, words=_PATH_WORDS),
        Parser(
            "blender",
            _dataset("blender", "transforms_train.json", "transforms_test.json"),
            _read_posed,
            words=_PATH_WORDS,
        ),
        Parser("colmap", _with_points(text=False), _read_posed, words=_PATH_WORDS),
        Parser("colmap-text", _with_points(text=True), _read_posed, words=_PATH_WORDS),
        Parser("llff", _dataset("llff", "poses_bounds.npy"), _read_posed),
        Parser("png", _saved("picture.png"), _read_picture, pack=_with_checksums, words=_PNG_WORDS),
        Parser("png-16", _deep_png, _read_picture, pack=_with_checksums, words=_PNG_WORDS),
        Parser("jpeg", _saved("picture.jpg"), _read_picture, words=(b"\xff\xe1", b"Exif\0\0", b"\xff\xc0")),
        Parser("tiff", _saved("picture.tif"), _read_picture),
        Parser("tiff-16", _deep_tiff, _read_picture),
        Parser("webp", _saved("picture.webp", lossless=True), _read_picture, words=(b"ANIM", b"VP8X", b"EXIF")),
        Parser("gif", _saved("picture.gif", save_all=True, append_images=[_picture((12, 10))]), _read_picture),
        Parser("bmp", _saved("picture.bmp"), _read_picture),
        Parser("ppm", _saved("picture.ppm"), _read_picture),
        Parser("npy", _array("array.npy"), _read_array),
        Parser("npy-16", _array("array.npy", (7, 7), np.uint16), _read_array),
        Parser("npz", _arrays("array.npz", lambda: {"frames": np.zeros((6, 10, 12))}), _read_array),
        Parser("npz-members", _arrays("array.npz", _volume_arrays), _read_array, _unzip, _zip),
        Parser("shifts", _make_shifts, _read_shifts, words=_PATH_WORDS),
        Parser("camera-path", _make_camera_path, _read_camera_path),
        Parser("psf", _text("psf.txt", "0 1 0\n1 4 1\n0 1 0\n"), _read_psf),
        Parser("config", _make_config, _read_config, words=_YAML_WORDS),
        Parser("run", _make_run, _read_run, words=_YAML_WORDS),
        Parser("checkpoint", _make_checkpoint, _read_checkpoint, words=(b'{"$tensor": ', b'{"$dict": [')),
        Parser("field", _make_field, _read_field),
        Parser("start", _make_start, _read_start),
        Parser("nkc", _make_nkc, _read_nkc, pack=_nkc_checksum),
        Parser("nifti", _make_nifti("volume.nii"), _read_volume, needs="nibabel"),
        Parser("nifti-gz", _make_nifti("volume.nii.gz"), _read_volume, gzip.decompress, gzip.compress, needs="nibabel"),
        Parser("dicom", _make_dicom, _read_volume, needs="pydicom"),
        Parser("tiff-stack", _make_stack, _read_volume),
        Parser("ome-tiff", _make_ome, _read_volume),
        Parser("scan", _arrays("scan.npz", _scan_arrays), _read_scan, _unzip, _zip),
        Parser("scan-hdf5", _make_scan_h5, _forked(_read_scan), needs="h5py"),
        Parser("kspace", _arrays("kspace.npz", _kspace_arrays), _read_kspace, _unzip, _zip),
        Parser("kspace-samples", _arrays("kspace.npz", _sample_arrays), _read_kspace, _unzip, _zip),
        Parser("ismrmrd", _make_ismrmrd, _forked(_read_kspace), needs="h5py"),
        Parser("ply", _make_surface("ply"), _read_surface, needs="trimesh"),
        Parser(
            "obj", _make_surface("obj"), _read_surface, words=(b"mtllib ../../x.mtl\n", b"usemtl x\n"), needs="trimesh"
        ),
        Parser("stl", _make_surface("stl"), _read_surface, needs="trimesh"),
        Parser("glb", _make_surface("glb"), _read_surface, needs="trimesh"),
        Parser("off", _make_surface("off"), _read_surface, needs="trimesh"),
        Parser("xyz", _make_points, _read_surface),
        Parser("mp4", _make_video("video.mp4", "mpeg4", "yuv420p"), _read_video, words=(b"moov", b"stsz", b"tkhd")),
        Parser("y4m", _make_video("video.y4m", "wrapped_avframe", "yuv420p"), _read_video),
    )
    if not parser.needs or find_spec(parser.needs)
}
