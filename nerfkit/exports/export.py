"""What `nerfkit export` writes of a trained scene: a mesh, points, cameras or depth pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfkit.evaluation import picture_names
from nerfkit.exports.camera_file import write_cameras
from nerfkit.exports.depth_pictures import MOST, check_empty, write_depth_pictures
from nerfkit.exports.depth_views import DepthView, render_views
from nerfkit.exports.formats import ExportOptions, check_format
from nerfkit.exports.fused_mesh import fused_mesh
from nerfkit.exports.fused_points import fused_points
from nerfkit.exports.region import Region, choose_region
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import topology
from nerfkit.surface_files import write_mesh, write_points

if TYPE_CHECKING:
    from nerfkit.trained_scene import TrainedScene

__all__ = ["export"]

logger = logging.getLogger(__name__)

# views that surfaces are fused from, spread evenly over those of training, and their longest side in pixels
MAX_VIEWS, MAX_SIDE = 128, {"cpu": 400, "cuda": 800}
# steps of a depth picture's value that the farthest depth should have at least: fewer are coarser than half a per cent
FEW_STEPS = 200


def export(
    trained: TrainedScene, out: Path, format: str | None, options: ExportOptions, *, data: Path | None = None,
    on_view: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Write ``out``; see :meth:`nerfkit.trained_scene.TrainedScene.export`."""
    started = time.perf_counter()
    format = check_format(out, format, options)
    photos = trained.run.read_photos(data)
    if format == "cameras":
        found: dict[str, Any] = {"cameras": write_cameras(out, photos)}
    elif format == "depth":
        found = _depth(trained, out, photos, options.unit or 1.0, on_view)
    else:
        found = _surface(trained, out, format, photos, options, on_view)
    return {"output": str(out), "format": format, **found, "seconds": round(time.perf_counter() - started, 3)}


def _surface(
    trained: TrainedScene, out: Path, format: str, photos: PosedPhotos, options: ExportOptions,
    on_view: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    # before minutes of rendering
    import_extra("trimesh", "mesh", out)
    bounds, device = trained.scene.bounds, trained.device
    views = _views(trained, photos, on_view)
    points = np.concatenate([view.surface_points for view in views])
    region = choose_region(bounds, points, options.box)
    logger.info(_said(region, region.in_world(bounds)))
    common = {"keeps_floaters": options.keeps_floaters, "device": device}
    told = {
        "box": region.in_world(bounds), "box_is": region.why, "seen_in_box": region.share, "views": len(views),
        "cells": options.n_cells,
    }  # fmt: skip
    if format == "pointcloud":
        cloud, n_floaters = fused_points(views, region, options.n_cells, **common)
        if not len(cloud.points):
            raise _no_surface(out)
        world = PointCloud(bounds.to_world(cloud.points), cloud.normals, (), cloud.colors)
        return {"points": len(write_points(out, world).points), "floaters": n_floaters, **told}
    made = fused_mesh(views, region, options.n_cells, **common)
    if not len(made.mesh.faces):
        raise _no_surface(out)
    written = write_mesh(out, Mesh(bounds.to_world(made.mesh.vertices), made.mesh.faces, (), made.mesh.colors))
    counts = topology(written.faces)
    return {
        "vertices": len(written.vertices), "faces": len(written.faces), "area": float(f"{written.area:.6g}"),
        "components": counts.n_components, "holes": counts.n_holes, "boundary_edges": counts.n_boundary_edges,
        "floaters": made.n_floaters, "floater_faces": made.n_floater_faces, **told,
    }  # fmt: skip


def _no_surface(out: Path) -> NerfkitError:
    return NerfkitError(
        "no surface that the views agree on lies in the box", where=out,
        fix="train longer, lower --size, or give another --box; nerfkit render RUN shows what there is",
    )  # fmt: skip


def _said(region: Region, box: list[float]) -> str:
    corners = " to ".join("({:.4g}, {:.4g}, {:.4g})".format(*box[i : i + 3]) for i in (0, 3))
    return f"box: {corners}, {region.why}; {region.share:.1%} of the pixels that show a surface show one in it"


def _views(trained: TrainedScene, photos: PosedPhotos, on_view: Callable[[int, int], None]) -> list[DepthView]:
    train = photos.splits["train"]
    chosen = [train[i] for i in np.unique(np.linspace(0, len(train) - 1, MAX_VIEWS).round().astype(int))]
    cameras = [_at_most(_trained_size(photos.cameras[i], trained.downscale), trained.device) for i in chosen]
    return render_views(trained.scene, cameras, photos.c2w[chosen], on_view)


def _trained_size(camera: Camera, downscale: float) -> Camera:
    return camera.resized(max(1, round(camera.width / downscale)), max(1, round(camera.height / downscale)))


def _at_most(camera: Camera, device: str) -> Camera:
    factor = max(camera.width, camera.height) / MAX_SIDE.get(device, MAX_SIDE["cpu"])
    return _trained_size(camera, max(1.0, factor))


def _depth(
    trained: TrainedScene, out: Path, photos: PosedPhotos, metres: float, on_view: Callable[[int, int], None]
) -> dict[str, Any]:  # fmt: skip
    check_empty(out)
    cameras = [_trained_size(camera, trained.downscale) for camera in photos.cameras]
    names = picture_names(photos.files)
    found = write_depth_pictures(
        out, trained.scene, cameras, photos.c2w, [names[file] for file in photos.files], photos.files, metres, on_view
    )
    found["metres_per_unit"] = metres
    farthest = found["farthest"]
    if found["beyond"]:
        n_pixels = sum(found["beyond"].values())
        logger.warning(
            "%d pixels of %d views are farther than %g world units and do not fit in 16 bits; they are 0: %s; with "
            "--unit %.2g all would fit", n_pixels, len(found["beyond"]), MOST / 1000 / metres,
            some(list(found["beyond"])), 0.9 * MOST / 1000 / farthest,
        )  # fmt: skip
    elif farthest is not None and farthest * metres * 1000 < FEW_STEPS:
        logger.warning(
            "the farthest depth is %.3g world units, %.0f steps of a picture's value; --unit %.2g makes them finer",
            farthest, farthest * metres * 1000, 0.5 * MOST / 1000 / farthest,
        )  # fmt: skip
    return found
