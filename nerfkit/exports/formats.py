"""Formats of `nerfkit export`, the suffixes that they have, and the options that they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.shapes.marching import check_cells

__all__ = ["FORMATS", "ExportOptions", "check_format", "default_output"]

# format -> the suffix of its file; none: a folder
FORMATS = {"ply": ".ply", "obj": ".obj", "glb": ".glb", "pointcloud": ".ply", "cameras": ".json", "depth": ""}
# names without -o
DEFAULTS = {
    "ply": "mesh.ply", "obj": "mesh.obj", "glb": "mesh.glb", "pointcloud": "points.ply", "cameras": "transforms.json",
    "depth": "depth",
}  # fmt: skip
# what a suffix means by itself
BY_SUFFIX = {".ply": "ply", ".obj": "obj", ".glb": "glb", ".json": "cameras", "": "depth"}
SURFACES = ("ply", "obj", "glb", "pointcloud")
# cells along the longest side
DEFAULT_CELLS = 256


@dataclass(frozen=True)
class ExportOptions:
    """What may be said of an export; None: not said.

    Parameters
    ----------
    size : int, optional
        Cells of a mesh, or of points that are spread evenly, along the box's longest side; 256 unless given.
    box : tuple of 6 float, optional
        Least x, y, z and greatest x, y, z of the part that is exported, in the input's frame and scale.
    keeps_floaters : bool
        Whether small parts, and points that one view alone has, are kept.
    unit : float, optional
        Length in metres of the input's unit, for depth in millimetres; 1 unless given.
    """

    size: int | None = None
    box: tuple[float, float, float, float, float, float] | None = None
    keeps_floaters: bool = False
    unit: float | None = None

    @property
    def n_cells(self) -> int:
        """Cells along the longest side."""
        return DEFAULT_CELLS if self.size is None else self.size

    def given(self) -> dict[str, tuple[str, ...]]:
        """Names of the options that are given, and the formats that take them."""
        taken = {"--size": SURFACES, "--box": SURFACES, "--keep-floaters": SURFACES, "--unit": ("depth",)}
        values = (self.size, self.box, self.keeps_floaters or None, self.unit)
        return {name: taken[name] for name, value in zip(taken, values, strict=True) if value is not None}


def default_output(format: str | None) -> str:
    """Name in the run folder of an export without one; a mesh unless the format says other."""
    return DEFAULTS.get(format or "ply", "")


def check_format(out: Path, format: str | None, options: ExportOptions) -> str:
    """The format of ``out``: the one given, or what its suffix means.

    Raises
    ------
    NerfkitError
        Format and suffix do not belong together, or an option is for another format or out of range.
    """
    suffix = out.suffix.lower()
    if format is None:
        if suffix not in BY_SUFFIX:
            raise NerfkitError(
                f"nothing is exported as {suffix}", where=out,
                fix="end its name in .ply, .obj or .glb (mesh), .json (cameras), or in nothing (a folder of depth)",
            )  # fmt: skip
        format = BY_SUFFIX[suffix]
    elif format not in FORMATS:
        raise NerfkitError(
            f"must be one of {', '.join(FORMATS)}; got {format!r}", where="--format", fix="give one of these"
        )
    elif suffix != FORMATS[format]:
        wanted = f"is a {FORMATS[format]} file" if FORMATS[format] else "is a folder, a name without suffix"
        raise NerfkitError(
            f"--format {format} {wanted}; got {suffix or 'a name without suffix'}", where=out,
            fix=f"give -o {out.with_suffix(FORMATS[format])}, or leave --format out",
        )  # fmt: skip
    wrong = {name: formats for name, formats in options.given().items() if format not in formats}
    if wrong:
        name, formats = next(iter(wrong.items()))
        raise NerfkitError(f"is for {', '.join(formats)}; this is {format}", where=name, fix=f"leave {name} out")
    check_cells(options.n_cells)
    if FORMATS[format] and out.is_dir():
        raise NerfkitError(f"is a folder; {format} is a file", where=out, fix="give the name of a file")
    if options.unit is not None and not options.unit > 0:
        raise NerfkitError(
            f"must be above 0, metres in one unit of the poses; got {options.unit:g}", where="--unit",
            fix="1 where poses are in metres, 0.001 where they are in millimetres",
        )  # fmt: skip
    return format
