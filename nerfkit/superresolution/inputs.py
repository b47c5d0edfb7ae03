"""What a super-resolution starts from: frames, where they look, the PSF and a truth, read and checked together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.picture_files import PICTURE_SUFFIXES
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.readers.frames import Frames, read_frames
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.psf import read_psf
from nerfkit.scenes.readers.shifts import read_shifts

from .blank_frames import is_blank
from .expectation import SAID_OF_ONE_FRAME
from .frame_choice import SharpestOfEachStretch
from .given_motion import check_given_motion
from .interlaced import split_fields
from .repeated_frames import find_repeats
from .settings import DEFAULT_WIDTH, MAX_FILE_WIDTH, PSF_NAMES, SuperresConfig, SuperresSettings

__all__ = ["Source", "check_output", "read_source", "read_truth"]

# what is undone before frames are averaged, as the line about them says it
CURVE_TEXTS = {
    "srgb": ", averaged in linear RGB",
    "bt709": ", averaged in linear radiance (curve BT.709)",
    "gamma22": ", averaged in linear radiance (gamma 2.2)",
    "gamma28": ", averaged in linear radiance (gamma 2.8)",
}


@dataclass(frozen=True)
class Source:
    """Frames that were read, and what is known of where they look.

    Parameters
    ----------
    frames : Frames
        As they were read.
    config : SuperresConfig
        What the user said.
    settings : SuperresSettings
        What decides the result besides the frames: what the user said, and what followed from them.
    path : Path
        The folder, video, array or glob.
    motion : Motion, optional
        Where the frames look, as a file says.
    reference : int
        Frame that the output covers.
    psf_picture : ndarray, shape (m, m), optional
        The point spread function of a file; None: by the settings' name and width.
    blank : list of str
        Names of frames that were left out because they show nothing.
    repeated : list of str
        Names of frames that were left out because they repeat another.
    inputs : dict
        What config.yml says besides the settings: the shifts' file, the reference's name, the number of frames.
    """

    frames: Frames
    config: SuperresConfig
    settings: SuperresSettings
    path: Path
    motion: Motion | None = None
    reference: int = 0
    psf_picture: NDArray[np.float64] | None = None
    blank: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    # [n, h, w] 0 for rows of the other field of interlaced video, which were filled in; None: all were measured
    measured: NDArray[np.float32] | None = None
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Names of the frames."""
        return self.frames.files

    @cached_property
    def images(self) -> NDArray[np.float32]:
        """File values [n, h, w] or [n, h, w, 2 to 4] in [0, 1]; the last of 2 or 4 channels is alpha."""
        return _with_alpha(self.frames)

    @property
    def icc_profile(self) -> bytes | None:
        """Colour profile of the reference frame."""
        return self.frames.icc_profiles[self.reference] if self.frames.icc_profiles else None

    @property
    def psf(self) -> Psf | None:
        """The sampled point spread function; None: by the settings' name and width."""
        if self.psf_picture is None:
            return None
        width = self.settings.psf_width
        samples = len(self.psf_picture)
        return Psf.of_picture(self.psf_picture, width if isinstance(width, float) else samples / self.settings.scale)

    def with_curve(self, curve: str) -> Source:
        """The same with the curve that the frames were found to have, in the user's settings too."""
        config, settings = (
            replace(one, transfer=curve)  # pyright: ignore[reportArgumentType]
            for one in (self.config, self.settings)
        )
        return replace(self, config=config, settings=replace(settings, is_curve_assumed=False))

    def with_inputs(self, **inputs: Any) -> Source:
        """The same with more of what config.yml says besides the settings."""
        return replace(self, inputs=self.inputs | inputs)

    def describe(self) -> list[str]:
        """What was found, and what the frames cannot give, in lines for a person."""
        frames, settings = self.frames, self.settings
        kind = "grey" if settings.n_channels < 3 else "colour"
        depth = "floats" if frames.bit_depth == 32 else f"{frames.bit_depth} bits"
        depth += " with alpha" if frames.alpha is not None else ""
        depth += CURVE_TEXTS.get(settings.transfer, "")
        size, output = "{} x {}".format(*frames.size), "{} x {}".format(*settings.output_size)
        if settings.crop is not None:
            size += " at ({}, {}) of {} x {}".format(*settings.crop[:2], *frames.whole_size)
        lines = [
            f"{frames.name}: {len(frames)} {kind} frames of {size}, {depth}",
            f"output: {output} ({settings.scale:.3g}x), PSF: {self._psf_text()}",
        ]
        if frames.chosen_from is not None:
            lines.append(
                f"{frames.chosen_from} frames: the sharpest of each of {settings.most_frames} stretches are used; "
                "--most-frames N takes more"
            )
        if self.blank:
            whose = f"the reference is {self.files[self.reference]}"
            lines.append(f"left out {len(self.blank)} frames that show nothing: {some(self.blank)}; {whose}")
        if self.repeated:
            lines.append(f"left out {len(self.repeated)} frames that repeat another: {some(self.repeated)}")
        if self.measured is not None:
            lines.append(f"interlaced: each field is a frame of its own, {len(frames)} of half the rows")
        if len(frames) == 1:
            lines.append(SAID_OF_ONE_FRAME)
        elif self.motion is None and frames.shifts_file is not None:
            lines.append(
                f"{frames.shifts_file} is not used; give it with --shifts, or let the frames be registered as now"
            )
        return lines

    def in_whole_frames(self, motion: Motion) -> Motion:
        """A motion of the part that was cut from the frames, as that of the whole frames."""
        if motion.model == "shift" or self.settings.crop is None:
            return motion
        corner = -torch.tensor(_corner(self.settings), dtype=torch.float64)
        moved = motion.between_parts(corner, corner)
        return replace(moved, matrices=moved.matrices / moved.matrices[:, 2:, 2:])

    def _psf_text(self) -> str:
        name, width = self.settings.psf, self.settings.psf_width
        if self.psf is not None:
            return f"file {self.psf.width:.3g} px"
        if width == "auto":
            return f"{name}, its width by the frames"
        return f"{name} {DEFAULT_WIDTH:.3g} px unless they show another" if width is None else f"{name} {width:.3g} px"


