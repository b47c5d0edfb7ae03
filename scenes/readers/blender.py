"""Blender folders as NeRF-synthetic has them: transforms_{train,val,test}.json (NeRF, arXiv:2003.08934)."""

from __future__ import annotations

import re
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from ._json import read_frames, read_json
from .posed import SPLITS, PosedPhotos, pose_photos

__all__ = ["read_blender"]


def read_blender(path: Path, skip_bad: bool, findings: Findings) -> PosedPhotos | None:
    """Read a Blender folder; None where there is no ``transforms_{train,val,test}.json``.

    Notes
    -----
    A split that has a json is taken as listed and one that has none is empty. Where ``transforms_train.json``
    is the only one, nothing is listed as held out and :func:`split_by_rule` divides it.
    """
    if path.is_file() and not re.fullmatch(r"transforms_(train|val|test)\.json", path.name):
        return None
    root = path.parent if path.is_file() else path
    files = {split: root / f"transforms_{split}.json" for split in SPLITS}
    present = [split for split in SPLITS if files[split].is_file()]
    if not present:
        return None
    if "train" not in present:
        if (root / "transforms.json").is_file():
            return None
        names = ", ".join(files[split].name for split in present)
        raise NerfkitError(f"has {names} but no transforms_train.json", where=root, fix="add the training views")
    frames = []
    for split in present:
        try:
            listed = read_frames(read_json(files[split]), files[split], skip_bad, findings)
        except NerfkitError as error:
            if split == "train" or not skip_bad:
                raise
            findings.add_error(error)  # the scene can be trained without what is held out
            continue
        for frame in listed:
            frame.splits = (split,) if len(present) > 1 else ()
        frames += listed
    return pose_photos(frames, root, "blender", skip_bad=skip_bad, findings=findings)
