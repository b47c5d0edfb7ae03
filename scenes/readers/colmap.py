"""COLMAP's sparse models, binary and text, beside their photos (https://colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from .posed import Frame, PosedPhotos, pose_photos, read_each

__all__ = ["Bytes", "image_names", "lines_of", "read_colmap", "suffix_of"]

# folders that may hold a model, or numbered models; the first that does is read
MODEL_FOLDERS = ("sparse", "colmap/sparse", "sparse_txt", "colmap/sparse_txt", ".")
# name -> (number in cameras.bin, lens, what its parameters are: fields of Camera, a letter and a digit for one of
# several); COLMAP, src/colmap/sensor/models.h
MODELS: dict[str, tuple[int, Literal["perspective", "fisheye", "fov"], str]] = {
    "SIMPLE_PINHOLE": (0, "perspective", "f cx cy"),
    "PINHOLE": (1, "perspective", "fx fy cx cy"),
    "SIMPLE_RADIAL": (2, "perspective", "f cx cy k1"),
    "RADIAL": (3, "perspective", "f cx cy k1 k2"),
    "OPENCV": (4, "perspective", "fx fy cx cy k1 k2 p1 p2"),
    "OPENCV_FISHEYE": (5, "fisheye", "fx fy cx cy k1 k2 k3 k4"),
    "FULL_OPENCV": (6, "perspective", "fx fy cx cy k1 k2 p1 p2 k3 q1 q2 q3"),
    "FOV": (7, "fov", "fx fy cx cy omega"),
    "SIMPLE_RADIAL_FISHEYE": (8, "fisheye", "f cx cy k1"),
    "RADIAL_FISHEYE": (9, "fisheye", "f cx cy k1 k2"),
    # its thin prisms are s1 and s3 of OpenCV's four
    "THIN_PRISM_FISHEYE": (10, "fisheye", "fx fy cx cy k1 k2 p1 p2 k3 k4 s1 s3"),
}
# number -> (name, parameters), so that the message can name them and the cameras after them can be read
UNSUPPORTED = {11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16)}
# parameters of any model that there may be one day, and id, model, width and height of a camera in cameras.bin
MAX_PARAMS, CAMERA_HEAD = 64, struct.Struct("<iiQQ")
# digits of a number of 64 bits; Python refuses to read thousands of them
MAX_DIGITS = 19
# w2c with +Y down and +Z forward (OpenCV) to OpenGL: the camera's second and third axes change sign
FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass
class _Image:
    name: str
    camera_id: int
    quaternion: tuple[float, ...]  # w x y z
    translation: tuple[float, ...]
    image_id: int


@dataclass
class _Model:
    folder: Path
    cameras: dict[int, Camera | NerfkitError]  # what is wrong with one matters where an image uses it
    images: list[_Image]
    errors: list[NerfkitError]  # of lines that are no image
    # of cameras whose place in the file nobody knows
    unplaced: NerfkitError | None = None


def read_colmap(path: Path, skip_bad: bool, findings: Findings) -> PosedPhotos | None:
    """Read a COLMAP model and its photos in ``images``; None where there is no model.

    Notes
    -----
    Of several models (``sparse/0``, ``sparse/1``) the one with most images is read. Photos are sorted by name; where
    there is no ``images``, they are looked for by their names. Poses are for the pixels as stored: COLMAP ignores EXIF
    orientation (colmap#1456), so it is applied only where the model's size says so. ``rigs`` and
    ``frames`` of COLMAP 3.12 and later are not needed: each image holds the pose that they make. Points are read by
    :func:`nerfkit.scenes.readers.colmap_points.read_seen_points`.
    """
    if path.is_file():
        return None
    folders = _model_folders(path)
    if not folders:
        return None
    models = _read_models(folders, skip_bad, findings)
    model = max(models, key=lambda m: len(m.images))
    if len(models) > 1:
        counts = ", ".join(f"{m.folder.relative_to(path)} ({len(m.images)} images)" for m in models)
        findings.add("warning", f"{len(models)} models: {counts}; reading {model.folder.relative_to(path)}", where=path)
    for error in model.errors:
        if not skip_bad:
            raise error
        findings.add_error(error)
    if not model.images:
        raise NerfkitError("the model has no images", where=model.folder, fix="reconstruct it again")
    images = sorted(model.images, key=lambda image: image.name)
    frames = [_frame(image, model) for image in images]
    hints = {"model": str(model.folder)}
    return pose_photos(frames, path, "colmap", skip_bad=skip_bad, findings=findings, exif_by_default=False, hints=hints)


def _model_folders(path: Path) -> list[Path]:
    for name in MODEL_FOLDERS:
        parent = path / name
        if not parent.is_dir():
            continue
        numbered = sorted((p for p in parent.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
        folders = [p for p in (*numbered, parent) if suffix_of(p)]
        if folders:
            return folders
    return []


def suffix_of(folder: Path) -> str | None:
    """The kind of model in a folder, binary before text; None where there is none."""
    kinds = (s for s in (".bin", ".txt") if all((folder / f"{n}{s}").is_file() for n in ("cameras", "images")))
    return next(kinds, None)


def _read_models(folders: list[Path], skip_bad: bool, findings: Findings) -> list[_Model]:
    """The models that can be read; with ``skip_bad`` a damaged one beside others is only named."""
    return read_each(folders, _read_model, skip_bad, findings)


def _read_model(folder: Path) -> _Model:
    if suffix_of(folder) == ".txt":
        cameras = _cameras_txt(folder / "cameras.txt")
        return _Model(folder, cameras, *_images_txt(folder / "images.txt"))
    cameras, unplaced = _cameras_bin(folder / "cameras.bin")
    return _Model(folder, cameras, _images_bin(folder / "images.bin"), [], unplaced)


def _frame(image: _Image, model: _Model) -> Frame:
    where = f"{model.folder}: image {image.name!r}"
    missing = NerfkitError(
        f"its camera {image.camera_id} is not in the model", where=where, fix="export the model again"
    )
    found = model.cameras.get(image.camera_id, model.unplaced or missing)

    def camera(width: int, height: int) -> Camera:
        # raised here, where a frame can be left out
        if isinstance(found, NerfkitError):
            raise found
        return found

    return Frame(
        file=f"images/{image.name}",
        where=where,
        matrix=_c2w(image),
        camera=camera,
        size=None if isinstance(found, NerfkitError) else (found.width, found.height),
    )


def _c2w(image: _Image) -> np.ndarray:
    # imported here: what reads photos of another format starts without it
    from scipy.spatial.transform import Rotation

    c2w = np.eye(4)
    try:
        back = Rotation.from_quat(np.roll(image.quaternion, -1)).inv()  # scipy has w last
    except ValueError:  # four zeros: the check of the matrix names it
        return np.full((4, 4), np.nan)
    c2w[:3, :3], c2w[:3, 3] = back.as_matrix(), -back.apply(image.translation)
    return c2w @ FLIP_YZ


def _camera(model: str, width: int, height: int, params: list[float], where: str) -> Camera | NerfkitError:
    """A camera, or what is wrong with it."""
    if model not in MODELS:
        return NerfkitError(
            f"camera model {model} is not supported; supported are {', '.join(MODELS)}",
            where=where,
            fix="undistort the photos with `colmap image_undistorter` and read its result, or leave those of this "
            "camera out (--skip-bad)",
        )
    _, lens, names = MODELS[model]
    if len(params) != len(names.split()):
        return NerfkitError(f"{model} takes {len(names.split())} parameters ({names}); got {len(params)}", where=where)
    value = dict(zip(names.split(), params, strict=True))
    # an FOV lens of no angle is none
    if model == "FOV" and value["omega"] == 0:
        lens = "perspective"

    def several(letter: str, count: int) -> tuple[Any, ...]:
        return tuple(value.get(f"{letter}{i}", 0.0) for i in range(1, count + 1))

    try:
        return Camera(
            width, height, value.get("fx", value.get("f", 0.0)), value.get("fy", value.get("f", 0.0)), value["cx"],
            value["cy"], lens, several("k", 4), several("p", 2), several("q", 3), several("s", 4),
            value.get("omega", 0.0),
        )  # fmt: skip
    except ValueError as error:
        return NerfkitError(str(error), where=where, fix="export the model again")


def image_names(model: Path) -> dict[int, str]:
    """Names of the images of a model by their number."""
    images = _images_txt(model / "images.txt")[0] if suffix_of(model) == ".txt" else _images_bin(model / "images.bin")
    return {image.image_id: image.name for image in images}


class Bytes:
    """Reads little-endian structures from a file, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        """The next values, as :mod:`struct` names their kinds."""
        layout = "<" + layout
        try:
            values = struct.unpack_from(layout, self.data, self.at)
        except struct.error:
            raise self._cut() from None
        self.at += struct.calcsize(layout)
        return values

    def text(self) -> str:
        """The text up to the next zero."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self._cut()
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("utf-8", errors="surrogateescape")

    def skip(self, n_bytes: int) -> None:
        """Leave bytes out."""
        if self.at + n_bytes > len(self.data):
            raise self._cut()
        self.at += n_bytes

    def _cut(self) -> NerfkitError:
        return NerfkitError(f"is cut off at byte {len(self.data)}", where=self.path, fix="copy or export it again")


def _cameras_bin(path: Path) -> tuple[dict[int, Camera | NerfkitError], NerfkitError | None]:
    """Cameras by their id, and what is wrong with those that follow one of unknown length."""
    names = UNSUPPORTED | {number: (name, len(params.split())) for name, (number, _, params) in MODELS.items()}
    lengths = {number: n_params for number, (_, n_params) in names.items()}
    data, cameras = Bytes(path), {}
    n_cameras = data.take("Q")[0]
    for index in range(n_cameras):
        camera_id, number, width, height = data.take("iiQQ")
        n_params = lengths.get(number)
        if n_params is None:
            n_params = _n_params_of_unknown(data, n_cameras - index - 1, number, lengths)
        name, where = names.get(number, (f"number {number}", 0))[0], f"{path}: camera {camera_id}"
        if n_params is None:
            cameras[camera_id] = _camera(name, width, height, [], where)
            what = (
                f"cameras after this one cannot be read: how long its model, number {number}, is in the file is unknown"
            )
            fix = "export the model as text, where each camera has a line: `colmap model_converter --output_type TXT`"
            return cameras, NerfkitError(what, where=where, fix=fix)
        cameras[camera_id] = _camera(name, width, height, list(data.take(f"{n_params}d")), where)
    return cameras, None


def _n_params_of_unknown(data: Bytes, n_after: int, number: int, lengths: dict[int, int]) -> int | None:
    """Parameters of a model nobody here knows: the one count by which the cameras after it end where the file ends."""
    fitting = (n for n in range(MAX_PARAMS + 1) if _ends_with_file(data, n, n_after, lengths | {number: n}))
    first = next(fitting, None)
    return first if next(fitting, None) is None else None


def _ends_with_file(data: Bytes, n_params: int, n_after: int, lengths: dict[int, int]) -> bool:
    at = data.at + 8 * n_params
    for _ in range(n_after):
        if at + CAMERA_HEAD.size > len(data.data):
            return False
        number = CAMERA_HEAD.unpack_from(data.data, at)[1]
        if number not in lengths:
            return False
        at += CAMERA_HEAD.size + 8 * lengths[number]
    return at == len(data.data)


def _images_bin(path: Path) -> list[_Image]:
    data, images = Bytes(path), []
    for _ in range(data.take("Q")[0]):
        image_id, *pose, camera_id = data.take("i7di")
        name = data.text()
        data.skip(24 * data.take("Q")[0])  # points: x, y as double, id as int64
        images.append(_Image(name, camera_id, tuple(pose[:4]), tuple(pose[4:]), image_id))
    return images


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text model with their numbers, comments left out; names that are no UTF-8 as the system gives them."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), start=1):
        if not line.startswith("#"):
            yield number, line.strip()


def _cameras_txt(path: Path) -> dict[int, Camera | NerfkitError]:
    cameras: dict[int, Camera | NerfkitError] = {}
    for number, line in lines_of(path):
        if not line:
            continue
        where = f"{path}: line {number}"
        key, *parts = line.split()
        try:
            model, width, height, *params = parts
            size, values = (int(width), int(height)), [float(v) for v in params]
            camera = _camera(model, *size, values, where)
        except ValueError:
            camera = NerfkitError(
                f"expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS'; got {line[:60]!r}",
                where=where,
                fix="export the model again",
            )
        if not key.isdecimal() or len(key) > MAX_DIGITS:  # no image can name it
            raise (
                camera
                if isinstance(camera, NerfkitError)
                else NerfkitError(
                    f"CAMERA_ID must be a whole number; got {key[:60]!r}", where=where, fix="export the model again"
                )
            )
        cameras[int(key)] = camera
    return cameras


def _images_txt(path: Path) -> tuple[list[_Image], list[NerfkitError]]:
    """Images, and what is wrong with lines that are none.

    Each image has a second line, its points, which may be empty; people who write poses of their own leave it out.
    """
    images, errors, is_image = [], [], True
    for number, line in lines_of(path):
        if not is_image and _is_points(line):
            is_image = True
            continue
        if not line:
            continue
        is_image = False
        try:
            image_id, qw, qx, qy, qz, tx, ty, tz, camera_id, name = line.split(maxsplit=9)
            quaternion, position = (float(qw), float(qx), float(qy), float(qz)), (float(tx), float(ty), float(tz))
            images.append(_Image(name, int(camera_id), quaternion, position, int(image_id)))
        except ValueError:
            expected = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            errors.append(
                NerfkitError(
                    f"expected '{expected}'; got {line[:60]!r}",
                    where=f"{path}: line {number}",
                    fix="export the model again",
                )
            )
    return images, errors


def _is_points(line: str) -> bool:
    """Whether a line is one of points, X Y POINT3D_ID each: empty, or numbers by threes, where an image has a name."""
    words = line.split()
    try:
        return len(words) % 3 == 0 and all(float(word) is not None for word in words)
    except ValueError:
        return False
