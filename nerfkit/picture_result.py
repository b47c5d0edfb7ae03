"""What `nerfkit render` does with a run that holds one picture: written at any size, or a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nerfkit.results import Result
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PROFILE_FILE", "PictureResult"]

# in the run folder: colour profile of the input
PROFILE_FILE = "profile.icc"


class PictureResult(Result):
    """A result that is a picture of any size; what kind of picture, a subclass says."""

    options = ("size", "crop")
    example = "nerfkit render RUN --size WxH [--crop X,Y,W,H] --out FILE.png"
    # suffixes that it is written with
    suffixes: ClassVar[tuple[str, ...]]
    # for messages: what it is called, the kinds of files, and how their names end
    called: ClassVar[str]
    kinds: ClassVar[str]
    endings: ClassVar[str]

    def render(
        self, *, size: tuple[int, int] | None = None, crop: tuple[int, int, int, int] | None = None
    ) -> NDArray[np.float32]:  # fmt: skip
        """Values [h, w] or [h, w, c] at any size, or of a part ``crop`` (x, y, width, height) of it."""
        raise NotImplementedError

    def write_image(self, output: Path, image: NDArray[np.float32], icc_profile: bytes | None) -> None:
        """Write what :meth:`render` gave."""
        raise NotImplementedError

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the picture at any size, in the input's depth and with its colour profile.

        Parameters
        ----------
        out : str or Path, optional
            A file of one of the class's ``suffixes``; None: render.png in the run folder.
        on_part : callable
            Not called: a picture is one part.
        **options
            ``size`` and ``crop`` of :meth:`render`.

        Returns
        -------
        result : dict
            ``output``, ``frames`` (1), ``size``, ``crop`` and ``seconds``.

        Raises
        ------
        NerfkitError
            The suffix is none of the class's, or an option is for results of another task.
        """
        self.check_options(list(options))
        started = time.perf_counter()
        output = self.run.folder / "render.png" if out is None else Path(out)
        if output.suffix.lower() not in self.suffixes:
            raise NerfkitError(
                f"{self.called} is written as {self.kinds}, not as {output.suffix or 'a file without suffix'}",
                where=output, fix=f"end its name in {self.endings}",
            )  # fmt: skip
        image, crop = self.render(**options), options.get("crop")
        profile = self.run.folder / PROFILE_FILE
        self.write_image(output, image, profile.read_bytes() if profile.is_file() else None)
        return {
            "output": str(output), "frames": 1, "size": [image.shape[1], image.shape[0]], "crop": crop and list(crop),
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip
