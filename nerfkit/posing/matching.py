"""Which photos are compared, and what they have in common: into COLMAP's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nerfkit.cpu import usable_cores
from nerfkit.scenes.writing import write_atomically

from .features import Picture
from .settings import PosingSettings
from .work import Work

__all__ = ["choose_matching", "match_photos", "pairs_of"]

# photos up to which each is compared with each; that takes about 0.3 s of a core for each of n (n - 1) / 2 pairs
MOST_EXHAUSTIVE = 60
# photos after each one that it is compared with, and then those 2, 4, 8, ... after it
OVERLAP = 10
# of a sequence every so many are compared with one another, so that a walk round closes
KEY_STEP = 10
# pairs that are compared in one go: what is done of them before the command is stopped is kept
N_AT_ONCE = 64


def choose_matching(matching: str, n_photos: int, *, is_video: bool) -> str:
    """How photos are compared.

    Examples
    --------
    >>> choose_matching("auto", 50, is_video=False), choose_matching("auto", 50, is_video=True)
    ('exhaustive', 'sequential')
    """
    if matching != "auto":
        return matching
    return "sequential" if is_video or n_photos > MOST_EXHAUSTIVE else "exhaustive"


def pairs_of(matching: str, n_photos: int) -> list[tuple[int, int]]:
    """Pairs of indices that are compared, the lower first.

    Examples
    --------
    >>> len(pairs_of("exhaustive", 50)), len(pairs_of("sequential", 50)), (0, 40) in pairs_of("sequential", 50)
    (1225, 503, True)
    """
    if matching == "exhaustive":
        return [(a, b) for a in range(n_photos) for b in range(a + 1, n_photos)]
    return [(a, b) for a in range(n_photos) for b in sorted(_after(a, n_photos))]


def _after(index: int, n_photos: int) -> set[int]:
    near = set(range(index + 1, min(index + OVERLAP + 1, n_photos)))
    powers = {index + 2**power for power in range(n_photos.bit_length()) if index + 2**power < n_photos}
    keys = set() if index % KEY_STEP else set(range(index + KEY_STEP, n_photos, KEY_STEP))
    return near | powers | keys


def match_photos(
    pycolmap: Any, work: Work, pictures: list[Picture], pairs: list[tuple[int, int]], settings: PosingSettings,
    on_part: Callable[[str, int, int], None],
) -> None:  # fmt: skip
    """Compare the pairs that have not been compared yet, and find which matches one rigid scene explains."""
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu, matching.num_threads = False, usable_cores()
    verification = pycolmap.TwoViewGeometryOptions()
    # COLMAP takes a negative seed for the time of day
    verification.ransac.random_seed = settings.seed
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = work.folder / "pairs.txt"
    left = list(_left(pycolmap, work, pictures, pairs))
    n_done = len(pairs) - len(left)
    for start in range(0, len(left), N_AT_ONCE):
        batch = left[start : start + N_AT_ONCE]
        lines = "\n".join(f"{pictures[a].file} {pictures[b].file}" for a, b in batch)
        write_atomically(Path(pairing.match_list_path), lines.encode())
        pycolmap.match_image_pairs(
            work.database, matching_options=matching, pairing_options=pairing, verification_options=verification
        )
        on_part("pairs", n_done + start + len(batch), len(pairs))


def _left(
    pycolmap: Any, work: Work, pictures: list[Picture], pairs: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:  # fmt: skip
    database = pycolmap.Database.open(work.database)
    try:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        for a, b in pairs:
            if not database.exists_two_view_geometry(ids[pictures[a].file], ids[pictures[b].file]):
                yield a, b
    finally:
        database.close()
