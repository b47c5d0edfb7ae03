"""Photos of a folder, or chosen frames of a video, into a dataset's images/."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import POSES
from nerfkit.scenes.readers.formats import VIDEO_SUFFIXES, is_image, judge_unread
from nerfkit.scenes.readers.frames import natural_key
from nerfkit.scenes.readers.photos import read_header
from nerfkit.scenes.readers.video import StreamedVideo
from nerfkit.scenes.writers.placing import put_photo
from nerfkit.scenes.writers.plan import distinct_names

from .frame_choice import SpacedSharpest
from .work import Work

__all__ = ["check_source", "gather_photos", "is_video"]

# of frames that are saved as JPEG, without subsampling
FRAME_QUALITY = 95
# fewer give no poses that could be checked
FEWEST_PHOTOS = 3


def is_video(source: Path) -> bool:
    """Whether frames are chosen from it."""
    return source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES


def check_source(source: Path, findings: Findings) -> list[Path]:
    """The photos of a folder in natural order; none for a video.

    Raises
    ------
    NerfkitError
        Nothing there that poses could be found for, or poses are there already.
    """
    if is_video(source):
        return []
    if not source.exists():
        raise NerfkitError("no such file or folder", where=source, fix="give a folder of photos, or a video")
    if not source.is_dir():
        kinds = ", ".join(suffix.removeprefix(".") for suffix in VIDEO_SUFFIXES)
        raise NerfkitError(f"is no folder and no video ({kinds})", where=source, fix="give a folder of photos")
    poses = next((name for name in POSES if (source / name).exists()), None)
    if poses is not None:
        raise NerfkitError(
            f"has poses already ({poses})", where=source,
            fix=f"nerfkit train {source}; or give the folder of the photos alone",
        )  # fmt: skip
    files = [path for path in source.iterdir() if path.is_file()]
    if not any(map(is_image, files)):
        files = [path for path in source.rglob("*") if path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    photos = [path for path in files if is_image(path)]
    judge_unread(photos, [path for path in files if not is_image(path)], source, findings)
    if len(photos) < FEWEST_PHOTOS:
        raise NerfkitError(
            f"has {len(photos)} photos; {FEWEST_PHOTOS} are needed at least, and 30 or more make a good scene",
            where=source, fix="give a folder of photos of one scene, taken from different places, or a video",
        )  # fmt: skip
    return sorted(photos, key=lambda path: natural_key(path.relative_to(source).as_posix()))


def gather_photos(
    source: Path, photos: list[Path], work: Work, n_frames: int | None, *, link: bool, findings: Findings,
    on_part: Callable[[str, int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Have the photos in images/; their names there, and those that cannot be read."""
    if not photos:
        return {"names": _frames(source, work, n_frames, on_part), "unreadable": {}}
    names, unreadable = [], {}
    # COLMAP's lists of pairs and images have words
    targets = distinct_names([re.sub(r"\s", "_", path.relative_to(source).as_posix()) for path in photos])
    for number, (path, name) in enumerate(zip(photos, targets, strict=True), 1):
        try:
            read_header(path)
        except NerfkitError as error:
            unreadable[name] = error.what
        else:
            put_photo(path, work.out / "images" / name, True, link=link)
            names.append(name)
        on_part("photos", number, len(photos))
    for name, what in unreadable.items():
        findings.add("warning", what, where=name, fix="it is left out")
    if len(names) < FEWEST_PHOTOS:
        raise NerfkitError(f"only {len(names)} of {len(photos)} photos can be read", where=source, fix="replace them")
    return {"names": names, "unreadable": unreadable}


def _frames(
    source: Path, work: Work, n_frames: int | None, on_part: Callable[[str, int, int], None]
) -> list[str]:  # fmt: skip
    """The sharpest frames of a video, saved; the choice is kept as soon as it is made."""
    chosen = work.done.get("frames")
    if chosen is None:
        chosen = work.finish("frames", SpacedSharpest(n_frames)(StreamedVideo(source)))
    if len(chosen) < FEWEST_PHOTOS:
        raise NerfkitError(
            f"{len(chosen)} frames of this video show something; {FEWEST_PHOTOS} are needed at least", where=source,
            fix="give a video of some seconds in which the camera moves round the scene",
        )  # fmt: skip
    names = {index: f"frame_{index:06d}.jpg" for index in chosen}
    (work.out / "images").mkdir(parents=True, exist_ok=True)
    n_done = 0
    for index, frame in enumerate(StreamedVideo(source)):
        if index in names:
            path = work.out / "images" / names[index]
            Image.fromarray(frame).save(path, quality=FRAME_QUALITY, subsampling=0)
            n_done += 1
            on_part("frames", n_done, len(names))
            if n_done == len(names):
                break
    return list(names.values())
