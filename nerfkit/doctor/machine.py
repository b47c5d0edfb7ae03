"""The check-up of this machine: what nerfkit needs and uses, each tried rather than looked up where that is cheap."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from nerfkit import __version__
from nerfkit.doctor.findings import Report
from nerfkit.loop_cache import COST, kept_loops
from nerfkit.memory import memory_free
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.writing import is_writable

__all__ = ["check_machine"]

PYTHONS = ((3, 11), (3, 14))
# bytes: the demo writes 0.1 GB and holds 1 GB
MIN_DISK, LOW_DISK = 2e8, 2e9
MIN_MEMORY, LOW_MEMORY = 1e9, 4e9
CUDA_FIX = "install a CUDA build of torch: see https://pytorch.org/get-started/locally, then `nerfkit doctor` again"
FFMPEG_FIX = "pip install av, or render to a folder of PNGs (--out NAME without a suffix)"


def check_machine(folder: Path) -> Report:
    """Check what every command uses; ``folder`` is where results would go."""
    report = Report("machine", next_command="nerfkit demo")
    _check_python(report)
    has_torch = _check_torch(report)
    if has_torch:
        _check_gpu(report)
        _check_triton(report)
    _check_numba(report)
    _check_ffmpeg(report)
    _check_opencv(report)
    _check_resources(report, folder)
    return report


def _check_python(report: Report) -> None:
    version = platform.python_version()
    report.fact("nerfkit", __version__)
    report.fact("python", version, f"{version}, {sys.executable}")
    report.fact("system", platform.platform())
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        oldest, newest = (".".join(map(str, v)) for v in PYTHONS)
        report.add(
            "warning", f"nerfkit is tested on Python {oldest} to {newest}; this is {version}",
            where="python", fix=f"make the virtual environment with python{newest}",
        )  # fmt: skip


def _check_torch(report: Report) -> bool:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of its own is absent
        report.fact("torch", None, "absent")
        report.add("error", f"torch cannot be imported ({error})", where="torch", fix="pip install torch")
        return False
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    build = f"ROCm {torch.version.hip}" if torch.version.hip else build
    report.fact("torch", torch.__version__, f"{torch.__version__} ({build})")
    report.fact("torch_build", build, "")
    return True


def _check_gpu(report: Report) -> None:
    import torch

    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            names.append(f"{found.name} ({found.total_memory / 1e9:.0f} GB)")
        report.fact("gpu", names, ", ".join(names))
        return
    report.fact("gpu", [], "none")
    driver = _nvidia_gpus()
    if driver and not torch.version.cuda:
        report.add("warning", f"{driver} is here, but this torch is built for the CPU", where="torch", fix=CUDA_FIX)
    elif driver:
        report.add(
            "warning", f"{driver} is here, but torch cannot use it (its driver may be older than CUDA "
            f"{torch.version.cuda})", where="GPU", fix="update the driver, or " + CUDA_FIX,
        )  # fmt: skip
    else:
        report.add("info", "no GPU: everything runs on the CPU, at smaller photo sizes", where="GPU", fix="")


def _nvidia_gpus() -> str:
    """Names of the GPUs that NVIDIA's driver sees; empty where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(line.strip() for line in done.stdout.splitlines() if line.strip())


def _check_triton(report: Report) -> None:
    try:
        version = importlib.import_module("triton").__version__
    except ImportError:
        version = None
    report.fact("triton", version, version or "absent")
    if version is None and report.facts.get("gpu"):
        report.add(
            "warning", "Triton is absent, so the GPU runs the slower reference kernels", where="triton",
            fix="pip install triton",
        )  # fmt: skip


def _check_numba(report: Report) -> None:
    try:
        version = importlib.import_module("numba").__version__
    except ImportError as error:
        report.fact("numba", None, "absent")
        report.add("error", f"numba cannot be imported ({error})", where="numba", fix="pip install numba")
        return
    cache = kept_loops()
    report.fact("numba", version, f"{version}, compiled loops kept in {cache}" if cache else version)
    report.fact("numba_cache", None if cache is None else str(cache), "")
    if cache is None:
        report.add(
            "warning", f"numba's compiled loops cannot be kept: {COST}",
            where="numba", fix=f"export NUMBA_CACHE_DIR={Path(tempfile.gettempdir()) / 'numba'}",
        )  # fmt: skip


def _check_ffmpeg(report: Report) -> None:
    """Write a video of two frames, as render does."""
    try:
        import av

        from nerfkit.video import VideoWriter
    except ImportError as error:
        report.fact("ffmpeg", None, "absent")
        report.fact("h264", False, "no")
        report.add("error", f"no ffmpeg: PyAV cannot be imported ({error})", where="ffmpeg", fix=FFMPEG_FIX)
        return
    report.fact("ffmpeg", av.ffmpeg_version_info, f"{av.ffmpeg_version_info}, in PyAV {av.__version__}")
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            VideoWriter(Path(folder) / "try.mp4", size=(16, 16), fps=2) as video,
        ):
            video.add(np.zeros((16, 16, 3), np.uint8))
            video.add(np.full((16, 16, 3), 255, np.uint8))
    except (NerfkitError, OSError) as error:
        report.fact("h264", False, "no")
        what = error.what if isinstance(error, NerfkitError) else str(error)
        fix = error.fix if isinstance(error, NerfkitError) and error.fix else FFMPEG_FIX
        report.add("error", f"no H.264 video can be written: {what}", where="ffmpeg", fix=fix)
        return
    report.fact("h264", True, "yes")


def _check_opencv(report: Report) -> None:
    from nerfkit.scenes.opencv import load_cv2

    try:
        version = load_cv2().__version__
    except NerfkitError as error:
        report.fact("opencv", None, "cannot be loaded")
        report.add("warning", error.what, where="opencv", fix=error.fix)
        return
    report.fact("opencv", version)


def _check_resources(report: Report, folder: Path) -> None:
    from nerfkit.cpu import usable_cores

    cores = usable_cores()
    report.fact("cores", cores, f"{cores} usable of {os.cpu_count()}")
    memory = memory_free()
    report.fact("memory_free_gb", None if memory is None else round(memory / 1e9, 2), "" if memory is None else None)
    disk = shutil.disk_usage(folder).free
    report.fact("disk_free_gb", round(disk / 1e9, 2))
    if memory is not None and memory < LOW_MEMORY:
        report.add(
            "error" if memory < MIN_MEMORY else "warning", f"{memory / 1e9:.1f} GB of memory free; 4 GB are enough",
            where="memory", fix="close programs, or train with --downscale",
        )  # fmt: skip
    if disk < LOW_DISK:
        report.add(
            "error" if disk < MIN_DISK else "warning", f"{disk / 1e9:.1f} GB free on the disk of {folder.resolve()}",
            where="disk", fix="make room, or give --out on another disk",
        )  # fmt: skip
    if not is_writable(folder):
        report.add(
            "warning", f"nothing can be written in {folder.resolve()}, where results go by default", where="disk",
            fix="go to a folder of your own, or give --out",
        )  # fmt: skip
