"""Posed photos in memory: what a run reads, at the size that it trains at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.backgrounds import Background, object_mask
from nerfkit.scenes.bounds import MAX_CARVING_VIEWS, SceneBounds, bounded_scene, boxed_scene, unbounded_scene
from nerfkit.scenes.cameras import Camera, project
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.photo_masks import choose_alpha, find_masks, split_alpha
from nerfkit.scenes.readers import PosedPhotos, load_photos
from nerfkit.scenes.readers.photo_store import StoredPhotos
from nerfkit.scenes.readers.photos import PhotoStore, some

__all__ = ["PhotoData", "find_bounds", "load_photo_data", "load_views"]

logger = logging.getLogger(__name__)

# points a side of a box that photos are asked for
BOX_POINTS = 5


@dataclass(frozen=True)
class PhotoData:
    """Photos of a dataset that were loaded, addressed by their index in it.

    Parameters
    ----------
    source : PosedPhotos
        The dataset as listed.
    images : dict of int to uint8 ndarray, shape (h, w, 3 or 4)
        Loaded photos by index.
    cameras : dict of int to Camera
        Their cameras at that size.
    downscale : float
        Factor between the photos' size and this one.
    masks : dict of int to bool ndarray, shape (h, w)
        Which pixels count, of photos of which some do not.
    alpha : {"background", "ignore"}
        What transparent pixels were taken for; where they are ignored the images have no alpha.
    stored : StoredPhotos, optional
        The mapped file that the images are views of; None: they are in memory.
    """

    source: PosedPhotos
    images: dict[int, np.ndarray]
    cameras: dict[int, Camera]
    downscale: float
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    alpha: str = "background"
    stored: StoredPhotos | None = None

    @property
    def c2w(self) -> np.ndarray:
        """Camera-to-world matrices [n, 4, 4] of all views of the dataset."""
        return self.source.c2w

    def split(self, name: str) -> list[int]:
        """Indices of the loaded photos of a split."""
        return [i for i in self.source.splits.get(name, []) if i in self.images]

    def image(self, index: int) -> np.ndarray:
        """Photo ``index`` [h, w, 3 or 4], to be looked at whole: of stored ones those before are let go in time."""
        if self.stored is not None:
            self.stored.note_bytes(self.images[index].nbytes)
        return self.images[index]

    def views(self, indices: Sequence[int]) -> Sequence[np.ndarray]:
        """Photos that are looked at one after the other, as :meth:`image` gives them."""
        return _Views(self, indices)

    def truth(self, index: int, background: Background) -> Tensor:
        """Photo ``index`` [h, w, 3] in [0, 1] before ``background``."""
        values = torch.tensor(self.image(index)).float() / 255
        if values.shape[2] == 3:
            return values
        color = torch.tensor(background.color or (0.0, 0.0, 0.0))
        return values[..., :3] * values[..., 3:] + color * (1 - values[..., 3:])

    def shows_object(self, index: int, background: Background) -> np.ndarray:
        """Where photo ``index`` may show the object [h, w]: what does not count may be anything."""
        shown = object_mask(self.image(index), background)
        return shown | ~self.masks[index] if index in self.masks else shown

    @property
    def n_bytes(self) -> int:
        """Size of the loaded photos; of stored ones no more is in memory than is looked at."""
        return sum(image.nbytes for image in self.images.values())


class _Views(Sequence):
    """Photos of a dataset in an order, fetched when they are asked for."""

    def __init__(self, data: PhotoData, indices: Sequence[int]) -> None:
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]  no slices
        return self.data.image(self.indices[number])


def load_photo_data(
    source: PosedPhotos, splits: Sequence[str], *, downscale: float | None, max_side: int | None, alpha: str = "auto",
    store: PhotoStore | None = None, on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> PhotoData:  # fmt: skip
    """Load the photos of some splits of a dataset, and find which of their pixels count.

    Parameters
    ----------
    source : PosedPhotos
        What :func:`nerfkit.scenes.readers.read_posed_photos` found.
    splits : sequence of str
        Of ``"train"``, ``"val"``, ``"test"``.
    downscale : float or None
        Factor by which photos are scaled down; None: so that no side is above ``max_side``.
    max_side : int or None
        Longest side in pixels when ``downscale`` is None.
    alpha : {"auto", "background", "ignore"}
        What transparent pixels mean.
    store : PhotoStore, optional
        Decode them into a file, once, that is mapped; without one they are kept in memory.
    on_photo : callable
        Called with the number of photos decoded and in all.
    """
    indices = list(dict.fromkeys(i for name in splits for i in source.splits.get(name, [])))
    if not indices:
        have = ", ".join(f"{name} {len(views)}" for name, views in source.splits.items())
        raise NerfkitError(
            f"has no photos in the split {' or '.join(splits)} (it has {have})", where=source.root,
            fix="choose another split, or list some in the dataset",
        )  # fmt: skip
    return load_views(
        source, indices, downscale=downscale, max_side=max_side, alpha=alpha, store=store, on_photo=on_photo
    )


def load_views(
    source: PosedPhotos, indices: Sequence[int], *, downscale: float | None, max_side: int | None,
    alpha: str = "auto", findings: Findings | None = None, store: PhotoStore | None = None,
    on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> PhotoData:  # fmt: skip
    """Load photos by their index; else as :func:`load_photo_data`. What is found goes to ``findings``, or is logged."""
    loaded = load_photos(source, indices, downscale, max_side, findings=findings, store=store, on_photo=on_photo)
    images = dict(zip(indices, loaded.images, strict=True))
    cameras = dict(zip(indices, loaded.cameras, strict=True))
    masks = find_masks(source, cameras, findings)
    alpha = choose_alpha(alpha, loaded.images)
    if alpha == "ignore":
        with listed_or_logged(findings, logger) as said:
            _ignore_transparent(images, masks, source, said)
    return PhotoData(source, images, cameras, loaded.downscale, masks, alpha, loaded.stored)


def _ignore_transparent(
    images: dict[int, np.ndarray], masks: dict[int, np.ndarray], source: PosedPhotos, findings: Findings
) -> None:
    """Leave the alpha of images out, and what is not opaque in their masks."""
    holed = []
    for index, image in images.items():
        images[index], opaque = split_alpha(image)
        if opaque is not None:
            masks[index] = opaque & masks[index] if index in masks else opaque
            holed.append(source.files[index])
    if holed:
        findings.add(
            "warning", f"{len(holed)} of {len(images)} photos are partly transparent, the borders of most are opaque; "
            f"what is transparent is ignored, not taken for empty space ({some(holed)})",
            where=source.root, fix="right where people or cars were cut out of a scene; for objects that were cut out "
            "of their background add --alpha background",
        )  # fmt: skip


def find_bounds(data: PhotoData, background: Background, box: Sequence[float] | None = None) -> SceneBounds:
    """Where the scene is: the visual hull before a plain background or alpha, else a box with contraction.

    A ``box`` of 6 numbers, least x, y, z and then greatest in world units, goes before.
    """
    train = data.split("train")
    if box is not None:
        return _given_bounds(data, background, box)
    if background.color is None:
        return unbounded_scene(data.c2w[train])
    # some views carve as well as all of them, and masks of large photos take memory
    train = [train[i] for i in np.unique(np.linspace(0, len(train) - 1, MAX_CARVING_VIEWS).round().astype(int))]
    masks = [data.shows_object(i, background) for i in train]
    if not any(mask.any() for mask in masks):
        raise NerfkitError(
            "every photo shows only the background: alpha is 0, or the colour is the background's, everywhere",
            where=data.source.root,
            fix="look at the photos, or give another --background",
        )
    bounds = bounded_scene(data.c2w[train], [data.cameras[i] for i in train], masks)
    if bounds.contract:
        logger.warning("the cameras look at no common point, so no box can be carved; the scene is taken as unbounded")
    return bounds


def _given_bounds(data: PhotoData, background: Background, box: Sequence[float]) -> SceneBounds:
    """Those of a box that somebody gave, if photos show any of it."""
    train, low, high = data.split("train"), np.array(box[:3]), np.array(box[3:])
    axes = [np.linspace(a, b, BOX_POINTS) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if not any(_shows(data, index, points) or _is_inside(data, index, low, high) for index in train):
        middle = ", ".join(f"{value:.3g}" for value in data.c2w[train][:, :3, 3].mean(0))
        raise NerfkitError(
            f"no photo shows any of it; the cameras' middle is ({middle}) in the frame of the poses", where="--box",
            fix="give X0,Y0,Z0,X1,Y1,Z1 in that frame, or leave it out",
        )  # fmt: skip
    return boxed_scene(data.c2w[train], box, contract=background.color is None)


def _shows(data: PhotoData, index: int, points: np.ndarray) -> bool:
    camera, c2w = data.cameras[index], data.c2w[index]
    pixels = project(camera, (points - c2w[:3, 3]) @ c2w[:3, :3])
    with np.errstate(invalid="ignore"):
        return bool(((pixels >= 0) & (pixels < (camera.width, camera.height))).all(1).any())


def _is_inside(data: PhotoData, index: int, low: np.ndarray, high: np.ndarray) -> bool:
    eye = data.c2w[index][:3, 3]
    return bool((eye >= low).all() and (eye <= high).all())
