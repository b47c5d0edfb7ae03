"""From photos or a video to a dataset with poses, stage by stage."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfkit.files import check_output_folder, prepare_output_folder, write_atomically
from nerfkit.memory import telling_memory
from nerfkit.run_lock import locked
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.colmap import read_colmap
from nerfkit.scenes.writers.transforms import transforms_json

from .features import Picture, find_features, prepare_database, read_pictures, restore_pictures
from .mapping import map_photos, write_model
from .matching import choose_matching, match_photos, pairs_of
from .outcome import Outcome, look_at_outcome, refuse_few
from .settings import PosingSettings
from .sources import check_source, gather_photos, is_video
from .work import Work

__all__ = ["process"]

logger = logging.getLogger(__name__)

# COLMAP logs what ends the process alone: what goes wrong with a photo is said by its name
COLMAP_FATAL = 3


@telling_memory("nerfkit process", "lower --max-side, or give fewer photos: --frames")
def process(
    source: str | Path, out: str | Path, settings: PosingSettings | None = None, *, link: bool = False,
    overwrite: bool = False, say: Callable[[str], None] = lambda text: None,
    on_part: Callable[[str, int, int], None] = lambda unit, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Find the poses of photos with COLMAP, on the CPU, and write them as a dataset.

    Parameters
    ----------
    source : str or Path
        A folder of photos, or a video, of which frames are chosen.
    out : str or Path
        Folder for the dataset: absent, empty, or where the same was begun before, which is gone on with.
    settings : PosingSettings, optional
    link : bool
        Links with relative paths instead of copies of the photos.
    overwrite : bool
        Begin anew where a dataset of nerfkit's is.
    say : callable
        Called with a line for a person at each stage.
    on_part : callable
        Called within a stage with what is counted, how many of it are done, and how many there are.

    Returns
    -------
    result : dict
        ``output``, ``photos`` and ``placed`` (numbers), ``left_out`` (photo to reason), ``models`` (their sizes),
        ``points`` and ``reprojection_error`` (pixels of the photos as they were looked at) of the largest.

    Raises
    ------
    NerfkitError
        No photos, poses that are there already, too few photos that got one (with advice), or a folder that is not
        free.
    MissingCapabilityError
        pycolmap is not installed.

    Notes
    -----
    What is finished of ``out`` is kept, whenever the process ends. Every random draw has its seed, and a model does not
    depend on which thread is first.
    """
    settings, source, out = settings or PosingSettings(), Path(source).expanduser(), Path(out).expanduser()
    findings = Findings()
    try:
        photos = check_source(source, findings)
        pycolmap = import_extra("pycolmap", "poses", source)
        pycolmap.logging.minloglevel = COLMAP_FATAL
        with locked(out):
            work = _begin(source, out, settings, overwrite=overwrite)
            _forget_changed(source, photos, work, say)
            return _run(pycolmap, source, photos, work, settings, link, findings, say, on_part)
    finally:
        findings.log(logger)


def _begin(source: Path, out: Path, settings: PosingSettings, *, overwrite: bool) -> Work:
    given = {"source": os.path.relpath(source.resolve(), out.resolve()), **dataclasses.asdict(settings)}
    # how few are enough, and which are compared, may change when all is done
    for name in ("min_share", "matching"):
        given.pop(name)
    work = Work(out, given)
    if overwrite or not work.resume():
        check_output_folder(out, overwrite=overwrite, keep=source, resumes=False)
        prepare_output_folder(out, overwrite=overwrite, keep=source)
        work.save()
    work.folder.mkdir(exist_ok=True)
    return work


def _forget_changed(source: Path, photos: list[Path], work: Work, say: Callable[[str], None]) -> None:
    """Begin anew where photos were added or taken away since."""
    listed = [path.relative_to(source).as_posix() for path in photos]
    before = work.done.get("listed")
    if before is not None and before != listed:
        say(f"{source}: {len(listed)} photos instead of {len(before)}: begun anew")
        work.done.clear()
        for folder in (work.folder, work.out / "images", work.out / "sparse"):
            shutil.rmtree(folder, ignore_errors=True)
        (work.out / "transforms.json").unlink(missing_ok=True)
        work.folder.mkdir()
    work.finish("listed", listed)


def _run(
    pycolmap: Any, source: Path, photos: list[Path], work: Work, settings: PosingSettings, link: bool,
    findings: Findings, say: Callable[[str], None], on_part: Callable[[str, int, int], None],
) -> dict[str, Any]:  # fmt: skip
    done = work.done

    def stage(name: str, text: str, run: Callable[[], Any]) -> Any:
        if name in done:
            say(f"{text}: done before")
            return done[name]
        say(text)
        return work.finish(name, run())

    gathered = stage(
        "photos", f"1/5  {'frames of' if is_video(source) else 'photos from'} {source}",
        lambda: gather_photos(source, photos, work, settings.frames, link=link, findings=findings, on_part=on_part),
    )  # fmt: skip
    names = gathered["names"]
    n_photos = len(names) + len(gathered["unreadable"])
    pictures = read_pictures(work, names, settings.max_side)
    if "features" not in done:
        prepare_database(pycolmap, work, pictures, settings.lens)
    unreadable = gathered["unreadable"] | stage(
        "features", f"2/5  features of {len(names)} photos, up to {settings.max_side} pixels a side",
        lambda: find_features(pycolmap, work, pictures, settings, on_part),
    )  # fmt: skip
    matching = choose_matching(settings.matching, len(names), is_video=is_video(source))
    pairs = pairs_of(matching, len(names))
    if done.get("matches") not in (None, matching):
        for later in ("matches", "models", "dataset"):
            done.pop(later, None)
    stage(
        "matches", f"3/5  {len(pairs)} pairs of photos compared ({matching})",
        lambda: match_photos(pycolmap, work, pictures, pairs, settings, on_part) or matching,
    )  # fmt: skip
    readable = [picture for picture in pictures if picture.name not in unreadable]

    def find_models() -> list[list[str]]:
        restore_pictures(work, readable)
        return map_photos(pycolmap, work, len(names), settings, on_part)

    models = stage("models", "4/5  poses, from two photos on", find_models)
    outcome = look_at_outcome(pycolmap, work, pictures, models, unreadable)
    refuse_few(outcome, n_photos, settings, matching, source, is_video=is_video(source))
    figures = stage("dataset", f"5/5  {work.out}/transforms.json", lambda: _write(pycolmap, work, pictures))
    return _result(work, outcome, n_photos, figures)


def _write(pycolmap: Any, work: Work, pictures: list[Picture]) -> dict[str, float]:
    figures = write_model(pycolmap, work, pictures)
    findings = Findings()
    posed = read_colmap(work.out, False, findings)
    assert posed is not None
    write_atomically(work.out / "transforms.json", transforms_json(posed, posed.files, {}, model="sparse/0"))
    # what is left of no use, unlike the database and the models
    shutil.rmtree(work.pictures, ignore_errors=True)
    shutil.rmtree(work.masks, ignore_errors=True)
    return figures


def _result(work: Work, outcome: Outcome, n_photos: int, figures: dict[str, float]) -> dict[str, Any]:
    return {
        "output": str(work.out), "photos": n_photos, "placed": len(outcome.placed), "left_out": outcome.left_out,
        "models": outcome.models, **figures,
    }  # fmt: skip
