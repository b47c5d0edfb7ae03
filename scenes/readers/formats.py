"""Which picture files are read, which are known and not read, and what makes pictures that are read of those."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

__all__ = [
    "IMAGE_SUFFIXES",
    "READ",
    "VIDEO_SUFFIXES",
    "is_image",
    "judge_unread",
    "prepare_reading",
    "say_how_to_convert",
    "whole_suffix",
]

IMAGE_SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".pgm", ".ppm", ".pnm")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".y4m", ".gif")
READ = "PNG, JPEG, TIFF, WebP, BMP or PGM"
# pictures of phones, which Pillow reads with a package or in a build that not everyone has
HEIF_SUFFIXES, AVIF_SUFFIXES = (".heic", ".heif", ".hif"), (".avif", ".avifs")
PACKED = (".gz", ".bz2", ".fz")
# suffixes of a kind, and how pictures of it become pictures that are read
UNREAD: dict[tuple[str, ...], str] = {
    HEIF_SUFFIXES: (
        "`pip install pillow-heif` lets them be read; or convert them: `magick mogrify -format png *{suffix}`"
    ),
    AVIF_SUFFIXES: "`pip install -U pillow` lets them be read; or convert them: `magick mogrify -format png *{suffix}`",
    (
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef"),
        *(".srw", ".3fr", ".fff", ".iiq", ".erf", ".kdc", ".dcr", ".mrw", ".x3f", ".rwl", ".gpr"),
    ): (
        "develop them all alike to TIFFs of 16 bits, without sharpening: RawTherapee, darktable, or "
        "`dcraw -T -6 -W *{suffix}`"
    ),
    (".fits", ".fit", ".fts"): (
        "with astropy: `python -c \"import glob, numpy as np; from astropy.io import fits; np.save('frames.npy', "
        "np.stack([fits.getdata(f) for f in sorted(glob.glob('*{suffix}'))]))\"`, then give frames.npy (frames with "
        "BAYERPAT are debayered first)"
    ),
    (".dcm", ".dicom", ".ima"): (
        "with pydicom: `python -c \"import glob, numpy as np, pydicom; np.save('frames.npy', "
        "np.stack([pydicom.dcmread(f).pixel_array for f in sorted(glob.glob('*{suffix}'))]))\"`, then give frames.npy"
    ),
    (".exr", ".hdr", ".pfm"): "save them as TIFFs of floats: `oiiotool IN{suffix} -d float -o OUT.tif`",
    (".ser",): "save its frames as TIFFs (PIPP, Siril), then give their folder",
    (".czi", ".nd2", ".lif", ".oib", ".oif", ".vsi", ".ims", ".lsm", ".stk", ".mrc", ".spe"): (
        "save them as one TIFF stack in ImageJ (Fiji, Bio-Formats), then give that"
    ),
    (".jp2", ".j2k", ".jpx", ".jxl", ".psd", ".tga", ".pcx", ".xcf", ".svg"): (
        "convert them: `magick mogrify -format png *{suffix}`"
    ),
}


def is_image(path: Path) -> bool:
    """Whether a name is that of a picture that is read here, with the packages that there are."""
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        return importlib.util.find_spec("pillow_heif") is not None
    if suffix in AVIF_SUFFIXES:
        from PIL import features

        # Pillow before 11.3 warns of a feature that it does not know
        return "avif" in features.modules and bool(features.check("avif"))
    return suffix in IMAGE_SUFFIXES


def prepare_reading(path: Path) -> None:
    """Load what Pillow needs for a picture of this kind, if it is there; such a name may be that of a plain JPEG."""
    if path.suffix.lower() not in HEIF_SUFFIXES:
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def say_how_to_convert(path: Path) -> str:
    """The next step for a picture that is known and not read; "" for anything else."""
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    suffix = plain.suffix.lower()
    text = next((text for suffixes, text in UNREAD.items() if suffix in suffixes and not is_image(path)), "")
    return text.replace("{suffix}", whole_suffix(path))


def judge_unread(images: Sequence[Path], others: Sequence[Path], where: Path, findings: Findings) -> None:
    """Name pictures beside the frames that are known and not read.

    Parameters
    ----------
    images, others : sequence of Path
        What is read, and what else lies there. A raw file beside its own JPEG is not missed.
    where : Path
        The folder or the pattern.
    findings : Findings
        Named there where they are fewer than the frames.

    Raises
    ------
    NerfkitError
        They are more: the frames that are read are not the sequence.
    """
    twins = {image.stem for image in images}
    unread = [file for file in others if file.stem not in twins and say_how_to_convert(file)]
    if not unread:
        return
    counts, fixes = _counted(unread), dict.fromkeys(map(say_how_to_convert, unread))
    fix = "; ".join(fixes)
    if len(unread) > len(images):
        rest = f"; only {_counted(images)} would be" if images else ""
        raise NerfkitError(f"{counts} {_are(unread)} not read{rest}", where=where, fix=fix)
    what = f"{counts} {_are(unread)} not read, and the {len(images)} other pictures are taken for all frames"
    findings.add("warning", what, where=where, fix=fix)


def _counted(files: Sequence[Path]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in Counter(map(whole_suffix, files)).most_common())


def whole_suffix(path: Path) -> str:
    """The suffix, with the one before where it only says that the file is packed."""
    return "".join(path.suffixes[-2:]) if path.suffix.lower() in PACKED else path.suffix


def _are(files: Sequence[Path]) -> str:
    return "is" if len(files) == 1 else "are"
