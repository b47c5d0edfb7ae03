"""A small picture of a scene that is being trained, written now and then for whoever wants to look."""

from __future__ import annotations

import time
from pathlib import Path

from nerfkit.files import write_atomically
from nerfkit.fitting import Progress
from nerfkit.photo_data import PhotoData
from nerfkit.pictures import png_bytes
from nerfkit.scene import RadianceScene

__all__ = ["Previews"]

# longest side in pixels, and seconds between two pictures
MAX_SIDE, EVERY_SECONDS = 160, 10.0
# share of the time that pictures may take; a slow one makes the next ones rarer
TIME_SHARE = 0.02


class Previews:
    """Renders the first validation view (the first training view without any) to ``path``.

    Parameters
    ----------
    scene : RadianceScene
        What is trained.
    data : PhotoData
        Where the view's camera comes from.
    path : Path
        A PNG, replaced each time.
    max_side : int
        Longest side of the picture in pixels.
    """

    def __init__(self, scene: RadianceScene, data: PhotoData, path: Path, *, max_side: int = MAX_SIDE) -> None:
        index = (data.split("val") or data.split("train"))[0]
        camera = data.cameras[index]
        shrink = min(1.0, max_side / max(camera.width, camera.height))
        self.camera = camera.resized(max(1, round(camera.width * shrink)), max(1, round(camera.height * shrink)))
        self.scene, self.c2w, self.path = scene, data.c2w[index], path
        self.due_at, self.spent = EVERY_SECONDS, 0.0

    def __call__(self, progress: Progress) -> None:
        """Write a picture when one is due."""
        if progress.seconds < self.due_at:
            return
        started = time.monotonic()
        view = self.scene.render(self.camera, self.c2w)
        write_atomically(self.path, png_bytes(view.rgb.numpy()))
        self.spent += time.monotonic() - started
        self.due_at = max(progress.seconds + EVERY_SECONDS, self.spent / TIME_SHARE)
