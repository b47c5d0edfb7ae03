"""The page of the demonstration: its three parts."""

from __future__ import annotations

from pathlib import Path

from nerfkit.report.blocks import Block, Heading, Steps
from nerfkit.report.findings import find_videos, settings_and_versions
from nerfkit.report.fit_page import fit_blocks
from nerfkit.report.media import natural
from nerfkit.report.page import write_report
from nerfkit.report.superres_page import superres_blocks
from nerfkit.report.train_page import train_blocks

__all__ = ["demo_report"]

NEXT_STEPS = (
    ("A scene from photos of your own, posed by COLMAP, nerfstudio, instant-ngp or Blender",
     "nerfkit train FOLDER --seconds 300 --out RUN"),
    ("Compare it with photos that were held out", "nerfkit eval RUN"),
    ("Film it", "nerfkit render RUN --path orbit --out orbit.mp4"),
    ("One sharp image from a folder of frames, or a video", "nerfkit superres FRAMES -o sharp.png --scale 4"),
    ("A picture of yours in a field", "nerfkit fit image PICTURE -o fitted.png"),
)  # fmt: skip


def demo_report(out: Path) -> Path:
    """Write OUT/report.html from what the demonstration made.

    Parameters
    ----------
    out : Path
        Looked for in it: ``run/`` (what :func:`~nerfkit.report.train_page.train_report` looks for), ``*.mp4``, and,
        for the second part, every folder directly in it that has a ``registered.csv``, in natural order (what
        :func:`~nerfkit.report.superres_page.superres_report` looks for), and ``fields/`` (what
        :func:`~nerfkit.report.fit_page.fit_report` looks for). A part that is absent is left out.

    Returns
    -------
    path : Path

    Raises
    ------
    NerfkitError
        It cannot be written.
    """
    from nerfkit.runs import Run  # loads torch

    out = Path(out)
    blocks: list[Block] = []
    run = out / "run"
    if run.is_dir():
        note = "A radiance field, trained on rendered photos with known poses and judged on views that it has not seen."
        blocks += [Heading("Posed photos to new views", note), *train_blocks(Run(run), find_videos(out))]
        blocks += settings_and_versions(run)
    fused = sorted((path.parent for path in out.glob("*/registered.csv")), key=natural)
    for folder in fused:
        note = "Many frames, each shifted by a part of a pixel and blurred by the sensor, fused into one image."
        title = "Frames to a sharp image" + (f": {folder.name}" if len(fused) > 1 else "")
        blocks += [Heading(title, note), *superres_blocks(folder), *settings_and_versions(folder)]
    if (out / "fields").is_dir():
        note = "One picture in several fields of as many parameters, at 1, 10, 100, ... iterations."
        blocks += [Heading("Fields side by side", note), *fit_blocks(out / "fields")]
        blocks += settings_and_versions(out / "fields")
    blocks += [Heading("With data of your own"), Steps("", NEXT_STEPS)]
    return write_report(
        out / "report.html", "nerfkit: the demonstration", blocks, subtitle="All of it was made on this machine."
    )
