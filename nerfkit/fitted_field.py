"""What a task of `nerfkit fit` made: a field of the plane, sampled at any size, or a part of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.fitted_result import FittedResult
from nerfkit.memory import telling_memory
from nerfkit.picture_result import PictureResult
from nerfkit.results import check_crop
from nerfkit.workbench.task import PICTURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.workbench.held_fields import HeldField

__all__ = ["FittedField"]


class FittedField(FittedResult, PictureResult):
    """A picture in the weights of a field, with its run folder; :func:`nerfkit.fit` and :func:`nerfkit.load` make it.

    Examples
    --------
    >>> field = nerfkit.fit("image", "photo.png", "fitted.png")  # doctest: +SKIP
    >>> field.render(size=(2000, 2000), crop=(500, 500, 200, 100)).shape  # doctest: +SKIP
    (100, 200, 3)
    """

    suffixes = PICTURES
    called, kinds, endings = "a fitted picture", "PNG, TIFF or npy", ".png, .tif or .npy"

    @cached_property
    def held(self) -> HeldField:
        """The field; read when first asked for."""
        from nerfkit.workbench.held_fields import load_held_field

        return load_held_field(self.run, self.device)

    @telling_memory("nerfkit render", "lower --size, or render a part of it: --crop X,Y,W,H")
    def render(
        self, *, size: tuple[int, int] | None = None, crop: tuple[int, int, int, int] | None = None
    ) -> NDArray[np.float32]:  # fmt: skip
        """Values [h, w] or [h, w, c] at any size, in the unit of the input.

        Parameters
        ----------
        size : (int, int), optional
            Width and height of the whole in pixels; None: as the input.
        crop : (x, y, width, height), optional
            A part of it, in its pixels.
        """
        from nerfkit.workbench.regression import sample_picture

        recipe = self.held.recipe
        extent, origin = tuple(recipe["size"]), tuple(recipe.get("origin", (0.0, 0.0)))
        width, height = size or recipe.get("pixels", extent)
        if crop is not None:
            check_crop(crop, (width, height))
        values = sample_picture(self.held.field, (width, height), extent, crop, origin).numpy()
        return values[..., 0] if values.shape[2] == 1 else values

    @telling_memory("derivatives", "ask at fewer points at once")
    def derivatives(self, points: NDArray[np.floating], order: int | str = 1) -> Any:
        """The field's :class:`nerfkit.scenes.observations.derivatives.Jet` at ``points`` [n, 2] (x, y) in pixels."""
        import torch

        from nerfkit.scenes.observations.derivatives import jet

        with torch.no_grad():
            at = torch.as_tensor(points, dtype=torch.float32, device=self.device)
            return jet(self.held.field, at, order)

    def write_image(self, output: Path, image: NDArray[np.float32], icc_profile: bytes | None) -> None:
        """Write what :meth:`render` gave; an npy has all channels of the field."""
        from nerfkit.workbench.running import write_picture

        facts = self.held.recipe["file"]
        if output.suffix.lower() != ".npy" and image.ndim == 3:
            # a map beside the picture, such as depth, would be taken for its alpha
            image = image[..., : facts["n_channels"]]
            image = image[..., 0] if image.shape[2] == 1 else image
        write_picture(output, image, facts["bit_depth"], span=tuple(facts["span"]), icc_profile=icc_profile)
