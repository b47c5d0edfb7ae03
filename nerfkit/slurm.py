"""A script for Slurm that works through a list of scenes, each as a task of one array."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["slurm_script"]


def slurm_script(path: Path, n_scenes: int, out: Path, *, device: str = "auto") -> str:
    """The script for sbatch.

    Parameters
    ----------
    path : Path
        The list.
    n_scenes : int
        Scenes in it.
    out : Path
        Folder of all results, which all machines see.
    device : {"auto", "cpu", "cuda"}
        With "cuda" each task asks for a GPU.
    """
    words = ["nerfkit", "batch", str(path.resolve()), "-o", str(out.resolve()), "--device", device, "--only"]
    gpu = "#SBATCH --gres=gpu:1" if device == "cuda" else "##SBATCH --gres=gpu:1    # one # less for a GPU each"
    return "\n".join([
        "#!/bin/bash",
        f"#SBATCH --job-name=nerfkit-{path.resolve().stem.replace(' ', '_')}",
        f"#SBATCH --array=1-{n_scenes}",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=8G",
        "#SBATCH --time=02:00:00",
        gpu,
        "# a task that runs out of time or loses its machine goes on where it was",
        "#SBATCH --requeue",
        f'srun {shlex.join(words)} "$SLURM_ARRAY_TASK_ID"',
    ])  # fmt: skip
