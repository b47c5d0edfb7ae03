"""Fitting a radiance field to photos: a problem of one term, the pixels of photos by volume rendering."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from nerfkit.aligned_score import aligned_psnr
from nerfkit.captured_step import refusal, rounded_size
from nerfkit.fitting import FitSchedule
from nerfkit.known_distances import KnownDistances
from nerfkit.metrics import psnr
from nerfkit.photo_data import PhotoData
from nerfkit.presets import TrainConfig
from nerfkit.problem import Compared, Problem, Term
from nerfkit.ranks import ALONE, Ranks
from nerfkit.refined_cameras import scale_focal
from nerfkit.scene import FAINT_FRACTION, RadianceScene
from nerfkit.scenes.cameras import Camera, CameraBatch
from nerfkit.scenes.generators import restore_generator
from nerfkit.scenes.measurements.photo_distances import PhotoDistances
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.measurements.photo_rays import PhotoRays
from nerfkit.scenes.observations.fused_rendering import can_render_fused
from nerfkit.scenes.observations.photo_exposure import ExposedRendering, PhotoExposure
from nerfkit.scenes.observations.volume_rendering import Rendered, cost_in_samples
from nerfkit.scenes.pose_corrections import PoseCorrections
from nerfkit.scenes.samplers import StratifiedSampler
from nerfkit.shared_density import SharedDensity

__all__ = ["RadianceFit", "samples_a_step"]

logger = logging.getLogger(__name__)

# samples a step asks the field for: enough to keep the matrix products busy, few enough for many steps a second
SAMPLES_A_STEP = {"cpu": 2**14, "cuda": 2**18}
# a method whose samples cost more gets further with more steps of fewer (docs/decisions/0006)
SAMPLES_OF_METHOD = {("cpu", "fourier"): 2**13}
# a scene is empty when its rays absorb less than this although the photos show more than the background
EMPTY_OPACITY, OBJECT_FRACTION = 2e-3, 5e-3
# steps between two looks at what is counted on the device: each waits for it, which on a CPU costs nothing; on a GPU
# in the steps in which the log waits as well
LOOK_STEPS = {"cpu": 1, "cuda": FitSchedule.log_every}
# steps between two that see faint samples as well
FAINT_STEPS = 4
# learning rate of gains and offsets, and the weight of what they differ from none: photos that tell nothing have none
EXPOSURE_RATE, EXPOSURE_PRIOR = 1e-2, 1e-3
# step at which photos keep an exposure each, if their brightness differs by more (rms)
CHOICE_STEP, BRIGHTNESS_DIFFERENCE = 150, 0.1
# learning rate of turns (radians), shifts (normalised units) and the focal length; steps between two that change them
POSE_RATE, POSE_STEPS = 1e-3, 3
# rays of a step's that go through pixels of known distance; relative error beyond which the loss grows linearly
DISTANCE_FRACTION, DISTANCE_DELTA = 1 / 8, 0.1
# steps between two looks for an empty scene, and how often it is filled with fog again
EMPTY_CHECK_STEPS, MAX_REVIVALS = 50, 4


def samples_a_step(config: TrainConfig, device: str) -> int:
    """Samples that a step asks the field for on a kind of device: the setting's, or what suits method and device."""
    chosen = SAMPLES_OF_METHOD.get((device, config.field.kind), SAMPLES_A_STEP.get(device, SAMPLES_A_STEP["cpu"]))
    return config.samples_per_step or chosen


