"""A shape's field, fitted to its distances, its signs or its normals; what was computed for it survives a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.files import write_atomically
from nerfkit.fitting import FitSchedule
from nerfkit.problem import Problem, Term
from nerfkit.runs import Run
from nerfkit.scenes.fields.named import RECIPES
from nerfkit.scenes.measurements.epochs import Epochs
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import face_components
from nerfkit.workbench.job import Job
from nerfkit.workbench.many.beginning import begin_shape_with
from nerfkit.workbench.shapes.bandwidth import Bandwidth, choose_bandwidth
from nerfkit.workbench.shapes.cloud_distance import CloudDistance
from nerfkit.workbench.shapes.eikonal import eikonal_terms
from nerfkit.workbench.shapes.frame import LONGEST, Frame
from nerfkit.workbench.shapes.held_shape import HeldShape, make_held_shape
from nerfkit.workbench.shapes.mesh_distance import MeshDistance
from nerfkit.workbench.shapes.normals import estimated_normals
from nerfkit.workbench.shapes.recipes import LOSSES, recipe_of
from nerfkit.workbench.shapes.samples import TRUNCATION, sample_points

__all__ = ["Source", "cloud_source", "fit_shape", "held_out_error", "mesh_source", "without_strays"]

# neighbours whose plane has a point's normal
N_NORMAL = 16
# points of a surface that an eikonal loss is given, and those that judge a field
N_SURFACE, N_JUDGED = 200_000, 20_000
# points that a start's learnt steps see: two of the batches that it was learned with
MOST_ADAPTED = 2**13
# a part of the result that is farther from the input than so many cells is none of it
STRAY_CELLS = 2.0


@dataclass(frozen=True)
class Source:
    """What a field is fitted to, in the frame.

    Parameters
    ----------
    distances : MeshDistance or CloudDistance
        Of the input.
    points, normals : ndarray, shape (n, 3)
        On its surface.
    bandwidth : Bandwidth, optional
        Of a cloud.
    """

    distances: MeshDistance | CloudDistance
    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    bandwidth: Bandwidth | None = None


def mesh_source(mesh: Mesh, frame: Frame, seed: int) -> Source:
    """Of a mesh in its own unit."""
    distances = MeshDistance(frame.mesh_inward(mesh))
    points, normals = distances.mesh.sample(N_SURFACE, np.random.default_rng(seed + 1))
    return Source(distances, points, normals)


def cloud_source(job: Job, cloud: PointCloud, frame: Frame) -> Source:
    """Of points in their own unit, whose normals are estimated where there are none."""
    cloud = frame.cloud_inward(cloud)
    if cloud.normals is None:
        job.say(f"estimating the normals of {len(cloud.points):,} points")
        found = _kept(job.run, "normals", lambda: {"normals": estimated_normals(cloud.points, N_NORMAL)})
        cloud = PointCloud(cloud.points, found["normals"])
        job.check_stopped()
    bandwidth = choose_bandwidth(cloud, np.random.default_rng(job.config.seed))
    assert cloud.normals is not None
    return Source(CloudDistance(cloud, bandwidth.width), cloud.points, cloud.normals, bandwidth)


def fit_shape(job: Job, source: Source, frame: Frame, name: str, loss: str) -> HeldShape:
    """Fit the field ``name`` by a loss of ``LOSSES``."""
    config = job.config
    recipe, start = recipe_of(name, loss, config.n_params), begin_shape_with(job)
    rate = config.learning_rate or (recipe.learning_rate if start is None else start.rate)
    if start is None:
        held = make_held_shape(
            name, LOSSES[loss], frame, recipe.n_params, seed=config.seed,
            knob=config.knob if config.knob is not None else RECIPES[name].default, device=job.device,
            options=recipe.options,
        )  # fmt: skip
    else:
        held = make_held_shape(
            name, "relative", frame, start.n_params, seed=config.seed, knob=start.knob, device=job.device,
            options=start.options, truncation=start.learned.bounds[1],
        )  # fmt: skip
    if loss == "eikonal":
        points, normals = (torch.from_numpy(x).float().to(job.device) for x in (source.points, source.normals))
        terms = eikonal_terms(points, normals, recipe.batch)
    else:
        job.say(f"distances of {config.n_samples:,} points")
        points, distances = _samples(job, source)
        if start is not None:
            some = torch.randperm(len(points), generator=torch.Generator().manual_seed(config.seed))[:MOST_ADAPTED]
            start.adapt_shape(held.field, points[some], distances[some])
        batches = Epochs(Measurements(points, distances))
        terms = [Term(PointValues(), batches, _compared(held), n=recipe.batch)]
    problem = Problem(held.field, terms, learning_rate=rate, seed=config.seed)
    n_params = sum(p.numel() for p in held.field.parameters())
    job.say(f"fitting a field of {n_params:,} parameters ({name}, {loss})")
    job.fit("shape", problem, config.steps or recipe.steps, schedule=FitSchedule(final_fraction=0.01))
    return held


def _samples(job: Job, source: Source) -> tuple[Tensor, Tensor]:
    """Points [n, 3] and signed distances [n, 1]."""

    def compute() -> dict[str, NDArray]:
        points = sample_points(source.distances, job.config.n_samples, np.random.default_rng(job.config.seed))
        return {"points": points, "distances": source.distances.signed(points)}

    found = _kept(job.run, "samples", compute)
    job.check_stopped()
    points, values = (torch.from_numpy(found[key]).float().to(job.device) for key in ("points", "distances"))
    return points, values[:, None]


def _compared(held: HeldShape) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of predicted values and signed distances [n, 1]."""
    if held.recipe["kind"] == "logit":
        return lambda logits, distances: torch.nn.functional.binary_cross_entropy_with_logits(
            logits, (distances > 0).to(logits), reduction="none"
        )
    truncation = held.recipe["truncation"]
    unit = 1.0 if held.recipe["kind"] == "relative" else truncation
    return lambda values, distances: (values - unit * torch.tanh(distances / truncation)).abs()


def held_out_error(held: HeldShape, source: Source, seed: int) -> float:
    """Mean absolute error of the distance at points near the surface that no step saw, frame units."""
    points = sample_points(source.distances, N_JUDGED, np.random.default_rng(seed + 2))
    truth = source.distances.signed(points)
    near = np.abs(truth) < TRUNCATION
    values = held.values(points[near].astype(np.float32)).astype(np.float64)
    return float(np.abs(held.untruncated(values) - truth[near]).mean())


def without_strays(mesh: Mesh, source: Source, n_cells: int) -> tuple[Mesh, int]:
    """The mesh in the frame without parts that are nowhere near the input, and how many there were.

    Fields are fitted to few points far from the surface, and may be 0 there.
    """
    parts = face_components(mesh.faces)
    if not len(parts) or parts.max() == 0:
        return mesh, 0
    largest = int(np.bincount(parts).argmax())
    others = np.flatnonzero(parts != largest)
    corners = mesh.vertices[mesh.faces[others, 0]]
    is_near = np.abs(source.distances.signed(corners)) < STRAY_CELLS * LONGEST / n_cells
    kept = np.zeros(parts.max() + 1, bool)
    kept[largest] = True
    kept[parts[others[is_near]]] = True
    return Mesh(mesh.vertices, mesh.faces[kept[parts]]), int((~kept).sum())


def _kept(run: Run, name: str, compute: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """Arrays that were computed before this run was stopped, or now."""
    from safetensors.numpy import load, save

    path = run.folder / "stages" / f"{name}.safetensors"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, save({key: np.ascontiguousarray(array) for key, array in compute().items()}))
    return load(path.read_bytes())
