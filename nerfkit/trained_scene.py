"""A scene that was trained: rendered from anywhere, filmed, compared with photos, trained further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.memory import telling_memory
from nerfkit.results import Result
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.scene import RadianceScene, View
    from nerfkit.scenes.cameras import Camera

__all__ = ["TrainedScene"]

# longest side of the view that a notebook shows where there is no picture yet, in pixels
PREVIEW_SIDE = 200


class TrainedScene(Result):
    """A radiance field with its run folder; :func:`nerfkit.train` and :func:`nerfkit.load` make it.

    Examples
    --------
    >>> scene = nerfkit.load("outputs/fox/hash/latest")  # doctest: +SKIP
    >>> scene.evaluate()["results"]["psnr"]  # doctest: +SKIP
    27.41
    >>> scene.render_path("orbit", "orbit.mp4", n_frames=90)  # doctest: +SKIP
    """

    options = ("path", "frames", "fps", "size", "channels", "data")
    example = "nerfkit render RUN --path orbit --size WxH --out FILE.mp4"

    @cached_property
    def scene(self) -> RadianceScene:
        """The field with its bounds and background; read when it is first asked for."""
        from nerfkit.training import load_scene

        return load_scene(self.run, self.device)[0]

    @property
    def downscale(self) -> float:
        """Factor that the photos were scaled down by for training."""
        return self.run.read_scene()[2]

    @telling_memory("render", "give a camera of fewer pixels")
    def render(self, camera: Camera, c2w: NDArray[np.floating]) -> View:
        """The view of a camera.

        Parameters
        ----------
        camera : Camera
            Size and intrinsics in pixels.
        c2w : ndarray, shape (4, 4)
            Camera-to-world matrix, OpenGL axes; docs/conventions.md has a picture of them.

        Returns
        -------
        view : View
            ``rgb`` [h, w, 3] in [0, 1], ``depths`` [h, w] in world units, ``opacities`` [h, w] in [0, 1].

        Examples
        --------
        >>> photos = scene.run.read_photos(None)  # doctest: +SKIP
        >>> scene.render(photos.cameras[0].resized(225, 400), photos.c2w[0]).rgb.shape  # doctest: +SKIP
        torch.Size([400, 225, 3])
        """
        return self.scene.render(camera, c2w)

    @telling_memory("nerfkit render", "lower --size")
    def render_path(
        self, path: str | None = None, out: str | Path | None = None, *, n_frames: int | None = None,
        fps: float | None = None, size: tuple[int, int] | None = None, channels: tuple[str, ...] = ("rgb",),
        data: str | Path | None = None, on_frame: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Any]:  # fmt: skip
        """Film the scene along a path and write the path beside the video.

        Parameters
        ----------
        path : str, optional
            ``"orbit"``, ``"spiral"``, ``"interpolate"`` (through the photos), or a camera_path.json; None: an orbit
            where the photos look at one point, else through the photos.
        out : str or Path, optional
            The suffix decides: .mp4, .webm, .gif, none for a folder of PNGs; None: ``<path>.mp4`` in the run folder.
            With several channels each gets a file of its own, the channel's name before the suffix.
        n_frames, fps, size
            Frames, frames a second, width and height in pixels; by default 120, 30 and the training size, or a file's
            own.
        channels : tuple of str
            Of ``"rgb"``, ``"depth"`` (near is red), ``"opacity"``.
        data : str or Path, optional
            The photos, when they were moved.
        on_frame : callable
            Called with the number of frames done and in all.

        Returns
        -------
        result : dict
            ``output`` (or ``outputs`` with several channels), ``frames``, ``seconds``, ``camera_path``.

        Examples
        --------
        >>> scene.render_path("spiral", "spiral.webm", size=(640, 360))["frames"]  # doctest: +SKIP
        120
        """
        from nerfkit.path_rendering import render_path
        from nerfkit.report import refresh

        result = render_path(
            self, path, None if out is None else Path(out), n_frames=n_frames, fps=fps, size=size, channels=channels,
            data=None if data is None else Path(data), on_frame=on_frame,
        )  # fmt: skip
        if Path(result["output"]).resolve().is_relative_to(self.run.folder.resolve()):
            # the run's page shows the videos that lie in its folder
            refresh(self.run)
        return result

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """:meth:`render_path` by the names of the options of ``nerfkit render``."""
        self.check_options(list(options))
        names = {"frames": "n_frames"}
        return self.render_path(
            out=out, on_frame=on_part, **{names.get(key, key): value for key, value in options.items()}
        )

    @telling_memory("nerfkit eval", "train with smaller photos (--downscale 2): views are rendered at their size")
    def evaluate(
        self, split: str = "test", *, data: str | Path | None = None, lpips: str | Path | None = None,
        on_view: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Any]:  # fmt: skip
        """PSNR and SSIM over a split, at the size that the scene was trained at; pictures go to RUN/eval.

        Parameters
        ----------
        split : {"test", "val", "train"}
            Which photos.
        data : str or Path, optional
            The photos, when they were moved.
        lpips : str or Path, optional
            Weights of LPIPS (docs/conventions.md says which), which is then measured as well.
        on_view : callable
            Called with the number of views done and in all.

        Returns
        -------
        result : dict
            ``results`` {psnr, ssim, seconds_per_frame, n_images}, ``images`` [{file, psnr, ssim}], both with ``lpips``
            where weights are given, and ``worst``, a picture in the run folder of the worst views.

        Examples
        --------
        >>> scene.evaluate("val")["results"]["n_images"]  # doctest: +SKIP
        8
        """
        from nerfkit.evaluation import evaluate
        from nerfkit.report import refresh

        places = {name: None if place is None else Path(place) for name, place in (("data", data), ("lpips", lpips))}
        result = evaluate(self, split, **places, on_view=on_view)
        refresh(self.run)
        return result

    @telling_memory("nerfkit export", "lower --size")
    def export(
        self, out: str | Path | None = None, *, format: str | None = None, size: int | None = None,
        box: Sequence[float] | None = None, keep_floaters: bool = False, unit: float | None = None,
        data: str | Path | None = None, on_view: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Any]:  # fmt: skip
        """Write a mesh, points, cameras or depth in the input's own frame and scale.

        Parameters
        ----------
        out : str or Path, optional
            A .ply, .obj or .glb file (mesh), .ply (points), .json (cameras), or a folder (depth); None: in the run
            folder.
        format : {"ply", "obj", "glb", "pointcloud", "cameras", "depth"}, optional
            None: by the suffix.
        size : int, optional
            Cells of the mesh along the longest side of the box, 8 to 1024; of points there is one a cell. 256 unless
            given.
        box : sequence of 6 float, optional
            Least x, y, z and greatest x, y, z of what is exported; None: chosen by what the photos see.
        keep_floaters : bool
            Whether parts below 3 % of the box, and points that one view alone has, are kept.
        unit : float, optional
            Length in metres of the poses' unit, for depth in millimetres; 1 unless given.
        data : str or Path, optional
            The photos' dataset, when it was moved.
        on_view : callable
            Called with the number of views rendered and in all.

        Returns
        -------
        result : dict
            ``output``, ``format``, ``seconds``, and counts of what was written; docs/export.md lists them.

        Examples
        --------
        >>> scene.export("fox.glb", size=384)["faces"]  # doctest: +SKIP
        412338
        """
        from nerfkit.exports.export import export
        from nerfkit.exports.formats import ExportOptions, default_output

        options = ExportOptions(size, None if box is None else tuple(box), keep_floaters, unit)  # pyright: ignore[reportArgumentType]
        path = self.run.folder / default_output(format) if out is None else Path(out)
        return export(self, path, format, options, data=None if data is None else Path(data), on_view=on_view)

    def report(self) -> Path:
        """Write report.html in the run folder anew, and give its path.

        Examples
        --------
        >>> webbrowser.open(str(scene.report()))  # doctest: +SKIP
        """
        from nerfkit.report import train_report

        return train_report(self.run)

    def picture(self) -> NDArray[np.uint8] | None:
        """A view that was compared with its photo, the preview of the training, or else one that is rendered now."""
        from nerfkit.report.media import load_picture
        from nerfkit.video import to_uint8

        for file in [*sorted(self.run.folder.glob("eval/*/*.png"))[:1], self.run.folder / "preview.png"]:
            found = load_picture(file, "")
            if found is not None:
                return found.pixels
        try:
            photos = self.run.read_photos(None)
        except NerfkitError:
            # they were moved, and with them the poses
            return None
        index = photos.splits["train"][0]
        camera = photos.cameras[index]
        factor = min(1.0, PREVIEW_SIDE / max(camera.width, camera.height))
        small = camera.resized(max(1, round(factor * camera.width)), max(1, round(factor * camera.height)))
        return to_uint8(self.render(small, photos.c2w[index]).rgb.numpy())

    def main_figures(self) -> dict[str, str]:
        """Steps, seconds and validation PSNR of the training."""
        forms = {
            "steps": ("steps", "{:,}"),
            "seconds": ("trained", "{:.0f} s"),
            "psnr": ("validation PSNR", "{:.2f} dB"),
        }
        found = {key: self.figures.get(key) for key in forms}
        return {forms[key][0]: forms[key][1].format(value) for key, value in found.items() if value is not None}
