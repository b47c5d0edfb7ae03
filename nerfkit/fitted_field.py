"""What a task of `nerfkit fit` made: a field of the plane, sampled at any size, or a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.fitted_result import FittedResult
from nerfkit.memory import telling_memory
from nerfkit.results import check_crop
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.workbench.held_fields import HeldField

__all__ = ["FittedField"]


class FittedField(FittedResult):
    """A picture in the weights of a field, with its run folder; :func:`nerfkit.fit` and :func:`nerfkit.load` make it.

    Examples
    --------
    >>> field = nerfkit.fit("image", "photo.png", "fitted.png")  # doctest: +SKIP
    >>> field.render(size=(2000, 2000), crop=(500, 500, 200, 100)).shape  # doctest: +SKIP
    (100, 200, 3)
    """

    options = ("size", "crop")
    example = "nerfkit render RUN --size WxH [--crop X,Y,W,H] --out FILE.png"

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

    def derivatives(self, points: NDArray[np.floating], order: int | str = 1) -> Any:
        """The field's :class:`nerfkit.scenes.observations.derivatives.Jet` at ``points`` [n, 2] (x, y) in pixels."""
        import torch

        from nerfkit.scenes.observations.derivatives import jet

        with torch.no_grad():
            at = torch.as_tensor(points, dtype=torch.float32, device=self.device)
            return jet(self.held.field, at, order)

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the picture at any size.

        Parameters
        ----------
        out : str or Path, optional
            A PNG or a TIFF, in the input's depth and with its colour profile, or an npy, which has all channels of the
            field; None: render.png in the run folder.
        on_part : callable
            Not called: a picture is one part.
        **options
            ``size`` and ``crop`` of :meth:`render`.

        Returns
        -------
        result : dict
            ``output``, ``frames`` (1), ``size``, ``crop`` and ``seconds``.
        """
        from nerfkit.workbench.task import PICTURES

        self.check_options(list(options))
        started = time.perf_counter()
        output = self.run.folder / "render.png" if out is None else Path(out)
        if output.suffix.lower() not in PICTURES:
            raise NerfkitError(
                f"a fitted picture is written as PNG, TIFF or npy, not as {output.suffix or 'a file without suffix'}",
                where=output, fix="end its name in .png, .tif or .npy",
            )  # fmt: skip
        from nerfkit.workbench.running import PROFILE_FILE, write_picture

        image, facts = self.render(**options), self.held.recipe["file"]
        if output.suffix.lower() != ".npy" and image.ndim == 3:
            # a map beside the picture, such as depth, would be taken for its alpha
            image = image[..., : facts["n_channels"]]
            image = image[..., 0] if image.shape[2] == 1 else image
        profile = self.run.folder / PROFILE_FILE
        icc_profile = profile.read_bytes() if profile.is_file() else None
        write_picture(output, image, facts["bit_depth"], span=tuple(facts["span"]), icc_profile=icc_profile)
        crop = options.get("crop")
        return {
            "output": str(output), "frames": 1, "size": [image.shape[1], image.shape[0]], "crop": crop and list(crop),
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip
