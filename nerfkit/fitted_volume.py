"""What the task `volume` made: voxels with their place in space, sampled at any spacing, or a part of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.fitted_result import FittedResult
from nerfkit.memory import telling_memory
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.scenes.volumes import Volume

__all__ = ["FittedVolume"]

# voxels that are written at most: 1024 ** 3
MAX_VOXELS = 2**30


class FittedVolume(FittedResult):
    """A volume in millimetres, with its run folder; :func:`nerfkit.fit` and :func:`nerfkit.load` make it.

    Examples
    --------
    >>> volume = nerfkit.fit("volume", ["axial.nii.gz", "coronal.nii.gz"], "fused.nii.gz")  # doctest: +SKIP
    >>> volume.render(spacing=2.0).affine  # doctest: +SKIP
    """

    options = ("spacing", "crop")
    example = "nerfkit render RUN [--spacing MM] [--crop X,Y,Z,W,H,D] --out FILE.nii.gz"

    @cached_property
    def volume(self) -> Volume:
        """On the grid that it was reconstructed on; read when first asked for."""
        from nerfkit.workbench.volumes.held_volume import load_held_volume

        return load_held_volume(self.run).volume

    @telling_memory("nerfkit render", "give a greater --spacing, or render a part of it: --crop X,Y,Z,W,H,D")
    def render(
        self, *, spacing: float | None = None, crop: tuple[int, int, int, int, int, int] | None = None
    ) -> Volume:  # fmt: skip
        """The volume at any spacing, in the unit of the input.

        Parameters
        ----------
        spacing : float, optional
            Side of a voxel in mm; None: as it was reconstructed. Cubic between voxels; where it is coarser, averages.
        crop : (i, j, k, width, height, depth), optional
            A part of it, in its voxels at that spacing.
        """
        from nerfkit.scenes.voxel_grid import VoxelGrid
        from nerfkit.workbench.volumes.interpolated import resampled

        grid = VoxelGrid(self.volume.shape, self.volume.affine)
        if spacing is not None:
            if not 0 < spacing < float("inf"):
                raise NerfkitError(f"must be above 0 mm; got {spacing}", where="--spacing", fix="for example 1.0")
            grid = grid.resampled(spacing)
        if crop is not None:
            _check_crop(crop, grid.size)
            grid = grid.part(crop[:3], crop[3:])
        if (n := grid.size[0] * grid.size[1] * grid.size[2]) > MAX_VOXELS:
            raise NerfkitError(
                f"{n:,} voxels are more than {MAX_VOXELS:,}", where="--spacing", fix="give a greater one, or a --crop"
            )
        return resampled(self.volume, grid)

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the volume at any spacing, a part of it, or one slice as a picture.

        Parameters
        ----------
        out : str or Path, optional
            NIfTI (.nii.gz, .nii), TIFF stack or npy; a PNG where one side of ``crop`` is 1; None: render.nii.gz in the
            run folder.
        on_part : callable
            Not called: a volume is one part.
        **options
            ``spacing`` and ``crop`` of :meth:`render`.

        Returns
        -------
        result : dict
            ``output``, ``frames`` (1), ``size`` [w, h, d], ``spacing`` [x, y, z] mm, ``crop`` and ``seconds``.
        """
        from nerfkit.volume_files import check_volume_name, write_volume

        self.check_options(list(options))
        started = time.perf_counter()
        output = self.run.folder / "render.nii.gz" if out is None else Path(out)
        is_picture = output.suffix.lower() == ".png"
        if not is_picture:
            check_volume_name(output)
        found = self.render(**options)
        if is_picture:
            self._write_slice(output, found)
        else:
            write_volume(output, found)
        crop, (depth, height, width) = options.get("crop"), found.shape
        return {
            "output": str(output), "frames": 1, "size": [width, height, depth],
            "spacing": [float(f"{side:.6g}") for side in found.spacing], "crop": crop and list(crop),
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip

    def _write_slice(self, output: Path, volume: Volume) -> None:
        """One slice as a picture, black to white over the range of the whole volume."""
        from nerfkit.files import write_atomically
        from nerfkit.picture_files import picture_bytes

        if 1 not in volume.shape:
            raise NerfkitError(
                "{2}x{1}x{0} voxels are no picture".format(*volume.shape), where=output,
                fix="give one slice, such as --crop 0,0,20,WIDTH,HEIGHT,1; or end its name in .nii.gz",
            )  # fmt: skip
        low, high = self.volume.range
        pixels = volume.values.squeeze(volume.shape.index(1))
        write_atomically(output, picture_bytes((pixels - low) / (high - low), ".png", 16))


def _check_crop(crop: tuple[int, ...], size: tuple[int, int, int]) -> None:
    """Raise NerfkitError unless the part lies within a volume of ``size``, voxels."""
    if len(crop) != 6:
        raise NerfkitError(
            f"of a volume six numbers are wanted; got {len(crop)}", where="--crop", fix="X,Y,Z,WIDTH,HEIGHT,DEPTH"
        )
    if any(n < 1 or at < 0 or at + n > side for at, n, side in zip(crop[:3], crop[3:], size, strict=True)):
        raise NerfkitError(
            f"the part {','.join(map(str, crop))} is not within the volume of {'x'.join(map(str, size))} voxels",
            where="--crop", fix="i,j,k,width,height,depth in voxels of the whole volume at its --spacing",
        )  # fmt: skip
