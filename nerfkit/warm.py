"""Compile numba's loops once, so that the first run of a user does not wait; run by ``make setup``.

``python -m nerfkit.warm`` trains a few steps on a made-up scene of a few pixels, and runs what super-resolution needs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

__all__ = ["warm"]


def warm() -> None:
    """Train and render a tiny scene, and go once through super-resolution: every loop of a CPU is compiled."""
    import dataclasses

    from nerfkit.presets import PRESETS
    from nerfkit.runs import Run
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.scenes.synthetic import write_posed_scene
    from nerfkit.superresolution.running import compile_loops
    from nerfkit.superresolution.settings import SuperresSettings
    from nerfkit.training import load_scene, prepare, train

    compile_loops(SuperresSettings(output_size=(48, 48), frame_size=(12, 12)), "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scene"
        write_posed_scene(folder, n_train=4, n_val=1, n_test=1, size=(16, 16), supersample=1)
        for method, preset in PRESETS.items():
            config = dataclasses.replace(preset, steps=20, seconds=None)
            run = Run(Path(name) / method)
            run.folder.mkdir()
            prepared = prepare(read_posed_photos(folder), config, "cpu")
            train(prepared, run, lambda progress: None)
            scene = load_scene(run, "cpu")[0]
            index = prepared.data.split("train")[0]
            camera, c2w = prepared.data.cameras[index], prepared.data.c2w[index]
            rgb, depths = scene.render(camera, c2w).rgb.numpy(), scene.surface_depths(camera, c2w)
            # what exports march by is compiled as well; no assertion, which `python -O` passes over
            if not (np.isfinite(rgb).all() and (depths > 0).all()):
                raise RuntimeError(f"{method}: a tiny scene that was trained on this machine renders no numbers")


if __name__ == "__main__":
    warm()