def check_output(out: str | Path, *, overwrite: bool) -> Path:
    """The path of the picture to write.

    Raises
    ------
    NerfkitError
        No picture can be written there: the suffix, a folder, or a file that is there already.
    """
    output = Path(out)
    if output.suffix.lower() not in PICTURE_SUFFIXES:
        seen = output.suffix or "a name without suffix"
        raise NerfkitError(
            f"the picture is written as PNG or TIFF; got {seen}", where=output, fix="end its name in .png or .tif"
        )
    if output.is_dir():
        raise NerfkitError("is a folder; the name of a picture is wanted", where=output, fix="give another -o")
    if output.exists() and not overwrite:
        raise NerfkitError("is there already", where=output, fix="give another -o, or --overwrite to replace it")
    return output


def read_source(
    path: str | Path, config: SuperresConfig, *, shifts: str | Path | None = None, reference: str | None = None,
    n_frames: int | None = None,
) -> Source:  # fmt: skip
    """Read frames, the file that says where they look, and the file of the PSF.

    Parameters
    ----------
    path : str or Path
        Folder, glob, video or array.
    config : SuperresConfig
        The user's settings.
    shifts : str or Path, optional
        File of shifts, affine maps or homographies; None: the frames are registered.
    reference : str, optional
        Name of the frame that the output covers; None: the first, or where few of the others see it the one that most
        of them overlap.
    n_frames : int, optional
        Take the first so many; of these the settings' ``most_frames`` at most are chosen.

    Raises
    ------
    NerfkitError
        Any of the files is bad, or they contradict one another or the settings.
    """
    if config.exact_shifts and shifts is None:
        raise NerfkitError(
            "there are no shifts to take as they are", where="--exact-shifts", fix="give them: --shifts FILE.csv"
        )
    choose = SharpestOfEachStretch(config.most_frames, reference)
    frames = read_frames(path, n_frames, crop=config.crop, choose=choose)
    frames, blank = _without_blank(frames, Path(path), reference)
    frames, repeated = _without_repeats(frames, reference)
    config = _with_curve(config, frames)
    n_channels = (1 if frames.images.ndim == 3 else 3) + (frames.alpha is not None)
    settings = SuperresSettings.for_frames(
        config, size=frames.size, n_channels=n_channels, bit_depth=frames.bit_depth, value_range=frames.value_range,
        white=frames.white,
    )  # fmt: skip
    index = 0 if reference is None else _find(reference, frames)
    given = None if shifts is None else read_shifts(shifts, frames).of_part(_corner(config))
    if given is not None:
        check_given_motion(
            given, frames.grey, settings.scale, str(shifts), reference=index, is_exact=config.exact_shifts
        )  # fmt: skip
    motion = None if given is None else Motion.of_matrices(torch.from_numpy(given.matrices()))
    if motion is not None and reference is not None:
        motion = motion.relative_to(index)
    measured = None
    if frames.field_order is not None and frames.alpha is None and given is None:
        # the field of the even rows stands for its frame
        (frames, measured), index = split_fields(frames), 2 * index
    inputs = {"frames": n_frames, "shifts": None if shifts is None else Path(shifts), "reference": reference}
    picture = None if config.psf in PSF_NAMES else _read_psf(settings)
    return Source(frames, config, settings, Path(path), motion, index, picture, blank, repeated, measured, inputs)


