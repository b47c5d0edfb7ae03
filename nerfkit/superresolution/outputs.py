"""What a run folder of a super-resolution says of the result: figures, registration, pictures for the report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nerfkit.files import write_atomically
from nerfkit.picture_files import picture_bytes
from nerfkit.picture_result import PROFILE_FILE
from nerfkit.runs import Run
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.fields.image_field import ImageField, render_lattice
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.measurements.lattice_values import cell_centres
from nerfkit.scenes.noise import noise_level
from nerfkit.scenes.readers.shifts import write_shifts
from nerfkit.scenes.transfer import Transfer

from .alignment import NAMES
from .diagnosis import power_spectrum, residual_map, uncertainty
from .expectation import Expectation, expect, places, scene_power
from .fallback import mean_of_channels
from .inputs import Source
from .judging import doubt, frames_error, left_out
from .mesh import mesh
from .reconstruct import Reconstruction
from .scoring import decibels, score
from .settings import DEFAULT_WIDTH, SuperresSettings
from .trials import MIN_SIGMA

__all__ = ["Outputs"]

# sides of frames, low-res pixels, up to which the uncertainty is computed: two solutions more, after the budget
MAX_UNCERTAIN = 160
# quantile of the errors over the places of a frame that is noise alone
PLAIN = 0.1


@dataclass(frozen=True)
class Outputs:
    """What was found of the frames of a source, and the files that say so.

    Parameters
    ----------
    source : Source
        Frames and settings.
    state : Reconstruction
        What was found; complete or not.
    run : Run
        The run folder.
    """

    source: Source
    state: Reconstruction
    run: Run

    @property
    def settings(self) -> SuperresSettings:
        """What decided the result."""
        return self.source.settings

    @property
    def transfer(self) -> Transfer:
        """How the frames' files hold linear radiance."""
        return Transfer(self.settings.transfer, self.settings.n_channels, self.settings.value_range)

    @cached_property
    def stack(self) -> FrameStack:
        """Grey frames and their weights, on the CPU."""
        stack = self.state.stack
        return FrameStack(stack.values.cpu(), stack.weights.cpu())

    @cached_property
    def expectation(self) -> Expectation | None:
        """What the used frames can give; None where none is used, or no solved image tells the scene's power."""
        state, used = self.state, self.state.weights.cpu().numpy() > 0
        if not used.any() or state.is_mean:
            return None
        if self.source.measured is not None and used[::2].any():
            # two fields measure as much as a frame
            used = used & (np.arange(len(used)) % 2 == 0)
        power = scene_power(self._grey(state.image).numpy(), state.cells)
        view = state.view
        return expect(places(view, used), view.psf, self.settings.scale, max(state.prior.sigma, MIN_SIGMA), power)

    def figures(self) -> dict[str, Any]:
        """Motion, PSF, registration, held-out error, and what was cut short, as ``--json`` prints them."""
        view, weights = self.state.view, self.state.weights.tolist()
        rows = zip(self.source.files, view.motion.displacements(view.size).tolist(), weights, strict=True)
        registered = [
            {"file": file, "dx": round(dx, 5), "dy": round(dy, 5), "used": weight > 0}
            for file, (dx, dy), weight in rows
        ] + [
            {"file": file, "dx": None, "dy": None, "used": False}
            for file in [*self.source.blank, *self.source.repeated]
        ]
        return {
            "register": self.state.aligned.model,
            "displacement": round(view.motion.typical_displacement, 4),
            "chosen_from": self.source.frames.chosen_from,
            "crop": None if self.settings.crop is None else list(self.settings.crop),
            "transfer": self.transfer.curve,
            "sharpened": None if self.state.aligned.mask is None else self.state.aligned.mask.amount,
            "reference": self.source.files[self.state.aligned.reference],
            "psf": self._psf(),
            "defects": self.state.aligned.n_defects,
            "repeated": list(self.source.repeated),
            "blank": list(self.source.blank),
            "registered": registered,
            "holdout_psnr": decibels(self.state.holdout_mse),
            "cut": list(self.state.cut),
            "held_out_frames": None if self.state.judged is None else self.state.judged.as_dict(),
            "fallback": None if self.state.fallback is None else self.state.fallback.to,
        }

    def warnings(self, unexplained: float | None) -> list[str]:
        """What a person should know of the result, a sentence without a stop each.

        Parameters
        ----------
        unexplained : float, optional
            By what is written, of the frames' contrast.
        """
        state, expected = self.state, self.expectation
        found = [
            "" if expected is None else expected.warning(),
            left_out(int((state.weights == 0).sum()), len(state.weights)),
            # the mean of the frames explains them badly whatever moved
            "" if state.is_mean else doubt(unexplained, NAMES[state.aligned.model]),
            "" if state.fallback is None else state.fallback.sentence(),
        ]
        return [sentence for sentence in found if sentence]

    def _psf(self) -> dict[str, Any]:
        """Kind and width of the PSF that frames were solved with, and whether they told the width themselves."""
        psf, asked = self.state.view.psf, self.settings.psf_width
        is_estimated = psf.kind != "file" and (asked == "auto" or (asked is None and psf.width != DEFAULT_WIDTH))
        return {"kind": psf.kind, "width": round(psf.width, 4), "estimated": is_estimated}

    def write(
        self, output: Path, image: NDArray[np.float32], truth: NDArray[np.float32] | None, figures: dict[str, Any]
    ) -> None:
        """Write metrics.json, registered.csv, diagnosis.json, and the pictures that the report compares ``image`` with.

        Parameters
        ----------
        output : Path
            Where the image is.
        image : ndarray
            The image.
        truth : ndarray, optional
            What it should be.
        figures : dict
            As ``--json`` prints them.
        """
        mean = self.transfer.image(mean_of_channels(self.state.aligned, self.settings.output_size))
        pictures = {"bicubic": self._enlarged(), "aligned mean": mean}
        self._write_picture("bicubic.png", pictures["bicubic"])
        self._write_picture("aligned_mean.png", pictures["aligned mean"])
        if self.source.icc_profile is not None:
            write_atomically(self.run.folder / PROFILE_FILE, self.source.icc_profile)
        if output.suffix.lower() != ".png":
            # browsers show no TIFF
            self._write_picture("result.png", image)
        kept = {name: value for name, value in figures.items() if name != "registered"}
        kept["output"] = os.path.relpath(output.resolve(), self.run.folder.resolve())
        if truth is not None:
            kept["bicubic"] = score(pictures["bicubic"], truth, self.settings.scale)
            kept["aligned_mean"] = score(mean, truth, self.settings.scale)
            self._write_picture("truth.png", truth)
        self._write_registered()
        self._write_diagnosis({"nerfkit": image, **pictures})
        self.run.write_json("metrics.json", {"superres": kept})

    def _write_picture(self, name: str, picture: NDArray[np.float32]) -> None:
        payload = picture_bytes(picture, ".png", self.settings.bit_depth, self.source.icc_profile)
        write_atomically(self.run.folder / name, payload)

    def error(self, field: ImageField) -> float:
        """Mean squared error of the used pixels that a field predicts, averaged over the output's whole pixels."""
        return frames_error(self.state.stack, self.state.view, self._lattice(field), self.transfer)

    def unexplained(self, field: ImageField) -> float | None:
        """Error by a field at the usual place of the frames, beyond their noise, as a fraction of their contrast.

        The median over the places: a thing that crosses the scene is not what the question is about.
        """
        is_used = self.stack.is_used
        if not is_used.any():
            return None
        (width, height), cells = self.state.view.size, self.state.cells
        errors = residual_map(self.stack, self.state.view, Grid(height, width, cells), self._lattice(field))
        # of few frames the error of one pixel is known badly
        errors = avg_pool2d(errors.square()[None], 3, 1)[0].sqrt() if min(height, width) > 2 else errors
        frames = self.stack.values[is_used]
        contrast = float(frames.std(dim=(1, 2)).median())
        # fine texture counts as noise in a frame, and what is unexplained everywhere in the errors
        noise = min(float(np.median([noise_level(frame) for frame in frames.numpy()])), float(errors.quantile(PLAIN)))
        beyond = max(float(errors.median()) ** 2 - noise**2, 0.0) ** 0.5
        return round(beyond / contrast, 4) if contrast > 0 else None

    def mesh(self, field: ImageField) -> float:
        """Power of a field at the frequencies of the sampling lattice, relative to those round them."""
        return round(mesh(self._lattice(field), self.state.cells), 3)

    def _lattice(self, field: ImageField) -> Tensor:
        """Grey of a field on the output's whole pixels."""
        (width, height), cells = self.state.view.size, self.state.cells
        ys, xs = cell_centres(height * cells, height), cell_centres(width * cells, width)
        return self._grey(render_lattice(field, ys, xs))

    def _grey(self, image: Tensor) -> Tensor:
        """Grey [h, w] of an image [n_channels, h, w]."""
        return self.transfer.grey(image.cpu()).contiguous()

    def _enlarged(self) -> NDArray[np.float32]:
        """The reference frame on the output's pixels by cubics, as viewers do: file values, but alpha multiplied in."""
        width, height = self.settings.output_size
        values = Transfer("linear", self.transfer.n_channels)
        reference = self.source.images[self.state.aligned.reference]
        channels = torch.cat(values.channels(torch.from_numpy(reference[None])))[:, None]
        return values.image(interpolate(channels, (height, width), mode="bicubic", align_corners=False)[:, 0])

    def _write_registered(self) -> None:
        """registered.csv, which --shifts takes back."""
        state, path = self.state, self.run.folder / "registered.csv"
        motion = self.source.in_whole_frames(state.view.motion)
        extra = {
            "used": [weight > 0 for weight in state.weights.tolist()],
            "residual": [round(r, 6) for r in state.residuals.tolist()],
            "weight": [round(fraction, 4) for fraction in state.fractions.tolist()],
            "gain": [round(gain, 5) for gain in state.aligned.exposure.gains.tolist()],
            "offset": [round(offset, 5) for offset in state.aligned.exposure.offsets.tolist()],
        }
        if motion.model == "shift":
            write_shifts(path, self.source.files, motion.shifts.numpy(), "shift", extra)
        else:
            write_shifts(path, self.source.files, motion.matrices.numpy(), "homography", extra)

    def _write_diagnosis(self, pictures: dict[str, NDArray[np.float32]]) -> None:
        """residuals.png and uncertainty.png with their scales in linear radiance, and the spectra, for the report."""
        figures: dict[str, Any] = {}
        for name, values in self._maps().items():
            top = max(float(np.quantile(values.numpy(), 0.99)), 1e-4)
            picture = (values / top).clamp(0, 1).numpy()
            write_atomically(self.run.folder / f"{name}.png", picture_bytes(picture, ".png", 8))
            figures[name] = {"white": round(top, 5), "median": round(float(values.median()), 5)}
        as_files = Transfer("linear", self.transfer.n_channels)
        spectra = {}
        for name, picture in pictures.items():
            channels = torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1)
            frequencies, power = power_spectrum(as_files.grey(channels).numpy(), self.settings.scale)
            spectra[name] = {"frequencies": [round(f, 4) for f in frequencies], "power": power}
        self.run.write_json("diagnosis.json", {"spectra": spectra, **figures})

    def _maps(self) -> dict[str, Tensor]:
        """Maps of the residuals and, of small frames, of the uncertainty."""
        state, stack = self.state, self.stack
        (width, height), view = state.view.size, state.view
        maps = {"residuals": residual_map(stack, view, Grid(height, width, state.cells), self._grey(state.image))}
        # of two halves that are solved, which the mean of the frames is not
        if max(height, width) <= MAX_UNCERTAIN and not state.is_mean and not state.aligned.limit.is_over:
            unsure = uncertainty(stack, view, state.prior, torch.Generator().manual_seed(self.settings.seed))
            maps |= {} if unsure is None else {"uncertainty": unsure}
        return maps
