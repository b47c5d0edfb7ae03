"""A picture in an .nkc file, which `nerfkit fit compress` wrote: decoded, and written as others can read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CompressedPicture"]


class CompressedPicture:
    """What an .nkc file holds; :func:`nerfkit.load` makes it.

    Parameters
    ----------
    path : Path
        The file.

    Examples
    --------
    >>> nerfkit.load("photo.nkc").pixels.shape  # doctest: +SKIP
    (512, 768, 3)
    """

    # as nerfkit.results.Result has it
    counts_cells = is_shared = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels [h, w] or [h, w, 3]."""
        from nerfkit.workbench.compression.codec import decode

        try:
            return decode(self.path.read_bytes())
        except NerfkitError as error:
            raise NerfkitError(error.what, where=self.path, fix=error.fix) from error

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the picture as PNG or TIFF; None: the file's name with .png. It has one size, so there are no options.

        Returns
        -------
        result : dict
            ``output``, ``frames`` (1), ``size`` and ``seconds``.
        """
        import numpy as np

        from nerfkit.files import write_atomically
        from nerfkit.picture_files import PICTURE_SUFFIXES, picture_bytes

        if options:
            raise NerfkitError(
                f"--{next(iter(options))} cannot be used here: a compressed picture has one size", where=self.path,
                fix=f"nerfkit render {self.path} --out FILE.png",
            )  # fmt: skip
        started = time.perf_counter()
        output = self.path.with_suffix(".png") if out is None else Path(out)
        if output.suffix.lower() not in PICTURE_SUFFIXES:
            raise NerfkitError(
                f"a compressed picture is written as PNG or TIFF, not as {output.suffix or 'a file without suffix'}",
                where=output, fix="end its name in .png or .tif",
            )  # fmt: skip
        values = self.pixels.astype(np.float32) / 255
        write_atomically(output, picture_bytes(values, output.suffix.lower(), 8))
        return {
            "output": str(output), "frames": 1, "size": [values.shape[1], values.shape[0]],
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip
