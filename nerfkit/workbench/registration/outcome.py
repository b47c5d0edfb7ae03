"""What a registration has to show: files, figures, and pictures of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.files import npy_bytes
from nerfkit.scenes.fields.named import count_parameters
from nerfkit.scenes.observations.warps import Warp
from nerfkit.scenes.readers.picture import PictureFile
from nerfkit.scenes.volumes import Volume, affine_of_spacing
from nerfkit.volume_files import nifti_bytes, write_volume
from nerfkit.workbench.held_fields import picture_field
from nerfkit.workbench.job import Job
from nerfkit.workbench.outcome import Outcome, Shown
from nerfkit.workbench.running import write_picture

from .baselines import measure_baselines
from .curves import choice_charts, fit_chart
from .images import Pair, Spatial
from .inputs import Landmarks, RegisterData, grey, pixel_places
from .pictures import checkerboard, determinant_map, overlay, shown_range, unit_range, warped_grid
from .register import Registered, determinants, sampled_map

__all__ = ["displacement_errors", "landmark_errors", "registration_outcome"]

DISPLACEMENT_FILE, NIFTI_FILE, MATRIX_FILE = "displacement.npy", "displacement.nii.gz", "transform.json"
# window that shows nothing where its values differ by less than this fraction of their range
GROUND_WINDOW, GROUND = 5, 1e-3
# fraction by which sides of a pixel may differ that is drawn as a square
SQUARE = 0.01
# code of NIfTI for vectors along the fifth axis
NIFTI_VECTOR = 1007


def registration_outcome(job: Job, found: Registered, truth: NDArray | None) -> Outcome:
    """All that is written and told of it; ``truth`` is the displacement in pixels where it is known."""
    data: RegisterData = job.data
    pair = data.pair
    places = sampled_map(pair, found.transform)
    moves = places - pixel_places(pair)
    jacobian = determinants(pair, found.transform)
    warped = _warped(data, places)
    metrics: dict[str, Any] = {
        "holdout": None if found.holdout is None else float(f"{found.holdout:.6g}"), "holdout_unit": found.unit,
        "folds": float((jacobian <= 0).mean()), "least_jacobian": round(float(jacobian.min()), 4),
    }  # fmt: skip
    if data.landmarks is not None:
        metrics["landmarks"] = landmark_errors(data.landmarks, pair, moves)
    baselines: dict[str, dict[str, Any]] = {}
    if truth is not None:
        metrics |= displacement_errors(moves, truth, pair)
        if job.config.baselines:
            baselines["nothing"] = displacement_errors(np.zeros_like(truth), truth, pair) | {"how": "nothing is done"}
            baselines |= measure_baselines(
                pair.fixed.values, pair.moving.values, lambda other: displacement_errors(other, truth, pair), job.say,
                job.check_stopped,
            )  # fmt: skip
    image = _slice(warped) if data.is_volume else warped
    return Outcome(
        image=image, measure=lambda written: {}, field=_field_name(found),
        n_params=count_parameters(found.transform), bit_depth=32 if data.is_volume else data.moving.bit_depth,
        held=picture_field(torch.from_numpy(image.copy())), span=data.moving.range,
        mm_wide=_mm_wide(pair.fixed), window=data.moving.range,
        write=lambda output: _write(output, data, warped, moves), files=_files(data, found, moves), metrics=metrics,
        baselines=baselines, chosen=found.chosen, shown=_shown(data, warped, places, jacobian),
        said=[*data.said, *_told_of(metrics, data)],
        charts=[fit_chart(job.run.folder / "stages", found.stages), *choice_charts(found.chosen)],
    )  # fmt: skip


def _told_of(metrics: dict[str, Any], data: RegisterData) -> list[str]:
    """Sentences of the report: landmarks, and whether the map folds."""
    said = []
    if marks := metrics.get("landmarks"):
        unit = "mm" if data.is_volume else "pixels"
        said.append(
            f"{marks['n']} landmarks: mean distance {marks['before']:g} {unit} before, {marks['after']:g} {unit} after "
            f"(median {marks['after_median']:g})"
        )
    folds = metrics["folds"]
    said.append(
        f"the map folds at {folds:.2%} of the pixels" if folds
        else f"the map folds nowhere: det J is {metrics['least_jacobian']:g} or more"
    )  # fmt: skip
    return said


def _field_name(found: Registered) -> str:
    moved = found.transform.displacement
    return found.chosen["transform"] if moved is None else ("grid" if hasattr(moved, "nodes") else "siren")


def _warped(data: RegisterData, places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The moving image on the fixed one's pixels, [h, w, c] with all its channels, or [d, h, w]."""
    values = data.moving.values[None] if data.is_volume else np.moveaxis(data.moving.values, -1, 0)
    found = Warp(torch.from_numpy(np.ascontiguousarray(values)), is_cubic=True).at(torch.from_numpy(places)).values
    return found[0].numpy() if data.is_volume else np.ascontiguousarray(found.numpy().transpose(1, 2, 0))