def _without_blank(frames: Frames, path: Path, reference: str | None) -> tuple[Frames, list[str]]:
    """Frames that show something, and the names of the others; the next one takes the place of a blank first one."""
    if len(frames) == 1:
        return frames, []
    found = is_blank(frames.grey)
    if found.all():
        raise NerfkitError(
            f"the {len(frames)} frames show nothing: each has one value throughout", where=path,
            fix="look at them; give those that show a scene",
        )  # fmt: skip
    blank = [file for file, is_out in zip(frames.files, found, strict=True) if is_out]
    if reference is not None and found[_find(reference, frames)]:
        shows = frames.files[int(found.argmin())]
        raise NerfkitError(
            f"{reference!r} shows nothing: hardly any contrast beside the other frames", where="--reference",
            fix=f"give another, for example {shows}, or leave it out",
        )  # fmt: skip
    return (frames.without(np.flatnonzero(found).tolist()), blank) if blank else (frames, [])


def _without_repeats(frames: Frames, reference: str | None) -> tuple[Frames, list[str]]:
    """Frames that are exposures of their own, and the names of the others; of two the reference is kept."""
    twins = find_repeats(frames.images)
    is_out = twins >= 0
    index = None if reference is None else _find(reference, frames)
    if index is not None and is_out[index]:
        is_out[[index, twins[index]]] = False, True
    if not is_out.any():
        return frames, []
    names = [file for file, is_repeat in zip(frames.files, is_out, strict=True) if is_repeat]
    return frames.without(np.flatnonzero(is_out).tolist()), names


def read_truth(path: str | Path, settings: SuperresSettings) -> NDArray[np.float32]:
    """The picture [h, w] or [h, w, 2 to 4] of the output's size that a result is compared with."""
    truth = read_frames(path)
    if len(truth) != 1 or truth.size != settings.output_size:
        seen = f"{len(truth)} pictures" if len(truth) != 1 else "{}x{} pixels".format(*truth.size)
        wanted = "{}x{}".format(*settings.output_size)
        raise NerfkitError(
            f"the truth has {seen}, the output {wanted}; they must have the same size", where=path,
            fix="give a picture of that size, or another --scale",
        )  # fmt: skip
    return _with_alpha(truth)[0]


def _corner(config: SuperresConfig) -> tuple[int, int]:
    """Upper left corner (x, y) of the part that is cut from the frames."""
    return (0, 0) if config.crop is None else config.crop[:2]


def _with_curve(config: SuperresConfig, frames: Frames) -> SuperresConfig:
    """The settings with the curve that the files name, where the user named none; so config.yml has it."""
    return config if config.transfer != "auto" or frames.curve is None else replace(config, transfer=frames.curve)


def _with_alpha(frames: Frames) -> NDArray[np.float32]:
    if frames.alpha is None:
        return frames.images
    return np.concatenate([frames.images.reshape(*frames.alpha.shape, -1), frames.alpha[..., None]], axis=-1)


def _find(name: str, frames: Frames) -> int:
    """Index of the frame of a name, with or without its folder."""
    names = [name, Path(name).name]
    found = [index for index, file in enumerate(frames.files) if file in names or Path(file).name == Path(name).name]
    if len(found) != 1:
        some = ", ".join(frames.files[:3])
        raise NerfkitError(
            f"{name!r} is {'none' if not found else 'more than one'} of the {len(frames)} frames ({some}, ...)",
            where="--reference", fix="give a frame's name relative to the frames' folder",
        )  # fmt: skip
    return found[0]


def _read_psf(settings: SuperresSettings) -> NDArray[np.float64]:
    """The picture of a point of light that a file holds, not wider than the frames allow."""
    picture, width = read_psf(settings.psf), settings.psf_width
    side = width if isinstance(width, float) else len(picture) / settings.scale
    most = min(MAX_FILE_WIDTH, min(settings.frame_size) / 2)
    if side > most:
        raise NerfkitError(
            f"its {len(picture)} samples are {side:.3g} low-res pixels wide; at most {most:.3g} are wanted",
            where=settings.psf, fix="crop it round the point, or give the width of the whole: --psf-width W",
        )  # fmt: skip
    return picture
