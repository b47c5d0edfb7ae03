"""What a registration reads: two pictures or two volumes, landmarks, a true displacement; what is wrong with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.luminance import LUMINANCE
from nerfkit.scenes.readers.picture import PictureFile, array_names, load_array, read_picture
from nerfkit.scenes.readers.volume import read_vector_field, read_volume
from nerfkit.scenes.readers.volume_arrays import holds_volume
from nerfkit.scenes.volumes import Volume

from .images import Pair, Spatial

__all__ = [
    "Displacement",
    "Landmarks",
    "RegisterData",
    "pixel_places",
    "read_displacement",
    "read_image_alone",
    "read_landmarks",
    "read_pair",
]

# least pixels along a side
MIN_SIDE = {2: 8, 3: 4}
# fraction of a voxel's side by which a displacement's file may be elsewhere than the fixed image
SAME_PLACE = 0.1
AXES = "xyz"


@dataclass(frozen=True)
class Landmarks:
    """Pairs of points [n, n_dims] in index coordinates, x first."""

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]


@dataclass(frozen=True)
class Displacement:
    """A displacement [(d,) h, w, n_dims] (x, y(, z)), pixels of the moving image.

    With the ``affine`` of a file it is of a volume, and in millimetres of RAS+.
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64] | None = None

    def in_pixels(self, pair: Pair) -> NDArray[np.float32]:
        """The displacement in pixels of the moving image.

        Raises
        ------
        NerfkitError
            Its file is elsewhere in space than the fixed image.
        """
        if self.affine is None:
            return self.values
        corners = np.array([[0, 0, 0, 1], [*(np.array(pair.fixed.size) - 1), 1]])
        apart = float(np.linalg.norm(corners @ (self.affine - pair.fixed.affine).T, axis=1).max())
        if apart > SAME_PLACE * float(pair.fixed.spacing.min()):
            raise NerfkitError(
                f"its corners are up to {apart:.3g} mm from those of the fixed image: affine {self.affine.tolist()}, "
                f"the fixed image's {pair.fixed.affine.tolist()}", where="--truth",
                fix="give a displacement of the fixed image's voxels",
            )  # fmt: skip
        index = pixel_places(pair)
        looks = index @ self.affine[:3, :3].T + self.affine[:3, 3] + self.values
        into = np.linalg.inv(pair.moving.affine)
        return (looks @ into[:3, :3].T + into[:3, 3] - index).astype(np.float32)


@dataclass(frozen=True)
class RegisterData:
    """Two images.

    Parameters
    ----------
    fixed, moving : PictureFile or Volume
        As their files have them.
    pair : Pair
        What of them is compared.
    landmarks : Landmarks, optional
        Whose distance is told.
    said : tuple of str
        What was assumed.
    """

    fixed: Any
    moving: Any
    pair: Pair
    landmarks: Landmarks | None = None
    said: tuple[str, ...] = ()

    @property
    def is_volume(self) -> bool:
        """Whether there is a third dimension."""
        return self.pair.fixed.n_dims == 3


def read_pair(paths: Sequence[Path], landmarks: str | None) -> RegisterData:
    """Read both images, or the two that an npz of ``--simulate`` holds."""
    if len(paths) == 1:
        fixed, moving = _measured(paths[0])
        names = [paths[0], paths[0]]
    else:
        fixed, moving = (_read_image(path) for path in paths)
        names = list(paths)
    if isinstance(fixed, Volume) != isinstance(moving, Volume):
        what = ["a volume" if isinstance(image, Volume) else "a picture" for image in (fixed, moving)]
        raise NerfkitError(
            f"is {what[1]}, and {names[0]} is {what[0]}", where=names[1], fix="give two pictures, or two volumes"
        )
    spatial = [_spatial(image, path) for image, path in zip((fixed, moving), names, strict=True)]
    _check_space(spatial, fixed, names)
    images = zip((fixed, moving), names, strict=True)
    said = [f"{path.name}: {text}" for image, path in images if isinstance(image, Volume) for text in image.said]
    colours = [isinstance(image, PictureFile) and image.values.shape[2] >= 3 for image in (fixed, moving)]
    if any(colours):
        said.append("colours are compared by their luminance; what is written has them all")
    pair = Pair(spatial[0], spatial[1])
    found = None if landmarks is None else read_landmarks(Path(landmarks), pair)
    return RegisterData(fixed, moving, pair, found, tuple(said))


def _read_image(path: Path) -> PictureFile | Volume:
    """A picture or a volume, by what the file is."""
    if path.is_dir() or path.suffix.lower() == ".dcm" or (path.is_file() and holds_volume(path)):
        return read_volume(path)
    return read_picture(path)


def pixel_places(pair: Pair) -> NDArray[np.float32]:
    """Index coordinates [(d,) h, w, n_dims] of the fixed image's pixels, x first."""
    grids = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in pair.fixed.values.shape), indexing="ij")
    return np.stack(grids[::-1], -1)


def read_image_alone(path: Path) -> tuple[PictureFile | Volume, Spatial]:
    """An image, and what of it is compared."""
    image = _read_image(path)
    return image, _spatial(image, path)


