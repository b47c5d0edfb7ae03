"""The task `shape`: a mesh, closed or not, or points as a signed distance in a field, and a mesh of any resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from nerfkit.scenes.settings import check_range
from nerfkit.workbench.settings import AUTO, START_FIELD, FieldSettings
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.fitted_shape import FittedShape
    from nerfkit.runs import Run
    from nerfkit.scenes.surfaces import Mesh, PointCloud
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.shapes.fitted import Source
    from nerfkit.workbench.shapes.inputs import ShapeData

__all__ = ["TASK", "ShapeConfig"]

# fields that have two dimensions alone, or learn an embedding of the plane first
PLANE_FIELDS = ("tiled", "relu-pretrained", "grid")
# fraction of a cloud's points that judge the result, and their number at most
HELD_OUT, MOST_HELD_OUT = 0.02, 5000


@dataclass(frozen=True)
class ShapeConfig(FieldSettings):
    """What a user may say of a shape; written to config.yml."""

    task: ClassVar[str] = "shape"

    # what the field learns; auto: the distance, and for a sine network the eikonal equation
    loss: Literal["auto", "distance", "eikonal", "occupancy"] = AUTO
    # cells of the written mesh along the longest side, 8 to 1024
    resolution: int = 448
    # points whose distance is computed, 1000 to 10**8
    n_samples: int = 1_100_000
    # wall seconds from the first step, a limit
    seconds: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("resolution", self.resolution, 8, 1024)
        check_range("n_samples", self.n_samples, 1000, 10**8)
        if self.start is not None and self.loss not in (AUTO, "distance"):
            raise ValueError(f"a start is of distances, not of the loss {self.loss}: leave loss out, or start")
        if self.field in PLANE_FIELDS:
            raise ValueError(f"field {self.field} is of the plane; a shape takes others, such as hash or siren")

    @property
    def chosen(self) -> tuple[str, str]:
        """Names of the field and of the loss."""
        if self.start is not None:
            return START_FIELD, "distance"
        if self.field == AUTO:
            return ("siren" if self.loss == "eikonal" else "hash"), ("distance" if self.loss == AUTO else self.loss)
        automatic = "eikonal" if self.field == "siren" else "distance"
        return self.field, automatic if self.loss == AUTO else self.loss


def read(paths: Sequence[Path], config: ShapeConfig) -> ShapeData:
    """Read the mesh or the points."""
    from nerfkit.scenes.readers.surface import read_surface
    from nerfkit.workbench.shapes.inputs import make_data

    return make_data(read_surface(paths[0]))


def simulate(paths: Sequence[Path], config: ShapeConfig, keys: dict[str, Any]) -> Simulated:
    """Points of a mesh, with noise."""
    from nerfkit.scenes.readers.surface import checked_points, read_surface
    from nerfkit.workbench.shapes.inputs import make_data, simulate_points

    truth = read_surface(paths[0])
    arrays = simulate_points(truth, paths[0], keys, config.seed)
    return Simulated(make_data(checked_points(arrays["points"], arrays.get("normals"), paths[0])), truth, arrays)


def solve(job: Job) -> Outcome:
    """Fit the field, and make its mesh."""
    from nerfkit.scenes.surfaces import Mesh
    from nerfkit.surface_files import write_mesh
    from nerfkit.workbench.outcome import Outcome, Shown
    from nerfkit.workbench.shapes.fitted import fit_shape, held_out_error, mesh_source, without_strays
    from nerfkit.workbench.shapes.inputs import check_truth
    from nerfkit.workbench.shapes.measures import compare_meshes, describe, distances_to
    from nerfkit.workbench.shapes.views import shaded_views, slices

    data: ShapeData = job.data
    config: ShapeConfig = job.config
    check_truth(job.truth, data)
    for text in data.said:
        job.say(text)
    surface, frame, said = data.surface, data.frame, list(data.said)
    held_points = None
    if isinstance(surface, Mesh):
        source = mesh_source(surface, frame, config.seed)
    else:
        source, held_points = _of_cloud(job, surface, frame, said)
    name, loss = config.chosen
    held = fit_shape(job, source, frame, name, loss)
    made, n_strays = without_strays(held.mesh(config.resolution), source, config.resolution)
    if n_strays:
        said.append(f"{n_strays} parts of the field's surface that are nowhere near the input are left out")
    result = Mesh(frame.outward(made.vertices), made.faces)
    truth = job.truth if job.truth is not None else surface if isinstance(surface, Mesh) else None

    def measure(written: Mesh) -> dict[str, Any]:
        found = describe(written)
        if held_points is not None:
            off = distances_to(written, held_points, frame)
            found["holdout"] = float(f"{float(np.sqrt(np.square(off).mean())):.5g}")
        return found if truth is None else found | compare_meshes(written, truth, frame)

    metrics: dict[str, Any] = {}
    if held_points is None and loss != "occupancy":
        metrics["holdout"] = float(f"{frame.scale * held_out_error(held, source, config.seed):.5g}")
    rng = np.random.default_rng(config.seed)
    return Outcome(
        image=shaded_views(result, frame, rng)[..., None] if len(result.faces) else np.ones((8, 8, 1)),
        measure=measure, field=name, n_params=sum(p.numel() for p in held.field.parameters()), held=held,
        write=lambda output: write_mesh(output, result), metrics=metrics,
        chosen={
            "loss": loss, "resolution": config.resolution, **_found_of_cloud(source, frame.scale), **_openings(surface)
        },
        shown=[
            Shown("input", shaded_views(surface, frame, rng), "input"),
            Shown("slices", slices(held), "the field in the planes through the middle, across z, x and y"),
        ],
        charts=_charts(source, frame.scale), said=said,
    )  # fmt: skip


def _openings(surface: Mesh | PointCloud) -> dict[str, int]:
    """What a mesh that was given lacks to be closed; the result's own are among its figures."""
    from nerfkit.scenes.surfaces import Mesh
    from nerfkit.scenes.topology import topology

    if not isinstance(surface, Mesh):
        return {}
    found = topology(surface.faces)
    return {"input_holes": found.n_holes, "input_boundary_edges": found.n_boundary_edges}


