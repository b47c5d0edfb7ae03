"""Features of every photo into COLMAP's database (SIFT: Lowe, IJCV 2004)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfkit.cpu import usable_cores
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.photos import area_resize, map_in_threads, read_photo

from .settings import PosingSettings
from .work import Work

__all__ = ["Picture", "find_features", "prepare_database", "read_pictures", "restore_pictures"]

# COLMAP's models of the lenses
MODELS = {"perspective": "OPENCV", "fisheye": "OPENCV_FISHEYE"}
# of a camera that took fewer photos than this less is asked: one focal length and one coefficient
FEW_MODELS, FEW_PHOTOS = {"perspective": "SIMPLE_RADIAL", "fisheye": "SIMPLE_RADIAL_FISHEYE"}, 6
# focal length in units of the longer side where nothing says it, COLMAP's own
USUAL_FOCAL = 1.2
# photos that are prepared and looked through at once
N_AT_ONCE = 8
# of prepared photos, without subsampling
QUALITY = 95
# diagonal of film of 36 x 24 mm, whose focal length EXIF tells
FILM_DIAGONAL = float(np.hypot(36, 24))
# EXIF: the block of the exposure, make, model, focal length in mm, and that of film of 35 mm
EXPOSURE_IFD, MAKE, MODEL, FOCAL, FILM_FOCAL = 0x8769, 0x010F, 0x0110, 0x920A, 0xA405


@dataclass(frozen=True)
class Picture:
    """A photo as features are looked for in it.

    Parameters
    ----------
    name : str
        Of the photo, in images/.
    file : str
        Of the picture, in the folder of pictures; COLMAP's name for it.
    size, full_size : (int, int)
        Width and height of the picture and of the photo.
    camera : tuple
        What tells its camera from others: size, and what EXIF says of it.
    film_focal : float
        Focal length of film of 35 mm in mm; 0: unknown.
    """

    name: str
    file: str
    size: tuple[int, int]
    full_size: tuple[int, int]
    camera: tuple[Any, ...]
    film_focal: float

    @property
    def focal(self) -> float:
        """Focal length in pixels of the picture, as far as it is known."""
        if self.film_focal > 0:
            return self.film_focal * float(np.hypot(*self.size)) / FILM_DIAGONAL
        return USUAL_FOCAL * max(self.size)


def read_pictures(work: Work, names: list[str], max_side: int) -> list[Picture]:
    """What the headers of photos in images/ say."""

    def read(item: tuple[int, str]) -> Picture:
        index, name = item
        with Image.open(work.out / "images" / name) as image:
            size, exif = image.size, image.getexif()
        exposure = exif.get_ifd(EXPOSURE_IFD)
        film_focal = _number(exposure.get(FILM_FOCAL))
        said = (str(exif.get(MAKE)), str(exif.get(MODEL)), _number(exposure.get(FOCAL)), film_focal)
        factor = max(1.0, max(size) / max_side)
        small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
        return Picture(name, f"{index:06d}.jpg", small, size, (size, *said), film_focal)

    return map_in_threads(read, list(enumerate(names)))


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if np.isfinite(number) else 0.0


def prepare_database(pycolmap: Any, work: Work, pictures: list[Picture], lens: str) -> None:
    """List the pictures and their cameras, in order; numbers that COLMAP gives itself depend on which thread is first.

    A database that lists them is left as it is.
    """
    work.pictures.mkdir(parents=True, exist_ok=True)
    database = pycolmap.Database.open(work.database)
    try:
        if database.num_images() == len(pictures):
            return
        database.clear_all_tables()
        counts = Counter(picture.camera for picture in pictures)
        ids: dict[tuple, tuple[int, int]] = {}
        with pycolmap.DatabaseTransaction(database):
            for picture in pictures:
                if picture.camera not in ids:
                    models = FEW_MODELS if counts[picture.camera] < FEW_PHOTOS else MODELS
                    ids[picture.camera] = _add_camera(pycolmap, database, picture, models[lens])
                _add_image(pycolmap, database, picture, *ids[picture.camera])
    finally:
        database.close()


def _add_camera(pycolmap: Any, database: Any, picture: Picture, model: str) -> tuple[int, int]:
    camera = pycolmap.Camera.create_from_model_name(0, model, picture.focal, *picture.size)
    camera.has_prior_focal_length = picture.film_focal > 0
    camera.camera_id = database.write_camera(camera)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(camera.sensor_id)
    return camera.camera_id, database.write_rig(rig)


def _add_image(pycolmap: Any, database: Any, picture: Picture, camera_id: int, rig_id: int) -> None:
    image = pycolmap.Image()
    image.name, image.camera_id = picture.file, camera_id
    image.image_id = database.write_image(image)
    frame = pycolmap.Frame()
    frame.rig_id = rig_id
    frame.add_data_id(image.data_id)
    database.write_frame(frame)


def find_features(
    pycolmap: Any, work: Work, pictures: list[Picture], settings: PosingSettings,
    on_part: Callable[[str, int, int], None],
) -> dict[str, str]:  # fmt: skip
    """Find the features of pictures that have none yet; what is wrong with photos that cannot be decoded, by name."""
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu, options.num_threads = False, usable_cores()
    options.max_image_size, options.sift.max_num_features = settings.max_side, settings.max_features
    unreadable: dict[str, str] = {}

    def prepare(picture: Picture) -> Picture | None:
        try:
            _prepare(work, picture)
        except NerfkitError as error:
            unreadable[picture.name] = error.what
            return None
        return picture

    for start in range(0, len(pictures), N_AT_ONCE):
        batch = pictures[start : start + N_AT_ONCE]
        ready = [picture for picture in map_in_threads(prepare, _without_features(pycolmap, work, batch)) if picture]
        for is_masked in (False, True):
            own = [picture.file for picture in ready if _mask(work, picture).is_file() == is_masked]
            reader = pycolmap.ImageReaderOptions()
            if is_masked:
                reader.mask_path = work.masks
            if own:
                pycolmap.extract_features(
                    work.database, work.pictures, image_names=own, camera_mode=pycolmap.CameraMode.SINGLE,
                    reader_options=reader, extraction_options=options,
                )  # fmt: skip
        on_part("photos", start + len(batch), len(pictures))
    return unreadable


def restore_pictures(work: Work, pictures: list[Picture]) -> None:
    """Have the pictures, which are removed when all is done: mapping takes the colours of points from them."""
    work.pictures.mkdir(parents=True, exist_ok=True)
    absent = [picture for picture in pictures if not (work.pictures / picture.file).is_file()]
    map_in_threads(lambda picture: _prepare(work, picture), absent)


def _without_features(pycolmap: Any, work: Work, batch: list[Picture]) -> list[Picture]:
    database = pycolmap.Database.open(work.database)
    try:
        ids = [database.read_image_with_name(picture.file).image_id for picture in batch]
        return [picture for picture, at in zip(batch, ids, strict=True) if not database.exists_descriptors(at)]
    finally:
        database.close()


def _prepare(work: Work, picture: Picture) -> None:
    """A photo scaled down by area; where it is transparent there is nothing to be found."""
    pixels = area_resize(read_photo(work.out / "images" / picture.name), *picture.size)
    path = work.pictures / picture.file
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        work.masks.mkdir(parents=True, exist_ok=True)
        Image.fromarray(alpha).save(_mask(work, picture))
        pixels = np.where(alpha[..., None] > 0, pixels[..., :3], 0).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=QUALITY, subsampling=0)


def _mask(work: Work, picture: Picture) -> Path:
    return work.masks / f"{picture.file}.png"