def _measured(path: Path) -> tuple[Any, Any]:
    """What ``--simulate`` has written."""
    names = array_names(path)
    if not {"fixed", "moving"} <= set(names):
        raise NerfkitError(
            f"is one file, with the arrays {', '.join(names)}" if names else "is one image; two are registered",
            where=path, fix="give FIXED and MOVING, or --simulate warp=10 to make a second one from this",
        )  # fmt: skip
    if "affine" in names:
        affine = load_array(path, "affine")
        return tuple(Volume(load_array(path, name).astype(np.float32), affine) for name in ("fixed", "moving"))  # pyright: ignore[reportReturnType]
    depth = int(load_array(path, "bit_depth")) if "bit_depth" in names else 32
    return tuple(PictureFile(read_picture(path, key=name).values, depth) for name in ("fixed", "moving"))  # pyright: ignore[reportReturnType]


def grey(picture: PictureFile) -> NDArray[np.float32]:
    """Luminance [h, w]; alpha is left out."""
    n = picture.values.shape[2]
    if n in (3, 4):
        return (picture.values[..., :3] @ np.array(LUMINANCE, np.float32)).astype(np.float32)
    return picture.values[..., 0] if n <= 2 else picture.values.mean(-1)


def _spatial(image: PictureFile | Volume, path: Path) -> Spatial:
    """What is compared, once it is known that there is something to compare."""
    values = image.values if isinstance(image, Volume) else grey(image)
    affine = image.affine if isinstance(image, Volume) else np.eye(3)
    if min(values.shape) < MIN_SIDE[values.ndim]:
        raise NerfkitError(
            f"has {'x'.join(map(str, values.shape[::-1]))} pixels; {MIN_SIDE[values.ndim]} a side at least are wanted",
            where=path, fix="give a larger image",
        )  # fmt: skip
    if float(values.max()) == float(values.min()):
        raise NerfkitError(
            f"is {float(values.max()):g} everywhere: nothing in it can be found again", where=path,
            fix="give an image with something on it",
        )  # fmt: skip
    return Spatial(np.ascontiguousarray(values, np.float32), np.asarray(affine, np.float64))


def _check_space(spatial: list[Spatial], fixed: Any, names: Sequence[Path]) -> None:
    """Images of other sizes need a common space, which pictures and bare arrays do not have."""
    has_space = isinstance(fixed, Volume) and not all(str(name).endswith(".npy") for name in names)
    if has_space or spatial[0].size == spatial[1].size:
        return
    sizes = ["x".join(map(str, image.size)) for image in spatial]
    raise NerfkitError(
        f"has {sizes[1]} pixels, {names[0]} {sizes[0]}, and neither says where it is in space", where=names[1],
        fix="scale or crop one to the size of the other, or give volumes as NIfTI with their affines",
    )  # fmt: skip


def read_landmarks(path: Path, pair: Pair) -> Landmarks:
    """Pairs of points from a csv with the columns x_fixed, y_fixed(, z_fixed), x_moving, y_moving(, z_moving).

    Raises
    ------
    NerfkitError
        A column is missing, a value is no number, or a point lies outside its image.
    """
    if not path.is_file():
        raise NerfkitError("there is no such file", where=path, fix="give a csv of landmarks")
    axes = AXES[: pair.fixed.n_dims]
    columns = [f"{axis}_{name}" for name in ("fixed", "moving") for axis in axes]
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or any(name not in rows[0] for name in columns):
        has = ", ".join(map(str, rows[0])) if rows else "no line of numbers"
        raise NerfkitError(f"has {has}; wanted are the columns {', '.join(columns)}", where=path, fix="name them so")
    try:
        values = np.array([[float(row[name]) for name in columns] for row in rows])
    except (TypeError, ValueError) as error:
        raise NerfkitError(f"holds what is no number ({error})", where=path, fix="give pixels as numbers") from error
    n = len(axes)
    found = Landmarks(values[:, :n], values[:, n:])
    for name, points, image in (("fixed", found.fixed, pair.fixed), ("moving", found.moving, pair.moving)):
        outside = ~((points >= -0.5) & (points <= np.array(image.size) - 0.5)).all(1)
        if outside.any():
            row = int(np.argmax(outside))
            raise NerfkitError(
                f"line {row + 2}: the point {points[row].tolist()} lies outside the {name} image of "
                f"{'x'.join(map(str, image.size))} pixels", where=path,
                fix="give pixels (voxels), the first one's centre being 0; leave such points out",
            )  # fmt: skip
    return found


def read_displacement(path: str | Path) -> Displacement:
    """A true displacement from an npy, the npz of ``--simulate``, or the NIfTI that a run of two volumes holds."""
    path = Path(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        values, affine = read_vector_field(path)
        return Displacement(_checked(values, path), affine)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise NerfkitError(
            f"is neither npy nor NIfTI; got {path.suffix or 'a name without suffix'}", where=path,
            fix="give displacement.npy, [h, w, 2] or [d, h, w, 3], or of volumes displacement.nii.gz",
        )  # fmt: skip
    values = load_array(path, "displacement" if path.suffix.lower() == ".npz" else None)
    if values.dtype.kind not in "fiu":
        raise NerfkitError(f"holds {values.dtype}; real numbers are wanted", where=path, fix="save floats")
    return Displacement(_checked(values, path).astype(np.float32))


def _checked(values: NDArray, path: Path) -> NDArray:
    if bad := not_finite(values, "row {}, column {}" if values.ndim == 3 else "voxel ({2}, {1}, {0})"):
        raise NerfkitError(bad, where=path, fix="replace them")
    return values