def _slice(volume: NDArray) -> NDArray:
    """The middle slice [h, w, 1]."""
    return volume[len(volume) // 2][..., None]


def displacement_errors(moves: NDArray, truth: NDArray, pair: Pair) -> dict[str, float]:
    """Distance in pixels to a true displacement: median, mean, 95th percent.

    Over the pixels that look into the moving image and round which the fixed one shows anything: the empty ground of a
    scan tells no displacement.
    """
    looks = pixel_places(pair) + truth
    inside = ((looks > 0) & (looks < np.array(pair.moving.size) - 1)).all(-1)
    apart = np.linalg.norm(moves - truth, axis=-1)[inside & _shows_something(pair.fixed.values)]
    if not len(apart):
        return {}
    return {
        "error_median": round(float(np.median(apart)), 4), "error_mean": round(float(apart.mean()), 4),
        "error_95": round(float(np.quantile(apart, 0.95)), 4),
    }  # fmt: skip


def _shows_something(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the values of the window round a pixel are not all the same."""
    from scipy.ndimage import maximum_filter, minimum_filter

    ranges = maximum_filter(values, GROUND_WINDOW) - minimum_filter(values, GROUND_WINDOW)
    return ranges > GROUND * float(np.ptp(values))


def landmark_errors(landmarks: Landmarks, pair: Pair, moves: NDArray) -> dict[str, float]:
    """Mean distance of landmarks in the unit of the common space, before and after, and the median after.

    Before is by the places in that space: pixels of pictures, millimetres of volumes.
    """
    from scipy.ndimage import map_coordinates

    at = landmarks.fixed[:, ::-1].T
    shifts = np.stack(
        [map_coordinates(moves[..., axis], at, order=1, mode="nearest") for axis in range(moves.shape[-1])]
    )
    into = pair.moving.affine
    wanted = landmarks.moving @ into[:-1, :-1].T + into[:-1, -1]
    found = (landmarks.fixed + shifts.T) @ into[:-1, :-1].T + into[:-1, -1]
    from_fixed = pair.fixed.affine
    before = landmarks.fixed @ from_fixed[:-1, :-1].T + from_fixed[:-1, -1]
    errors = np.linalg.norm(found - wanted, axis=1)
    return {
        "n": len(errors), "before": round(float(np.linalg.norm(before - wanted, axis=1).mean()), 4),
        "after": round(float(errors.mean()), 4), "after_median": round(float(np.median(errors)), 4),
    }  # fmt: skip


def _files(data: RegisterData, found: Registered, moves: NDArray[np.float32]) -> dict[str, bytes]:
    """What the run folder gets."""
    files = {DISPLACEMENT_FILE: npy_bytes(moves), MATRIX_FILE: _matrix(data, found)}
    if data.is_volume:
        files[NIFTI_FILE] = _vectors(data, moves)
    return files


def _matrix(data: RegisterData, found: Registered) -> bytes:
    """The rigid or affine part, in the common space and between indices."""
    pair = data.pair
    matrix = found.transform.linear.matrix().detach().numpy()
    between = np.linalg.inv(pair.moving.affine) @ matrix @ pair.fixed.affine
    told = {
        "transform": found.chosen["transform"], "unit": "mm, RAS+" if data.is_volume else "pixels",
        "fixed_to_moving": matrix.tolist(), "fixed_index_to_moving_index": between.tolist(),
        "has_displacement": found.transform.displacement is not None,
    }  # fmt: skip
    return json.dumps(told, indent=1).encode()


def _vectors(data: RegisterData, moves: NDArray[np.float32]) -> bytes:
    """The displacement in millimetres of RAS+ as NIfTI [w, h, d, 1, 3]: from a voxel's place to where it looks."""
    import gzip

    pair = data.pair
    looks = (pixel_places(pair) + moves) @ pair.moving.affine[:3, :3].T + pair.moving.affine[:3, 3]
    stands = pixel_places(pair) @ pair.fixed.affine[:3, :3].T + pair.fixed.affine[:3, 3]
    vectors = (looks - stands).transpose(2, 1, 0, 3)[:, :, :, None]
    payload = bytearray(nifti_bytes(vectors, pair.fixed.affine))
    # intent_code, a short at byte 68 of NIfTI-1
    if len(payload) > 70 and int.from_bytes(payload[:4], "little") == 348:
        payload[68:70] = NIFTI_VECTOR.to_bytes(2, "little")
    return gzip.compress(bytes(payload), 6, mtime=0)


def _write(output: Path, data: RegisterData, warped: NDArray, moves: NDArray[np.float32]) -> NDArray:
    """The displacement as npy, the warped image as anything else: a PNG of a volume has its middle slice."""
    suffix = output.suffix.lower()
    if suffix == ".npy":
        write_picture(output, moves, 32)
        return moves
    if data.is_volume and suffix != ".png":
        return write_volume(output, Volume(warped, data.fixed.affine)).values
    if suffix in (".nii", ".gz"):
        slices = grey(PictureFile(warped))[None]
        return write_volume(output, Volume(slices, affine_of_spacing((1.0, 1.0, 1.0)))).values
    image = _slice(warped) if data.is_volume else warped
    depth, profile = (32, None) if data.is_volume else (data.moving.bit_depth, data.moving.icc_profile)
    shown = image[..., 0] if image.shape[2] == 1 else image
    write_picture(output, shown, depth, span=data.moving.range, icc_profile=profile)
    return image


def _mm_wide(image: Spatial) -> float | None:
    """Width of a slice in millimetres; None for a picture, and where pixels are no squares."""
    x, y = image.spacing[:2]
    return float(x) * image.size[0] if image.n_dims == 3 and abs(x - y) <= SQUARE * x else None


def _widths(pair: Pair) -> tuple[float | None, float | None, float | None]:
    """Widths in millimetres of pictures of the fixed image, of the moving one, and of both pixel by pixel."""
    wide = _mm_wide(pair.fixed)
    # of other sizes, the moving image is shown on the fixed one's pixels
    wide_moving = _mm_wide(pair.moving) if pair.moving.size == pair.fixed.size else wide
    is_same = wide is not None and wide_moving is not None and bool(np.isclose(wide, wide_moving))
    return wide, wide_moving, wide if is_same else None


def _shown(data: RegisterData, warped: NDArray, places: NDArray, jacobian: NDArray) -> list[Shown]:
    """Before and after, of volumes in the middle slice."""
    if data.is_volume:
        middle = data.pair.fixed.values.shape[0] // 2
        fixed, moved = data.pair.fixed.values[middle], warped[middle]
        same_size = data.pair.moving.values.shape == data.pair.fixed.values.shape
        before = data.pair.moving.values[middle] if same_size else moved
        flat, det = places[middle, ..., :2], jacobian[min(middle, len(jacobian) - 1)]
    else:
        fixed, before = data.pair.fixed.values, data.pair.moving.values
        moved = grey(PictureFile(warped))
        flat, det = places, jacobian
    windows = shown_range(fixed), shown_range(before)
    fixed, before, moved = unit_range(fixed), unit_range(before), unit_range(moved)
    wide, wide_moving, wide_both = _widths(data.pair)
    across = None if wide is None else wide * det.shape[1] / fixed.shape[1]
    return [
        Shown("fixed", fixed, "the fixed image", wide, windows[0]),
        Shown("moving", before, "the moving image", wide_moving, windows[1]),
        Shown("checkerboard_before", checkerboard(fixed, before), "checkerboard before", wide_both),
        Shown("checkerboard_after", checkerboard(fixed, moved), "checkerboard after: edges go on across the squares",
              wide),
        Shown("overlay_before", overlay(fixed, before), "before: fixed green, moving magenta", wide_both),
        Shown("overlay_after", overlay(fixed, moved), "after: grey where they agree", wide),
        Shown("difference_before", np.abs(fixed - before), "difference before, each on its own range", wide_both),
        Shown("difference_after", np.abs(fixed - moved), "difference after", wide),
        Shown("grid", warped_grid(flat), "straight lines of the moving image, as they lie on the fixed one", wide),
        Shown("jacobian", determinant_map(det), "det J: black half the area, white twice; red: folded", across),
    ]  # fmt: skip