def _of_cloud(job: Job, surface: PointCloud, frame: Any, said: list[str]) -> tuple[Source, PointCloud]:
    """What is fitted of a cloud, and the points that judge the result."""
    from nerfkit.scenes.surfaces import PointCloud
    from nerfkit.workbench.shapes.fitted import cloud_source

    order = np.random.default_rng(job.config.seed + 3).permutation(len(surface.points))
    n = min(MOST_HELD_OUT, max(1, round(HELD_OUT * len(order))))
    known, out = (
        PointCloud(surface.points[rows], None if surface.normals is None else surface.normals[rows])
        for rows in (np.sort(order[n:]), np.sort(order[:n]))
    )
    source = cloud_source(job, known, frame)
    assert source.bandwidth is not None
    noise, width = (frame.scale * x for x in (source.bandwidth.noise, source.bandwidth.width))
    said.append(f"points lie within {noise:.3g} of their neighbours' surface (noise); spheres are {width:.3g} wide")
    said.append(f"{n} points were held out; holdout is the root of the mean square of their distance to the mesh")
    job.say(said[-2])
    return source, out


def _found_of_cloud(source: Source, scale: float) -> dict[str, float]:
    if source.bandwidth is None:
        return {}
    return {
        "noise": float(f"{scale * source.bandwidth.noise:.4g}"),
        "width": float(f"{scale * source.bandwidth.width:.4g}"),
    }


def _charts(source: Source, scale: float) -> list[Any]:
    from nerfkit.report.blocks import Chart, Series

    if source.bandwidth is None:
        return []
    widths, errors = zip(*source.bandwidth.curve, strict=True)
    series = Series("points left out", [scale * w for w in widths], [scale * e for e in errors])
    return [Chart("Width of the weights", [series], "width", "distance to the neighbours' surface")]


def _read_truth(path: str | Path) -> Mesh | PointCloud:
    from nerfkit.scenes.readers.surface import read_surface

    return read_surface(path)


def _load(run: Run, device: str) -> FittedShape:
    from nerfkit.fitted_shape import FittedShape

    return FittedShape(run, device)


TASK = FitTask(
    name="shape", holds="a shape", data="a mesh or points",
    usage="nerfkit render {run} --size N --out FILE.ply makes a mesh with N cells along its longest side",
    presets={"shape": ShapeConfig()}, load=_load, read=read, solve=solve, simulate=simulate,
    shape=lambda data, config: (), read_truth=_read_truth, suffixes=(".ply", ".obj", ".stl", ".glb"),
    simulate_keys={"points": 100_000, "noise": 0.005, "normals": 1, "tilt": 0.0},
)  # fmt: skip
