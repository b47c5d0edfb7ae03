"""transforms.json as instant-ngp and nerfstudio write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from ._json import read_frames, read_json
from .posed import SPLITS, Frame, PosedPhotos, pose_photos

__all__ = ["MODEL_KEY", "read_transforms"]

# what the scene says about itself beyond photos and poses
HINTS = (
    "aabb_scale",
    "scale",
    "offset",
    "applied_transform",
    "applied_scale",
    "orientation_override",
    "ply_file_path",
    "depth_unit_scale_factor",
    "integer_depth_scale",
)

# our own: folder of the COLMAP model that the poses are from, below that of the file
MODEL_KEY = "colmap_model"


def read_transforms(path: Path, skip_bad: bool, findings: Findings) -> PosedPhotos | None:
    """Read ``transforms.json``, or the json file that ``path`` is; None where there is none."""
    file = path / "transforms.json" if path.is_dir() else path
    if file.suffix.lower() != ".json" or not file.is_file():
        return None
    content = read_json(file)
    frames = read_frames(
        content, file, skip_bad, findings, (*HINTS, MODEL_KEY, *(f"{split}_filenames" for split in SPLITS))
    )
    _apply_lists(frames, content, file, findings if skip_bad else None)
    hints = {key: content[key] for key in HINTS if key in content}
    model = file.parent / str(content.get(MODEL_KEY, ""))
    # os.path's isdir, which takes a name that no file system would for one that is absent
    if MODEL_KEY in content and os.path.isdir(model) and model.resolve().is_relative_to(file.parent.resolve()):  # noqa: PTH112
        hints["model"] = str(model)
    return pose_photos(frames, file.parent, "transforms", skip_bad=skip_bad, findings=findings, hints=hints)


def _apply_lists(frames: list[Frame], content: dict[str, Any], path: Path, findings: Findings | None) -> None:
    """Put frames into the splits that nerfstudio's lists of file names give; bad names go to the findings, if given."""
    lists = {split: content[f"{split}_filenames"] for split in SPLITS if content.get(f"{split}_filenames")}
    if not lists:
        return
    by_file = {_plain(frame.file): frame for frame in frames}
    for split, names in lists.items():
        for name in names:
            frame = by_file.get(_plain(name))
            if frame is not None:
                # nerfstudio's exporters write one list as val and as test
                frame.splits = (*frame.splits, split)
                continue
            error = NerfkitError(
                f"{split}_filenames names {name!r}, which is no frame's file_path",
                where=path,
                fix="correct the name or take it off the list",
            )
            if findings is None:
                raise error
            findings.add_error(error)
    if "train" not in lists:
        for frame in frames:
            frame.splits = frame.splits or ("train",)


def _plain(file: str) -> str:
    return Path(str(file).replace("\\", "/")).as_posix()
