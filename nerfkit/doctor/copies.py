"""Photos that are copies of one another: one that is trained on tells the one that is held out."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from nerfkit.doctor.findings import Report
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.readers.photos import some

__all__ = ["check_copies", "find_copies", "held_out_copies"]


def find_copies(photos: PosedPhotos) -> list[list[int]]:
    """Indices of photos whose files hold the same bytes, in groups; a file that is listed twice is in one as well."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, file in enumerate(photos.files):
        by_size[(photos.root / file).stat().st_size].append(index)
    groups: dict[bytes, list[int]] = defaultdict(list)
    for indices in by_size.values():
        # of photos of one size of file alone the bytes are looked at
        for index in indices if len(indices) > 1 else []:
            groups[hashlib.blake2b((photos.root / photos.files[index]).read_bytes()).digest()].append(index)
    return [group for group in groups.values() if len(group) > 1]


def held_out_copies(photos: PosedPhotos) -> list[tuple[int, int]]:
    """Pairs of photos, one to train on and one held out, that are copies."""
    train, held = set(photos.splits["train"]), {*photos.splits["val"], *photos.splits["test"]}
    return [
        (mine, theirs) for group in find_copies(photos) for mine in group for theirs in group
        if mine in train and theirs in held
    ]  # fmt: skip


def check_copies(photos: PosedPhotos, report: Report) -> None:
    """Note photos that are trained on and held out at once."""
    pairs = [f"{photos.files[a]} = {photos.files[b]}" for a, b in held_out_copies(photos)]
    if pairs:
        report.add(
            "warning", f"{len(pairs)} photos are trained on and held out at once, so that evaluation says too much: "
            f"{some(pairs)}", where=photos.root, fix="take them out of the training views (--fix does)",
        )  # fmt: skip
