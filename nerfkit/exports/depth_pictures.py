"""Depth of each photo as a grey PNG of 16 bits, in millimetres along the viewing axis, as depth cameras give it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.files import explain_os_error
from nerfkit.scene import RadianceScene
from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.writing import move_into_place, temporary_beside

__all__ = ["axis_depths", "check_empty", "write_depth_pictures"]

# greatest value of 16 bits
MOST = 65535


def write_depth_pictures(
    out: Path, scene: RadianceScene, cameras: Sequence[Camera], c2w: NDArray[np.float64], names: Sequence[str],
    files: Sequence[str], metres: float, on_view: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Write a folder of PNGs and depth.json, which says what they hold; the folder appears when all of it is there.

    Parameters
    ----------
    out : Path
        The folder; absent or empty.
    scene : RadianceScene
        What is seen.
    cameras, c2w : sequence of Camera; ndarray, shape (n, 4, 4)
        From where, world.
    names, files : sequences of str
        Of the pictures, and of the photos that they belong to.
    metres : float
        Length of the world's unit.
    on_view : callable
        Called with the number of views done and in all.

    Returns
    -------
    found : dict
        ``views``; ``nearest`` and ``farthest``, world units, None where nothing is seen; ``beyond``, photos with depths
        that do not fit in 16 bits, each with how many pixels these are.
    """
    check_empty(out)
    temporary = temporary_beside(out)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        entries, beyond = [], {}
        for index, (camera, pose) in enumerate(zip(cameras, c2w, strict=True)):
            depths = axis_depths(camera, scene.surface_depths(camera, pose).numpy())
            counts = np.where(np.isfinite(depths), depths * metres * 1000, 0)
            if too_far := int((counts > MOST).sum()):
                beyond[files[index]] = too_far
            whole = np.where(counts > MOST, 0, np.rint(counts)).astype(np.uint16)
            (temporary / names[index]).write_bytes(_png(whole))
            seen = depths[np.isfinite(depths)]
            entries.append({
                "depth": names[index], "file": files[index], "w": camera.width, "h": camera.height,
                "nearest": _rounded(seen.min()) if len(seen) else None,
                "farthest": _rounded(seen.max()) if len(seen) else None, "beyond": too_far,
            })  # fmt: skip
            on_view(index + 1, len(cameras))
        told = {
            "unit": "millimetre", "depth": "along the viewing axis; 0: nothing, or beyond 65535",
            "metres_per_world_unit": metres, "views": entries,
        }  # fmt: skip
        (temporary / "depth.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()
        move_into_place(temporary, out)
    except OSError as error:
        raise explain_os_error(error, out) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    nearest, farthest = ([entry[key] for entry in entries if entry[key] is not None] for key in ("nearest", "farthest"))
    return {
        "views": len(entries), "nearest": min(nearest, default=None), "farthest": max(farthest, default=None),
        "beyond": beyond,
    }  # fmt: skip


def check_empty(out: Path) -> None:
    """Raise NerfkitError unless ``out`` is absent or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file; depth is a folder of PNGs"
        raise NerfkitError(what, where=out, fix="give another --out")


def axis_depths(camera: Camera, distances: NDArray[np.floating]) -> NDArray[np.float64]:
    """Depth [h, w] along the viewing axis of distances [h, w] along rays; infinite where it is not ahead."""
    rows, columns = np.indices(distances.shape) + 0.5
    rays = pixels_to_directions(camera, np.stack([columns.ravel(), rows.ravel()], -1))
    ahead = (-rays[:, 2] / np.linalg.norm(rays, axis=1)).reshape(distances.shape)
    with np.errstate(invalid="ignore"):
        return np.where(ahead > 0, distances * ahead, np.inf)


def _rounded(value: np.floating) -> float:
    return float(f"{value:.5g}")


def _png(values: NDArray[np.uint16]) -> bytes:
    from PIL import Image

    payload = io.BytesIO()
    Image.fromarray(values).save(payload, "PNG")
    return payload.getvalue()
