"""An image that was made of many frames: rendered at any size, or a part of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nerfkit.files import write_atomically
from nerfkit.memory import telling_memory
from nerfkit.picture_result import PictureResult
from nerfkit.results import check_crop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.scenes.fields.image_field import ImageField
    from nerfkit.superresolution.settings import SuperresSettings

__all__ = ["SuperresolvedImage"]


class SuperresolvedImage(PictureResult):
    """An image in the weights of networks, with its run folder; :func:`nerfkit.superres` and :func:`nerfkit.load`
    make it.

    Examples
    --------
    >>> image = nerfkit.load("sharp")  # the run folder beside sharp.png  # doctest: +SKIP
    >>> image.render(size=(2000, 2000)).shape  # doctest: +SKIP
    (2000, 2000, 3)
    >>> image.write("part.tif", size=(2000, 2000), crop=(500, 500, 200, 100))["size"]  # doctest: +SKIP
    [200, 100]
    """

    suffixes = (".png", ".tif", ".tiff")
    called, kinds, endings = "a super-resolved image", "PNG or TIFF", ".png or .tif"

    @cached_property
    def settings(self) -> SuperresSettings:
        """The settings that it was made with, and what followed from the frames."""
        from nerfkit.superresolution.runs import read_settings

        return read_settings(self.run)

    @cached_property
    def field(self) -> ImageField:
        """The networks, or the solved image that was kept in their place; read when first asked for."""
        from nerfkit.superresolution.runs import load_field

        return load_field(self.run).to(self.device)

    @telling_memory("nerfkit render", "lower --size, or render a part of it: --crop X,Y,W,H")
    def render(
        self, *, size: tuple[int, int] | None = None, crop: tuple[int, int, int, int] | None = None
    ) -> NDArray[np.float32]:  # fmt: skip
        """The image at any size.

        Parameters
        ----------
        size : (int, int), optional
            Width and height of the whole image in pixels; None: the size that it was made for.
        crop : (x, y, width, height), optional
            A part of it, in its pixels.

        Returns
        -------
        image : ndarray of float32, shape (h, w) or (h, w, 2 to 4)
            As files hold it, in [0, 1] but for floats; the last of 2 or 4 channels is alpha.

        Examples
        --------
        >>> image.render(crop=(0, 0, 64, 64)).shape  # doctest: +SKIP
        (64, 64)
        """
        from nerfkit.scenes.transfer import Transfer
        from nerfkit.superresolution.rendering import render_image
        from nerfkit.superresolution.settings import plan_grids

        settings = self.settings
        width, height = size or settings.output_size
        if crop is not None:
            check_crop(crop, (width, height))
        transfer = Transfer(settings.transfer, settings.n_channels, settings.value_range)
        cells = plan_grids(settings.scale, settings.frame_size).output
        return render_image(self.field, transfer, (width, height), cells, crop)

    def write_image(self, output: Path, image: NDArray[np.float32], icc_profile: bytes | None) -> None:
        """Write what :meth:`render` gave."""
        from nerfkit.picture_files import picture_bytes

        write_atomically(output, picture_bytes(image, output.suffix.lower(), self.settings.bit_depth, icc_profile))

    def report(self) -> Path:
        """Write report.html in the run folder anew, and give its path.

        Examples
        --------
        >>> webbrowser.open(str(image.report()))  # doctest: +SKIP
        """
        from nerfkit.report import superres_report

        return superres_report(self.run.folder)

    def picture(self) -> NDArray[np.uint8] | None:
        """The picture that was made, or result.png of the run folder where that is no PNG."""
        from nerfkit.report.media import load_picture

        made = self.run.folder / str(self.run.read_figures().get("output", ""))
        found = load_picture(made if made.suffix == ".png" else self.run.folder / "result.png", "")
        return None if found is None else found.pixels

    def main_figures(self) -> dict[str, str]:
        """Size and scale, and what is known of its quality."""
        figures = {"size": "{} x {} pixels, {:.3g}x".format(*self.settings.output_size, self.settings.scale)}
        names = {"holdout_psnr": "held-out pixels", "psnr": "PSNR", "psnr_interior": "PSNR, interior"}
        found = {name: self.figures.get(key) for key, name in names.items()}
        return figures | {name: f"{value:.2f} dB" for name, value in found.items() if value is not None}
