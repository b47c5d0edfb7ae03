"""Blender folders as NeRF-synthetic has them: transforms_{train,val,test}.json and a folder of photos for each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.formats import is_image
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.posed import SPLITS, PosedPhotos

from .lens_models import SAME_PIXEL, pinhole_fault, refuse_lens
from .plan import Plan, drop_circles, drop_masks, flat_names

__all__ = ["plan_blender"]


def plan_blender(photos: PosedPhotos, findings: Findings) -> Plan:
    """The three files: one pinhole for all photos of a split, and a split that every photo is in."""
    refuse_lens(photos, [_fault(camera, photos) for camera in photos.cameras], "Blender's format")
    drop_masks(photos, findings, "Blender's format")
    drop_circles(photos, findings, "Blender's format")
    members = {split: photos.splits.get(split, []) for split in SPLITS}
    if not (members["val"] or members["test"]):
        findings.add(
            "warning", "no photo is held out, and Blender's format cannot say so: every 8th of transforms_train.json "
            "will be taken for test", where=photos.root, fix="--to transforms keeps the split",
        )  # fmt: skip
    names = _names(photos, findings)
    angle = 2 * math.atan(photos.cameras[0].width / 2 / photos.cameras[0].fx)
    files = {}
    # without the last of them the folder is no dataset
    for split in ("test", "val", "train"):
        frames = [_frame(names[i], photos.c2w[i].tolist()) for i in members[split]]
        if frames:
            content = {"camera_angle_x": angle, "frames": frames}
            files[f"transforms_{split}.json"] = json.dumps(content, indent=1).encode()
    return Plan(names, files)


def _fault(camera: Camera, photos: PosedPhotos) -> str:
    first = photos.cameras[0]
    # a camera of an angle and another size is another camera only where the angle is
    if abs(camera.fx / camera.width - first.fx / first.width) * camera.width > SAME_PIXEL:
        return f"their angle of view differs from that of {photos.files[0]}, and there is one for all"
    return pinhole_fault(camera)


def _names(photos: PosedPhotos, findings: Findings) -> list[str | None]:
    """Each photo in the folder of the first split that it is in."""
    names: list[str | None] = [None] * len(photos)
    for split in SPLITS:
        own = [i for i in photos.splits.get(split, []) if names[i] is None]
        for index, name in zip(own, flat_names([photos.files[i] for i in own]), strict=True):
            names[index] = f"{split}/{name}"
    lost = [file for file, name in zip(photos.files, names, strict=True) if name is None]
    if lost:
        findings.add(
            "warning", f"{len(lost)} photos are in no split and left out: {some(lost)}", where=photos.root,
            fix="--to transforms keeps them",
        )  # fmt: skip
    if len(lost) == len(photos):
        raise NerfkitError("no photo is in a split", where=photos.root, fix="give --to transforms")
    return names


def _frame(name: str | None, matrix: list[list[float]]) -> dict[str, Any]:
    assert name is not None
    # NeRF's own loader appends .png to whatever is listed
    plain = name.removesuffix(".png")
    plain = name if is_image(Path(plain)) else plain
    return {"file_path": f"./{plain}", "transform_matrix": matrix}
