"""Models out of matches by COLMAP's incremental mapping, and the dataset of the largest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from nerfkit.cpu import usable_cores
from nerfkit.scenes.poses import focus_point, mean_up, normalize
from nerfkit.scenes.readers.colmap import FLIP_YZ
from nerfkit.scenes.writing import move_into_place

from .features import Picture
from .settings import PosingSettings
from .work import Work

__all__ = ["map_photos", "write_model"]

# photos of the smallest model that is kept, for the report
SMALLEST_MODEL = 3


def map_photos(
    pycolmap: Any, work: Work, n_photos: int, settings: PosingSettings, on_part: Callable[[str, int, int], None]
) -> list[list[str]]:
    """Find models; the files of the pictures that each of them has, the largest model first.

    Models lie in folders of ``work.models``, numbered in this order.
    """
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.min_model_size = usable_cores(), SMALLEST_MODEL
    for part in (options, options.mapper, options.triangulation):
        part.random_seed = settings.seed
    found = work.folder / "found"
    for folder in (found, work.models):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    n_placed = 2

    def placed() -> None:
        nonlocal n_placed
        # models that are begun and given up count as well
        n_placed += 1
        on_part("photos", min(n_placed, n_photos), n_photos)

    models = pycolmap.incremental_mapping(
        work.database, work.pictures, found, options=options, next_image_callback=placed
    )
    # of models of one size the first that was found
    order = sorted(models, key=lambda number: -models[number].num_reg_images())
    # COLMAP begins models anew from photos that a model has already; such a one says nothing more
    order = [at for rank, at in enumerate(order) if not any(_within(models[at], models[o]) for o in order[:rank])]
    for rank, number in enumerate(order):
        (found / str(number)).rename(work.models / str(rank))
    shutil.rmtree(found)
    return [_files(models[number]) for number in order]


def _within(model: Any, other: Any) -> bool:
    return set(_files(model)) <= set(_files(other))


def _files(model: Any) -> list[str]:
    return sorted(model.images[image_id].name for image_id in model.reg_image_ids())


def write_model(pycolmap: Any, work: Work, pictures: list[Picture]) -> dict[str, float]:
    """The largest model for the photos at full size, upright round the origin, into sparse/0; its figures."""
    model = pycolmap.Reconstruction(work.models / "0")
    figures = {
        "points": model.num_points3D(), "reprojection_error": round(float(model.compute_mean_reprojection_error()), 3)
    }  # fmt: skip
    by_file = {picture.file: picture for picture in pictures}
    rescaled: set[int] = set()
    for image in model.images.values():
        picture = by_file[image.name]
        image.name = picture.name
        _rescale(image, picture)
        if image.camera_id not in rescaled:
            model.cameras[image.camera_id].rescale(*picture.full_size)
            rescaled.add(image.camera_id)
    model.transform(_upright(pycolmap, model))
    target, temporary = work.out / "sparse" / "0", work.folder / "sparse"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    temporary.mkdir(parents=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    model.write_binary(temporary)
    move_into_place(temporary, target)
    return figures


def _rescale(image: Any, picture: Picture) -> None:
    """Bring the points of a picture to the photo's size."""
    factor = np.array(picture.full_size) / np.array(picture.size)
    for point in image.points2D:
        point.xy = point.xy * factor


def _upright(pycolmap: Any, model: Any) -> Any:
    """The rigid motion that turns what the cameras agree is up to +Z, and moves what they look at to the origin."""
    images = [model.images[image_id] for image_id in model.reg_image_ids()]
    w2c = np.stack([np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]) for image in images])
    c2w = np.linalg.inv(w2c) @ FLIP_YZ
    up = mean_up(c2w)
    # any axis across will do: the one of the world's that is most so
    right = normalize(np.cross(np.eye(3)[np.abs(up).argmin()], up))
    turn = np.stack([right, np.cross(up, right), up])
    try:
        centre = focus_point(c2w)
    except ValueError:
        centre = c2w[:, :3, 3].mean(0)
    return pycolmap.Sim3d(1.0, pycolmap.Rotation3d(turn), -turn @ centre)
