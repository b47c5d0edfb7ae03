"""Which photos got no pose and why, and what to do where too few did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.photos import some

from .features import Picture
from .settings import PosingSettings
from .work import Work

__all__ = ["Outcome", "look_at_outcome", "refuse_few"]

# features below which a photo shows too little; COLMAP asks for 15 matches that agree of a pair
FEW_FEATURES = 100


@dataclass(frozen=True)
class Outcome:
    """What became of the photos.

    Parameters
    ----------
    placed : list of str
        Photos of the largest model.
    left_out : dict of str to str
        The others, and why.
    models : list of int
        Photos of each model.
    n_features : int
        Features of the median photo.
    n_partners : float
        Photos that the median photo shares enough with.
    """

    placed: list[str]
    left_out: dict[str, str]
    models: list[int]
    n_features: int
    n_partners: float


def look_at_outcome(
    pycolmap: Any, work: Work, pictures: list[Picture], models: list[list[str]], unreadable: dict[str, str]
) -> Outcome:
    """Say why photos are not in the largest model."""
    features, partners = _read(pycolmap, work)
    placed = set(models[0]) if models else set()
    model_of = {file: rank for rank, files in reversed(list(enumerate(models))) for file in files}
    left_out = dict(unreadable)
    for picture in pictures:
        file, n_found = picture.file, features.get(picture.file, 0)
        if file in placed or picture.name in unreadable:
            continue
        if file in model_of:
            why = (
                f"it belongs to another model of {len(models[model_of[file]])} photos, which shares too little with it"
            )
        elif n_found < FEW_FEATURES:
            why = f"it has {n_found} features: blurred, dark or without texture"
        elif not partners.get(file):
            why = "it shares too little with every photo it was compared with"
        else:
            near = len(partners[file] & placed)
            why = f"its pose could not be found from the {near} photos with poses that it shares something with"
        left_out[picture.name] = why
    counts = [len(partners.get(picture.file, ())) for picture in pictures]
    return Outcome(
        sorted(picture.name for picture in pictures if picture.file in placed), left_out, [len(m) for m in models],
        int(np.median([features.get(picture.file, 0) for picture in pictures])), float(np.median(counts)),
    )  # fmt: skip


def _read(pycolmap: Any, work: Work) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Features of each picture, and those that share enough with it."""
    database = pycolmap.Database.open(work.database)
    try:
        names = {image.image_id: image.name for image in database.read_all_images()}
        features = {name: database.num_keypoints_for_image(image_id) for image_id, name in names.items()}
        partners: dict[str, set[str]] = {name: set() for name in names.values()}
        for pair, n_inliers in zip(*database.read_two_view_geometry_num_inliers(), strict=True):
            if n_inliers:
                a, b = (names[image_id] for image_id in pycolmap.pair_id_to_image_pair(pair))
                partners[a].add(b)
                partners[b].add(a)
        return features, partners
    finally:
        database.close()


def refuse_few(
    outcome: Outcome, n_photos: int, settings: PosingSettings, matching: str, source: Path, *, is_video: bool
) -> None:
    """Raise a NerfkitError with advice where fewer photos have poses than are asked for."""
    n_placed = len(outcome.placed)
    if n_placed >= 3 and n_placed >= settings.min_share * n_photos:
        return
    advice = []
    if outcome.n_features < 5 * FEW_FEATURES:
        advice.append(
            f"half of the photos have fewer than {outcome.n_features + 1} features: take sharper ones, of things with "
            "texture"
        )
    if len(outcome.models) > 1:
        sizes = " and ".join(map(str, outcome.models[:3]))
        advice.append(f"they fall into models of {sizes} photos that share too little: add photos that join them")
    if matching == "sequential" and not is_video:
        advice.append("they were compared with those next in order alone: --matching exhaustive compares all")
    if is_video and settings.frames is None:
        advice.append(f"take more frames of the video: --frames {2 * n_photos} --overwrite")
    if outcome.n_partners < 4 or not advice:
        advice.append(
            "add photos from between, so that each shows at least half of what its neighbours show, and walk rather "
            "than turn on the spot"
        )
    names = list(outcome.left_out)
    raise NerfkitError(
        f"poses were found for {n_placed} of {n_photos} photos, fewer than --min-share {settings.min_share:g} asks "
        f"for; without: {some(names)} ({outcome.left_out[names[0]]})",
        where=source, fix="; ".join(advice),
    )  # fmt: skip