class RadianceFit(Problem):
    """Draws pixels, predicts them by volume rendering, and compares.

    Parameters
    ----------
    scene : RadianceScene
        What is fitted.
    data : PhotoData
        Photos with poses, cameras and splits.
    distances : KnownDistances, optional
        What is known of the distances of pixels of the training photos.
    ranks : Ranks
        The processes that share a step: each predicts its part of the rays, and asks for its part of the cells of an
        occupancy grid. All draw the same; what is decided is decided by what all saw.

    Notes
    -----
    The number of rays in a step follows the number of samples they take, so that a step costs the same whether the
    scene is still fog or already a few surfaces.
    """

    def __init__(
        self, scene: RadianceScene, data: PhotoData, *, distances: KnownDistances | None = None, ranks: Ranks = ALONE
    ) -> None:  # fmt: skip
        self.scene, self.data = scene, data
        self.part = ranks.part if ranks.size > 1 else None
        self.densities = SharedDensity(scene.field, ranks) if ranks.size > 1 else scene.field
        config, device = scene.config, scene.device
        train = data.split("train")
        # handed over and taken back: no photo is in memory twice
        images = [data.images.pop(i) for i in train]
        stored = data.stored
        pixels = PhotoPixels(
            images, device, [data.masks.get(i) for i in train], None if stored is None else stored.rows(train),
            (lambda n: None) if stored is None else stored.note_looks,
        )  # fmt: skip
        data.images.update(zip(train, images, strict=True))
        cameras = CameraBatch([data.cameras[i] for i in train]).to(device)
        poses = torch.from_numpy(scene.bounds.normalise(data.c2w[train])).to(device, torch.float32)
        self.corrections = PoseCorrections(poses) if config.refine_poses else None
        self.rays = PhotoRays(pixels, cameras, poses, scene.background, self.corrections)
        self.samples_per_step = samples_a_step(config, device.type)
        self.n_rays = min(config.max_rays, max(256, self.samples_per_step // 64))
        self.has_distortion = scene.bounds.contract and config.distortion_weight > 0
        if scene.bounds.contract and config.near_start > 0:
            self.rays.near = torch.zeros((), device=device)
        # on the device, so that steps that are captured see them grow and fade
        self.distortion_weight, self.distance_weight = torch.zeros(2, device=device).unbind()
        self.distances = None if distances is None else self._distance_term(distances)
        self._weigh(0)
        self.exposure = PhotoExposure(len(train)).to(device)
        # steps that are captured stay as they were recorded
        self.is_choosing = config.exposure == "auto" and not config.captured
        self._expose(self.is_choosing or config.exposure == "each")
        super().__init__(scene.field, self.terms, learning_rate=config.learning_rate, seed=config.seed + 2)
        self.is_on_gpu = device.type == "cuda"
        self.look_steps = LOOK_STEPS.get(device.type, 1)
        self.opacity, self.object_fraction, self.n_revivals = 1.0, 0.0, 0
        self.mean_squared_error, self.n_samples = math.nan, 0

    def _expose(self, is_exposed: bool) -> None:
        """Predict photos with an exposure each, or all with none."""
        self.is_exposed = is_exposed
        observation = self.scene.observation
        observation = ExposedRendering(observation, self.exposure) if is_exposed else observation
        self.term = Term(observation, self.rays, self._errors)
        self.terms = [self.term]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The field's groups, the photos' exposure, and the cameras' corrections where they are refined."""
        groups = [*super().parameter_groups(), {"params": list(self.exposure.parameters()), "lr": EXPOSURE_RATE}]
        if self.corrections is not None:
            groups.append({"params": list(self.corrections.parameters()), "lr": POSE_RATE})
        return groups

    def _distance_term(self, known: KnownDistances) -> Term:
        device, scale = self.scene.device, self.scene.bounds.scale
        columns = (torch.from_numpy(x).to(device) for x in (known.photo_ids, known.pixels, known.distances / scale))
        photo_ids, pixels, distances = columns
        source = PhotoDistances(self.rays, photo_ids, pixels.float(), distances.float())
        return Term(self.scene.observation, source, _distance_errors)

    def _errors(self, seen: Rendered, truth: Tensor) -> Tensor:
        """Huber's (NeRF's squared error for small errors), and the distortion loss where it has a weight."""
        # Huber halves the square; twice it is the squared error wherever errors are small
        errors = huber_loss(seen.rgb, truth, delta=self.scene.config.huber_delta, reduction="none") * 2
        if self.is_exposed:
            errors = errors + EXPOSURE_PRIOR * self.exposure.deviations()
        return errors if seen.distortions is None else errors + self.distortion_weight * seen.distortions

    def check_capture(self) -> None:
        """Raise an error where the separate operations run, which wait for a GPU to count samples."""
        config, rays = self.scene.config, self.rays.poses.new_zeros(1, 3)
        if not rays.is_cuda:
            raise refusal("a GPU", rays.device.type)
        if not can_render_fused(self.scene.field, self.scene.sampler, rays):
            raise refusal(
                "a field and samples that the fused kernels take", f"{config.field} and {config.sampling}",
                fix="make field.width 64 or less and sampling.n_importance 0, or leave it out",
            )  # fmt: skip

    def generators(self) -> list[torch.Generator]:
        """That of the pixels and, where samples are stratified, the sampler's."""
        sampler = self.scene.sampler
        return [self.generator, *([sampler.source()] if isinstance(sampler, StratifiedSampler) else [])]

    def size(self) -> int:
        """Rays of the next step where steps are captured: few numbers over a whole training."""
        return rounded_size(self.n_rays)

    def compare(self, size: int, min_weight: float | None = None) -> tuple[Tensor, Compared]:
        """Draw ``size`` pixels, predict them, and give the loss and what it came from, without gradients.

        On a GPU nothing here waits for it, so that it can be captured. Samples of less than ``min_weight`` are left out
        on a CPU; on a GPU rays end where the transmittance is less. None: the least of any step.
        """
        if min_weight is None:
            min_weight = self.scene.config.min_weight * FAINT_FRACTION
        compared = self.term.compare(
            self.field, self.generator, size, part=self.part, min_weight=min_weight, has_distortion=self.has_distortion
        )
        loss = compared.loss
        if self.distances is not None:
            n_known = max(1, round(size * DISTANCE_FRACTION))
            known = self.distances.compare(self.field, self.generator, n_known, part=self.part, min_weight=min_weight)
            loss = loss + self.distance_weight * known.loss
        seen = compared.predicted
        seen = seen._replace(
            rgb=seen.rgb.detach(), depths=seen.depths.detach(), opacities=seen.opacities.detach(), distortions=None
        )
        return loss, compared._replace(loss=compared.loss.detach(), predicted=seen)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a new batch, and figures of how the fit goes."""
        loss, compared = self.compare_part(step)
        return loss, self.look(step, compared)

    def compare_part(self, step: int) -> tuple[Tensor, Compared]:
        """The loss of a new batch, and what it came from; between processes this one's part of it."""
        factor = FAINT_FRACTION if step % FAINT_STEPS == 0 else 1.0
        # on a CPU a step whose rays have gradients takes the separate operations, and several times as long
        self.rays.is_differentiable = self.corrections is not None and (self.is_on_gpu or step % POSE_STEPS == 0)
        loss, compared = self.compare(self.n_rays, self.scene.config.min_weight * factor)
        self.compared = [(self.term, compared)]
        return loss, compared

    def name_of(self, index: int) -> str:
        """The file of a training photo."""
        return self.data.source.files[self.data.split("train")[index]]

    def look(self, step: int, compared: Compared) -> dict[str, float]:
        """Figures of how the fit goes, from the last of each ``look_steps`` steps and from the very first."""
        n_rays = len(compared.batch)
        if step == 0 or (step + 1) % self.look_steps == 0:
            self._watch(*self._shown(compared))
            self._adapt(n_rays, int(compared.predicted.n_samples), compared.predicted.n_asked)
        return self._figures(n_rays)

    def tally(self, compared: Compared) -> Tensor:
        """Rays, samples and densities asked for of a part of a step, and sums over its rays of what they show [6]."""
        n_rays, seen = len(compared.batch), compared.predicted
        # of no rays there is no mean
        shown = [n_rays * value for value in self._shown(compared)] if n_rays else 3 * [0.0]
        numbers = [float(n_rays), seen.n_samples, float(seen.n_asked), *shown]
        return torch.stack([torch.as_tensor(x, dtype=torch.float32, device=seen.rgb.device) for x in numbers])

    def look_at(self, step: int, tally: Tensor) -> dict[str, float]:
        """Figures of how the fit goes, from the sum of all processes' :meth:`tally`."""
        n_rays, n_samples, n_asked, *shown = tally.tolist()
        self._watch(*(value / n_rays for value in shown))
        self._adapt(round(n_rays), round(n_samples), round(n_asked))
        return self._figures(round(n_rays))

    def _figures(self, n_rays: int) -> dict[str, float]:
        psnr_now = -10 * math.log10(max(self.mean_squared_error, 1e-12))
        return {"psnr": psnr_now, "opacity": self.opacity, "rays": n_rays, "samples": self.n_samples}

    def after_step(self, step: int) -> None:
        """Refresh the sampler, and fill a scene that went empty with fog again."""
        self.scene.sampler.after_step(self.densities, step)
        self._weigh(step + 1)
        if self.is_choosing and step >= CHOICE_STEP:
            self._choose_exposure()
        if step % EMPTY_CHECK_STEPS == 0 and self.opacity < EMPTY_OPACITY and self.object_fraction > OBJECT_FRACTION:
            self._revive(step)

    def _choose_exposure(self) -> None:
        """Keep an exposure of each photo where they differ in brightness.

        They are there from the first step on: a field that has none to help it soon explains brightness by the
        direction that each photo looks in.
        """
        difference = self.exposure.difference()
        self._settle(difference > BRIGHTNESS_DIFFERENCE)
        if self.is_exposed:
            logger.info(
                "photos differ in brightness by %.0f %% (rms): each has a gain and an offset, a new view their mean "
                "(--exposure common: none has)", 100 * difference,
            )  # fmt: skip

    def _settle(self, is_exposed: bool) -> None:
        """From now on photos have an exposure each, or none, and the scene's settings say so."""
        self.is_choosing = False
        self._expose(is_exposed)
        self.scene.config = dataclasses.replace(self.scene.config, exposure="each" if is_exposed else "common")

    def validate(self) -> dict[str, float]:
        """Mean PSNR over the validation views, NaN without any; ``psnr_aligned`` where views are aligned as well."""
        scored = [(i, *self.score(i)) for i in self.data.split("val")]
        found = {"psnr": [value for _, value, _, _ in scored]}
        if self.scene.is_aligned:
            found["psnr_aligned"] = [
                aligned_psnr(self.scene, self.camera(i), self.data.c2w[i], seen, truth, self.data.masks.get(i))
                for i, _, seen, truth in scored
            ]
        # a photo of which nothing counts has none
        told = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
        return {name: float(np.mean(values)) if values else math.nan for name, values in told.items()}

    def camera(self, index: int) -> Camera:
        """Camera of the photo ``index`` with the focal lengths that were found."""
        camera = self.data.cameras[index]
        return camera if self.corrections is None else scale_focal(camera, self.corrections.focal_factor)

    def score(self, index: int) -> tuple[float, Tensor, Tensor]:
        """PSNR of the photo ``index``, the rendering and the truth it was compared with [h, w, 3]."""
        view = self.scene.render(self.camera(index), self.data.c2w[index])
        truth = self.data.truth(index, self.scene.background)
        return psnr(view.rgb, truth, self.data.masks.get(index)), view.rgb, truth

    def state_dict(self) -> dict[str, Any]:
        """Weights, grid, generators and counters."""
        return {
            "scene": self.scene.state_dict(),
            "generator": self.generator.get_state(),
            "n_rays": self.n_rays,
            "n_steps": self.n_steps,
            "exposure": self.exposure.state_dict(),
            "corrections": None if self.corrections is None else self.corrections.state_dict(),
            "is_exposed": self.is_exposed,
            "is_choosing": self.is_choosing,
            "watch": [self.opacity, self.object_fraction, self.n_revivals, self.mean_squared_error],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.scene.load_state_dict(state["scene"])
        restore_generator(self.generator, state["generator"])
        self.n_rays = int(state["n_rays"])
        self.opacity, self.object_fraction, self.n_revivals, self.mean_squared_error = state["watch"]
        if "exposure" in state:
            self.exposure.load_state_dict(state["exposure"])
            if self.is_choosing and not state["is_choosing"]:
                self._settle(bool(state["is_exposed"]))
            else:
                self.is_choosing = bool(state["is_choosing"])
                self._expose(bool(state["is_exposed"]))
        else:
            # a run of before had none
            self.is_choosing = False
            self._expose(False)
        if self.corrections is not None:
            self.corrections.load_state_dict(state["corrections"])
        # runs of before know no step: nothing grows in them any more
        config = self.scene.config
        self._weigh(int(state.get("n_steps", max(config.distortion_steps, config.near_steps))))

    def _weigh(self, step: int) -> None:
        """Let rays begin nearer to their cameras, the weight of distortion grow, and that of known distances fade.

        In the fog of the first steps distortion finds its least in a wall before each camera, which no other camera
        sees. Distances are known less exactly than many photos tell them in the end.
        """
        self.n_steps, config = step, self.scene.config
        self.distance_weight.fill_(config.depth_weight * 0.5 ** (step / config.depth_half_steps))
        if self.rays.near is not None:
            self.rays.near.fill_(config.near_start * max(0.0, 1 - step / config.near_steps))
        if self.has_distortion:
            self.distortion_weight.fill_(config.distortion_weight * min(1.0, (step + 1) / config.distortion_steps))

    def _adapt(self, n_rays: int, n_samples: int, n_asked: int) -> None:
        """Let the number of rays follow the samples that so many took; by at most a half a step, to stay calm."""
        self.n_samples = cost_in_samples(n_samples, n_asked)
        wanted = n_rays * self.samples_per_step / max(self.n_samples, 1)
        calm = min(max(wanted, n_rays * 0.5), n_rays * 1.5)
        self.n_rays = int(min(max(calm, 64), self.scene.config.max_rays))

    def _shown(self, compared: Compared) -> tuple[Tensor, Tensor, Tensor]:
        """Mean squared error, opacity, and fraction of pixels that are not the background's."""
        seen, truth, background = compared.predicted, compared.batch.values, compared.batch.where.bkgd_rgb
        behind = torch.zeros(3, device=truth.device) if background is None else background
        is_shown = (truth - behind).abs().amax(-1) > 0.02
        return (seen.rgb - truth).square().mean(), seen.opacities.mean(), is_shown.float().mean()

    def _watch(self, mse: float | Tensor, opacity: float | Tensor, shown: float | Tensor) -> None:
        """Running means of opacity and error; on the host, so they cost a synchronisation on a GPU."""
        mse = float(mse)
        self.mean_squared_error = (
            mse if math.isnan(self.mean_squared_error) else 0.95 * self.mean_squared_error + 0.05 * mse
        )
        self.opacity = 0.9 * self.opacity + 0.1 * float(opacity)
        self.object_fraction = 0.9 * self.object_fraction + 0.1 * float(shown)

    def _revive(self, step: int) -> None:
        """Start from fog again: an empty scene has no gradient that could fill it."""
        field, self.n_revivals = self.scene.field, self.n_revivals + 1
        if self.n_revivals > MAX_REVIVALS:
            if self.n_revivals == MAX_REVIVALS + 1:
                logger.warning(
                    "the scene stays empty: %.1f %% of the photos' pixels differ from the background, yet no density "
                    "explains them from several views; poses in another convention (nerfkit reads OpenGL axes), wrong "
                    "intrinsics or a wrong --background do this",
                    100 * self.object_fraction,
                )
            return
        with torch.no_grad():
            xyzs = torch.rand(4096, 3, generator=self.generator, device=self.generator.device)
            density = float(self.densities.density(xyzs).mean())
            field.log_density_offset += math.log(self.scene.config.field.initial_density / max(density, 1e-12))
        self.scene.sampler.reset()
        logger.warning("the scene went empty at step %d (opacity %.4f); filled with fog again", step, self.opacity)
        self.opacity = 1.0


def _distance_errors(seen: Rendered, distances: Tensor) -> Tensor:
    """Huber's of the fraction that a ray's mean distance lacks of the known one; light that passes counts as none."""
    return huber_loss(seen.depths / distances, torch.ones_like(distances), delta=DISTANCE_DELTA, reduction="none") * 2
