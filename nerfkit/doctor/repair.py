"""A dataset with what is wrong put right, written anew: what was changed is listed, and what could not be is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.datasets import write_dataset
from nerfkit.doctor import conventions
from nerfkit.doctor.copies import held_out_copies
from nerfkit.doctor.findings import Report
from nerfkit.doctor.matches import Features, Matches
from nerfkit.doctor.misplaced import MOST_PHOTOS, find_misplaced
from nerfkit.doctor.mistakes import MIRRORS, find_mistake
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.posed import Leniency, lenient
from nerfkit.scenes.writers.lens_models import pinhole_fault, transforms_fault

__all__ = ["Repaired", "repair_data"]

TRANSPOSED = "{n} matrices were transposed"
MIRRORED = "{n} matrices mirrored the world, which is mirrored back"
SWAPPED = "width and height of the cameras of {n} photos were exchanged"
# damaged frames that are named one by one
MAX_NAMED = 5


@dataclass
class Repaired:
    """What became of a dataset.

    Parameters
    ----------
    output : str
        Folder of the new one.
    format : str
        What it is written as.
    changes : list of str
        What is other than it was.
    left : list of str
        What could not be put right, with the next step.
    report : Report, optional
        The check-up of the new one.
    """

    output: str
    format: str = ""
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    report: Report | None = None


def repair_data(
    path: str | Path, out: str | Path, *, to: str | None = None, link: bool = False, overwrite: bool = False,
    device: str = "cpu", on_part: Callable[[int, int], None] = lambda done, total: None,
) -> Repaired:  # fmt: skip
    """Write a posed dataset anew, with what is wrong put right as far as the photos tell.

    Parameters
    ----------
    path : str or Path
        Folder of posed photos, or the json file in it; nothing there is changed.
    out : str or Path
        Folder for the new dataset, absent or empty.
    to : str, optional
        Format to write; the input's own unless given, where it holds the cameras, else one that does.
    link : bool
        Links with relative paths instead of copies of the photos.
    overwrite : bool
        Replace a dataset that nerfkit wrote there.
    device : {"cpu", "cuda"}
        Where the new one would be trained, for its check-up.
    on_part : callable
        Called with the numbers of photos that are there and that there will be.

    Raises
    ------
    NerfkitError
        No poses, no usable photo, or a folder that is not free.
    """
    from nerfkit.doctor import examine_data

    path, out = Path(path).expanduser(), Path(out).expanduser()
    repaired = Repaired(str(out))
    photos = _read(path, repaired)
    for mend in (_drop_repeats, _mend_poses, _drop_copies):
        photos = mend(photos, repaired)
    repaired.format, written = to or _format(photos), Findings()
    note = {"command": "doctor --fix", "name": photos.name, "changes": repaired.changes}
    write_dataset(
        photos, out, repaired.format, link=link, overwrite=overwrite, note=note, findings=written, on_part=on_part
    )  # fmt: skip
    repaired.changes += [finding.what for finding in written]
    repaired.report = examine_data(out, device)
    return repaired


def _read(path: Path, repaired: Repaired) -> PosedPhotos:
    """The photos without the frames that are damaged; where most are, as what their poses and cameras may mean."""
    findings, seen = Findings(), Counter[str]()
    try:
        photos = read_posed_photos(path, True, findings)
        is_bad = len(_errors(findings)) > len(photos)
    except NerfkitError:
        is_bad = True
    if is_bad:
        findings.clear()
        leniency = Leniency(
            lambda matrix: _proper(matrix, seen), lambda camera, width, height: _upright(camera, width, height, seen)
        )
        with lenient(leniency):
            photos = read_posed_photos(path, True, findings)
    repaired.changes += [text.format(n=count) for text, count in seen.items()]
    if photos.skipped:
        repaired.changes.append(f"{len(photos.skipped)} frames are left out: {some(photos.skipped)}")
    bad = _errors(findings)
    repaired.changes += [f"left out: {finding.where}: {finding.what}" for finding in bad[:MAX_NAMED]]
    moved = [finding.what for finding in findings if "were found by the end of their path" in finding.what]
    repaired.changes += [f"{what}; now by their own names" for what in moved]
    return photos


def _errors(findings: Findings) -> Findings:
    return Findings(finding for finding in findings if finding.level == "error")


def _proper(matrix: Any, seen: Counter[str]) -> Any:
    """A matrix that is transposed, or mirrors, as the pose that it means."""
    try:
        values = np.array(matrix, np.float64)
    except (TypeError, ValueError):
        return matrix
    if values.shape == (3, 4):
        values = np.vstack([values, [0, 0, 0, 1.0]])
    if values.shape != (4, 4) or not np.isfinite(values).all():
        return matrix
    if (values[3] != [0, 0, 0, 1]).any() and (values[:, 3] == [0, 0, 0, 1]).all():
        seen[TRANSPOSED] += 1
        values = values.T
    if np.linalg.det(values[:3, :3]) < 0:
        seen[MIRRORED] += 1
        values = MIRRORS["x"] @ values
    return values


def _upright(camera: Camera, width: int, height: int, seen: Counter[str]) -> Camera:
    """A camera for a photo on its side as that of the photo as it is."""
    if (camera.width, camera.height) != (height, width) or width == height:
        return camera
    seen[SWAPPED] += 1
    as_it_is = abs(camera.cx / width - 0.5) + abs(camera.cy / height - 0.5)
    exchanged = abs(camera.cy / width - 0.5) + abs(camera.cx / height - 0.5)
    if as_it_is <= exchanged:
        return replace(camera, width=width, height=height)
    return replace(camera, width=width, height=height, fx=camera.fy, fy=camera.fx, cx=camera.cy, cy=camera.cx)


def _drop_repeats(photos: PosedPhotos, repaired: Repaired) -> PosedPhotos:
    """One of a photo that is listed more than once, in the splits of all."""
    first: dict[str, int] = {}
    kept = [first.setdefault(file, index) for index, file in enumerate(photos.files)]
    repeats = [index for index, other in enumerate(kept) if other != index]
    if not repeats:
        return photos
    splits = {name: sorted({kept[index] for index in members}) for name, members in photos.splits.items()}
    names = [photos.files[index] for index in repeats]
    repaired.changes.append(f"{len(repeats)} photos were listed more than once: {some(names)}")
    return without(replace(photos, splits=splits), repeats)


def _mend_poses(photos: PosedPhotos, repaired: Repaired) -> PosedPhotos:
    """Conventions and focal lengths of all, then poses of single photos, as points matched between photos say."""
    features = Features(photos)
    matches = features.matches(conventions.choose_pairs(photos.c2w))
    if matches.n_points < conventions.MIN_MATCHES:
        return _mend_by_axes(photos, repaired)
    photos = _mend_all(photos, features, matches, repaired)
    if len(photos) > MOST_PHOTOS:
        repaired.left.append(f"whether single photos have poses of others was not looked at (above {MOST_PHOTOS})")
        return photos
    found = find_misplaced(features, photos.c2w)
    if not found.is_clear:
        repaired.left.append(
            "the poses fit the photos in no way that was tried; `nerfkit process` finds new ones from the photos alone"
        )
        return photos
    c2w = photos.c2w.copy()
    for photo, other in found.poses.items():
        c2w[photo] = photos.c2w[other]
        repaired.changes.append(f"{photos.files[photo]} has the pose that was listed for {photos.files[other]}")
    if found.wrong:
        names = [photos.files[photo] for photo in found.wrong]
        repaired.changes.append(f"{len(names)} photos are left out, since their poses do not fit them: {some(names)}")
    return without(replace(photos, c2w=c2w), found.wrong)


def _mend_all(photos: PosedPhotos, features: Features, matches: Matches, repaired: Repaired) -> PosedPhotos:
    mistake = find_mistake(matches, photos.c2w)
    if mistake is None:
        return photos
    features.correct = mistake.camera
    repaired.changes.append(
        f"{mistake.words}, which is put right: {mistake.after:.0%} of {matches.n_points} points matched between photos "
        f"fit instead of {mistake.before:.0%}"
    )  # fmt: skip
    return replace(photos, c2w=mistake.c2w(photos.c2w), cameras=[mistake.camera(camera) for camera in photos.cameras])


def _mend_by_axes(photos: PosedPhotos, repaired: Repaired) -> PosedPhotos:
    """The convention where photos show nothing that could be matched."""
    guess = conventions.guess_from_axes(photos.c2w)
    if guess is None or guess == conventions.EXPECTED:
        return photos
    repaired.changes.append(
        f"the poses are taken for {guess}, since the cameras look at one point then; nothing in the photos could be "
        "matched to make sure"
    )  # fmt: skip
    return replace(photos, c2w=np.stack([conventions.CONVENTIONS[guess](matrix) for matrix in photos.c2w]))


def _drop_copies(photos: PosedPhotos, repaired: Repaired) -> PosedPhotos:
    """Photos that are held out as well are not trained on."""
    mine = sorted({index for index, _ in held_out_copies(photos)})
    if not mine:
        return photos
    train = [index for index in photos.splits["train"] if index not in mine]
    if len(train) < len(mine):
        repaired.left.append(f"{len(mine)} photos to train on are copies of ones that are held out: take others")
        return photos
    repaired.changes.append(
        f"{len(mine)} photos are held out as well, and no longer trained on: {some([photos.files[i] for i in mine])}"
    )
    photos = replace(photos, splits=photos.splits | {"train": train})
    used = {index for members in photos.splits.values() for index in members}
    return without(photos, [index for index in mine if index not in used])


def without(photos: PosedPhotos, dropped: Sequence[int]) -> PosedPhotos:
    """The other photos, in their splits."""
    kept = [index for index in range(len(photos)) if index not in set(dropped)]
    place = {index: number for number, index in enumerate(kept)}

    def of(values: Sequence[Any]) -> list[Any]:
        return [values[index] for index in kept]

    return replace(
        photos, files=of(photos.files), cameras=of(photos.cameras), c2w=photos.c2w[kept],
        splits={name: [place[i] for i in members if i in place] for name, members in photos.splits.items()},
        masks=None if photos.masks is None else of(photos.masks),
        uses_exif=None if photos.uses_exif is None else of(photos.uses_exif),
        depths=None if photos.depths is None else of(photos.depths),
    )  # fmt: skip


def _format(photos: PosedPhotos) -> str:
    """The input's own format where it holds the cameras, else one that does."""
    if photos.format in ("blender", "llff") and any(map(pinhole_fault, photos.cameras)):
        return "transforms"
    is_held = photos.format != "transforms" or not any(map(transforms_fault, photos.cameras))
    return photos.format if is_held else "colmap"
