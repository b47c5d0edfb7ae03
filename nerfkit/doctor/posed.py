"""The check-up of a posed dataset: all that is wrong with it at once, where the readers stop at the first."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from nerfkit.doctor import conventions
from nerfkit.doctor.copies import check_copies
from nerfkit.doctor.findings import Report, raised_is_noted
from nerfkit.doctor.matches import Features, Matches
from nerfkit.doctor.misplaced import MOST_PHOTOS, find_misplaced
from nerfkit.doctor.mistakes import find_mistake
from nerfkit.doctor.spacing import check_spacing
from nerfkit.photo_data import load_views
from nerfkit.scenes.backgrounds import choose_background
from nerfkit.scenes.bounds import bounded_scene, unbounded_scene
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.readers.photo_search import PhotoSearch
from nerfkit.scenes.readers.photos import some

__all__ = ["check_photos", "grouped"]

# a scene from fewer views than this has holes; 30 or more make a good one
FEW_VIEWS = 10
# degrees
FOV_RANGE = (5.0, 170.0)
# fx / fy of real lenses is 1 within a percent; a factor beyond comes from a photo that was stretched or cropped
MAX_FOCAL_RATIO = 1.2
# poses nearer than this, in units of the scene and of a rotation's entries, are one
SAME_POSE = 1e-6
# boxes of the scene that cameras may stand from the origin; those of instant-ngp stand within a few
FAR_BEYOND = 50
# photos that are looked at for alpha, background and bounds, and their longest side
N_LOOKED_AT, LOOK_SIDE = 48, 200


def grouped(findings: Findings) -> Findings:
    """One problem for all frames that have the same fault; what is no fault of a frame stays as it is."""
    places: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for finding in findings:
        places[finding.level, finding.what, finding.fix].append(finding.where)
    found = Findings()
    for (level, what, fix), where in places.items():
        found.add(level, what if len(where) == 1 else f"{len(where)} photos: {what}", where=_together(where), fix=fix)
    return found


def _together(places: list[str]) -> str:
    """A few places, with the file or folder that all of them lie in said once."""
    common = os.path.commonprefix(places)  # noqa: RUF071  cut back to whole names in the next lines
    # whole names alone: up to a slash, or to the colon after a file
    ends = [common.rfind(mark) + len(mark) for mark in ("/", ": ") if mark in common]
    start = max(ends, default=0) if len(places) > 1 else 0
    return common[:start] + some([place[start:] for place in places])


def check_photos(photos: PosedPhotos, path: Path, report: Report) -> None:
    """Check photos that a reader could read, and note what they are."""
    report.fact("kind", "posed photos", f"posed photos ({photos.format})")
    report.fact("root", str(photos.root), "")
    _check_files(photos, report)
    _check_splits(photos, report)
    _check_sizes(photos, report)
    _check_intrinsics(photos, report)
    _check_duplicates(photos, report)
    _check_unit(photos, report)
    check_copies(photos, report)
    with raised_is_noted(report):
        _check_convention(photos, path, report)
    with raised_is_noted(report):
        _check_pixels(photos, report)
    report.next_command = f"nerfkit train {shlex.quote(str(path))}"


def _check_files(photos: PosedPhotos, report: Report) -> None:
    search = PhotoSearch(photos.root)
    absent = [file for file in photos.skipped if search.find(file) is None]
    n_bad = len(photos.skipped) - len(absent)
    text = f"{len(photos)} usable" + f", {n_bad} bad" * bool(n_bad) + f", {len(absent)} absent" * bool(absent)
    report.fact("views", len(photos), text)
    report.fact("absent", len(absent), "")
    twice = [file for file, count in Counter(photos.files).items() if count > 1]
    if twice:
        report.add("warning", f"listed more than once: {some(twice)}", where=photos.root, fix="list each photo once")


def _check_splits(photos: PosedPhotos, report: Report) -> None:
    counts = {name: len(views) for name, views in photos.splits.items()}
    report.fact("splits", counts, ", ".join(f"{count} {name}" for name, count in counts.items()))
    if counts["train"] < FEW_VIEWS:
        report.add(
            "warning", f"only {counts['train']} views to train on; 30 or more make a good scene",
            where=photos.root, fix="add photos from other places, each part of the scene seen in three or more",
        )  # fmt: skip
    for name, use in (("val", "training reports no PSNR"), ("test", "`nerfkit eval` has nothing to compare")):
        if not counts[name]:
            report.add(
                "warning", f"no view is held out as {name}: {use}",
                where=photos.root, fix=f"list some as {name}, or no splits at all (then every 8th is held out)",
            )  # fmt: skip


def _check_sizes(photos: PosedPhotos, report: Report) -> None:
    sizes = Counter(f"{camera.width}x{camera.height}" for camera in photos.cameras)
    report.fact("sizes", dict(sizes), ", ".join(f"{n} of {size}" for size, n in sizes.most_common(4)))
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        others = [f for f, c in zip(photos.files, photos.cameras, strict=True) if f"{c.width}x{c.height}" != usual]
        report.add(
            "warning", f"photos have {len(sizes)} sizes; {len(others)} are not {usual}: {some(others)}",
            where=photos.root, fix="right if several cameras took them; else give all of them from one source",
        )  # fmt: skip


def fields_of_view(camera: Camera) -> tuple[float, float]:
    """Horizontal and vertical angle of view in degrees, distortion left aside.

    Examples
    --------
    >>> fields_of_view(Camera(100, 200, 50.0, 50.0, 50.0, 100.0))[0]
    90.0
    """
    if camera.lens == "fisheye":
        return math.degrees(camera.width / camera.fx), math.degrees(camera.height / camera.fy)
    return (
        math.degrees(2 * math.atan(camera.width / 2 / camera.fx)),
        math.degrees(2 * math.atan(camera.height / 2 / camera.fy)),
    )


def _check_intrinsics(photos: PosedPhotos, report: Report) -> None:
    first = photos.cameras[0]
    wide, high = fields_of_view(first)
    n_cameras = len(set(photos.cameras))
    text = f"{wide:.1f} x {high:.1f} degrees" + f" (the first of {n_cameras} cameras)" * (n_cameras > 1)
    report.fact("field_of_view", [round(wide, 2), round(high, 2)], text)
    faults: dict[str, list[str]] = defaultdict(list)
    for file, camera in zip(photos.files, photos.cameras, strict=True):
        for fault in _intrinsic_faults(camera):
            faults[fault].append(file)
    fixes = {
        "angle": "fl_x is in pixels of a photo of w x h, camera_angle_x in radians: correct them",
        "principal": "right for crops of larger photos; else cx and cy are in pixels of a photo of w x h: correct them",
        "fl_x": "unless the photos were stretched, correct fl_y",
    }
    for fault, files in faults.items():
        # a crop may well leave its principal point out: whether poses fit is for the photos to say
        level = "error" if fault.startswith("angle") else "warning"
        report.add(level, f"{fault} ({len(files)} photos)", where=some(files), fix=fixes[fault.split()[0]])


def _intrinsic_faults(camera: Camera) -> list[str]:
    faults = []
    widest, narrowest = max(fields_of_view(camera)), min(fields_of_view(camera))
    if (widest > FOV_RANGE[1] and camera.lens == "perspective") or narrowest < FOV_RANGE[0]:
        wrong = widest if widest > FOV_RANGE[1] else narrowest
        faults.append(f"angle of view of {wrong:.3g} degrees; {FOV_RANGE[0]:g} to {FOV_RANGE[1]:g} is plausible")
    if not (0 <= camera.cx <= camera.width and 0 <= camera.cy <= camera.height):
        faults.append("principal point outside the photo")
    ratio = camera.fx / camera.fy
    if max(ratio, 1 / ratio) > MAX_FOCAL_RATIO:
        faults.append(f"fl_x is {ratio:.3g} times fl_y; pixels are square in nearly all cameras")
    return faults


def _check_unit(photos: PosedPhotos, report: Report) -> None:
    """Positions far beyond the box that the file itself gives the scene."""
    box = photos.hints.get("aabb_scale")
    reach = float(np.linalg.norm(photos.c2w[:, :3, 3], axis=1).max())
    if isinstance(box, int | float) and box > 0 and reach > FAR_BEYOND * box:
        report.add(
            "info",
            f"cameras stand up to {reach:.4g} units from the origin, far beyond the scene's box (aabb_scale {box}): "
            "probably millimetres, or away from the origin. Training scales and moves by itself; exports keep the unit",
            where=photos.root,
        )  # fmt: skip


def _check_duplicates(photos: PosedPhotos, report: Report) -> None:
    c2w = photos.c2w.copy()
    spread = float(np.linalg.norm(c2w[:, :3, 3] - c2w[:, :3, 3].mean(0), axis=1).max())
    c2w[:, :3, 3] /= spread or 1.0
    seen: dict[tuple, str] = {}
    pairs = []
    for file, pose in zip(photos.files, np.rint(c2w[:, :3] / SAME_POSE), strict=True):
        twin = seen.setdefault(tuple(pose.ravel().tolist()), file)
        if twin != file:
            pairs.append(f"{twin} = {file}")
    if len(pairs) == len(photos) - 1:
        report.add(
            "error", f"all {len(photos)} poses are the same", where=photos.root,
            fix="the poses were not exported: make them again",
        )  # fmt: skip
    elif pairs:
        report.add(
            "warning", f"{len(pairs)} photos have the pose of another: {some(pairs)}", where=photos.root,
            fix="right for a camera that stood still before a scene that did; else correct the poses",
        )  # fmt: skip


def _check_convention(photos: PosedPhotos, path: Path, report: Report) -> None:
    """Compare the poses with the photos, or else with where cameras usually look."""
    axes = conventions.measure_convergence(photos.c2w)
    if axes is not None:
        report.fact(
            "cameras", {"front": round(axes.front, 3), "rms": round(axes.rms, 4)},
            f"{axes.front:.0%} look towards the point where their axes meet, which they miss by {axes.rms:.1%} of its "
            "distance",
        )  # fmt: skip
        check_spacing(photos, axes.front, report)
    matched = conventions.match_photos(photos)
    if matched is not None and matched[0].is_decisive:
        agreement, matches, features = matched
        shares = {name: round(share, 3) for name, share in agreement.shares.items()}
        report.fact(
            "photos_agree", {"matches": agreement.n_matches, "shares": shares},
            f"{shares[conventions.EXPECTED]:.0%} of {agreement.n_matches} points matched between photos fit the poses",
        )  # fmt: skip
        if _judge_photos(agreement, matches, photos, path, report):
            _check_single_poses(features, photos, path, report)
    else:
        _judge_axes(axes, photos, path, report)


def _judge_photos(
    agreement: conventions.Agreement, matches: Matches, photos: PosedPhotos, path: Path, report: Report
) -> bool:  # fmt: skip
    """Whether the photos fit what is listed."""
    best = agreement.best
    mistake = find_mistake(matches, photos.c2w)
    if best is not None and best != conventions.EXPECTED and (mistake is None or mistake.words.endswith(best)):
        report.add(
            "error",
            f"the poses follow another convention: as listed {agreement.shares[conventions.EXPECTED]:.0%} of "
            f"{agreement.n_matches} points matched between photos fit, read as {best} {agreement.shares[best]:.0%} do",
            where=photos.root, fix=_convention_fix(best, photos, path),
        )  # fmt: skip
    elif mistake is not None:
        report.add(
            "error",
            f"{mistake.words}: as listed {mistake.before:.0%} of {agreement.n_matches} points matched between photos "
            f"fit, with that put right {mistake.after:.0%} do",
            where=photos.root, fix=_fix_command(path),
        )  # fmt: skip
    elif best is None:
        share = max(agreement.shares.values())
        report.add(
            "warning",
            f"the poses do not fit the photos: of {agreement.n_matches} points matched between photos "
            f"at most {share:.0%} lie where any convention puts them",
            where=photos.root,
            fix="check that photos, file names and intrinsics belong to these poses; else make the poses again",
        )
    return best == conventions.EXPECTED and mistake is None


def _check_single_poses(features: Features, photos: PosedPhotos, path: Path, report: Report) -> None:
    """Name photos with the pose of another, or with none that the others can confirm."""
    if len(photos) > MOST_PHOTOS:
        report.fact("single_poses", None, f"not looked at: more than {MOST_PHOTOS} photos")
        return
    found = find_misplaced(features, photos.c2w)
    pairs = sorted({(min(pair), max(pair)) for pair in found.poses.items()})
    if pairs:
        names = some([f"{photos.files[a]} and {photos.files[b]}" for a, b in pairs])
        report.add(
            "error", f"poses of photos are exchanged: {names}, by the points that they share with others",
            where=photos.root, fix=_fix_command(path),
        )  # fmt: skip
    if found.wrong:
        report.add(
            "error", f"{len(found.wrong)} photos have poses that others deny, with which they share many points: "
            f"{some([photos.files[i] for i in found.wrong])}",
            where=photos.root, fix=f"leave them out: {_fix_command(path)}",
        )  # fmt: skip


def _judge_axes(axes: conventions.Convergence | None, photos: PosedPhotos, path: Path, report: Report) -> None:
    guess = conventions.guess_from_axes(photos.c2w)
    if guess not in (None, conventions.EXPECTED):
        found = "the cameras stand in one place" if axes is None else "the cameras look away from where their axes meet"
        report.add(
            "error", f"{found}, and towards it when the poses are read as {guess}: the convention is probably flipped",
            where=photos.root,
            fix=f"{_convention_fix(guess, photos, path)}\nor train as it is if the photos were taken outwards",
        )  # fmt: skip
    elif axes is not None and axes.front < 0.5:
        report.add(
            "warning", f"{1 - axes.front:.0%} of the cameras look away from where their axes meet", where=photos.root,
            fix="right if the photos were taken outwards, as in a room; else make the poses again",
        )  # fmt: skip


def _convention_fix(convention: str, photos: PosedPhotos, path: Path) -> str:
    """A command that rewrites the json files in place."""
    if photos.format == "colmap":
        return (
            "export the model again with COLMAP: its images file holds world to camera, OpenCV axes; or "
            + _fix_command(path)
        )
    if photos.format == "llff":
        return f"make poses_bounds.npy again: its columns are down, right, backwards; or {_fix_command(path)}"
    if path.is_file():
        files = [path]
    else:
        names = (
            ["transforms.json"] if photos.format == "transforms" else [f"transforms_{s}.json" for s in photos.splits]
        )
        files = [path / name for name in names if (path / name).is_file()]
    matrix = "np.array(f['transform_matrix'])"
    if convention.startswith("world to camera"):
        matrix = f"np.linalg.inv(np.vstack(({matrix}[:3], [[0, 0, 0, 1]])))"
    if convention.endswith("OpenCV axes"):
        matrix += " @ np.diag([1, -1, -1, 1])"
    code = (
        "import json, pathlib, numpy as np; "
        f"[(d := json.loads(p.read_text()), [f.update(transform_matrix=({matrix}).tolist()) for f in d['frames']], "
        f"p.write_text(json.dumps(d))) for p in map(pathlib.Path, {json.dumps([str(f) for f in files])})]"
    )
    return "python -c " + shlex.quote(code.replace("'", '"'))


def _fix_command(path: Path) -> str:
    """The command that writes the dataset with what is wrong put right."""
    out = path.with_name(f"{path.resolve().stem if path.is_file() else path.resolve().name}_fixed")
    return f"nerfkit doctor {shlex.quote(str(path))} --fix -o {shlex.quote(str(out))}"


def _check_pixels(photos: PosedPhotos, report: Report) -> None:
    """Alpha, background and bounds, from a number of training photos at a small size."""
    train = photos.splits["train"]
    views = [train[i] for i in np.unique(np.linspace(0, len(train) - 1, N_LOOKED_AT).round().astype(int))]
    data = load_views(photos, views, downscale=None, max_side=LOOK_SIDE, findings=report.problems)
    images, masks = [data.images[i] for i in views], [data.masks.get(i) for i in views]
    n_alpha = sum(image.shape[2] == 4 for image in images)
    background = choose_background("auto", images, masks)
    color = "" if background.color is None else " ({:.2f}, {:.2f}, {:.2f})".format(*background.color)
    shown = "none, the scene fills the photos" if background.color is None else background.name + color
    report.fact("alpha", f"{n_alpha} of {len(views)}", f"{n_alpha} of {len(views)} photos looked at")
    report.fact("background", background.name, shown)
    left_out = sum(float((~mask).mean()) for mask in data.masks.values()) / len(views)
    if data.masks:
        report.fact("left_out", round(left_out, 4), f"{left_out:.1%} of the pixels do not count")
    if 0 < n_alpha < len(views):
        opaque = [photos.files[i] for i, image in zip(views, images, strict=True) if image.shape[2] == 3]
        report.add(
            "warning", f"{n_alpha} of {len(views)} photos looked at are partly transparent, the others opaque: "
            f"{some(opaque)}",
            where=photos.root, fix="cut the object out of all of them or of none",
        )  # fmt: skip
    bounds = unbounded_scene(photos.c2w[train])
    if background.color is not None:
        shows = [data.shows_object(i, background) for i in views]
        if not any(shown.any() for shown in shows):
            report.add(
                "error", "every photo shows only the background: alpha is 0, or one colour, everywhere",
                where=photos.root, fix="look at the photos; --background black or white takes them as they are",
            )  # fmt: skip
        else:
            bounds = bounded_scene(photos.c2w[views], [data.cameras[i] for i in views], shows)
    report.fact("bounds", bounds.as_dict(), str(bounds))
