"""How well `nerfkit fit register` finds a known warp of a photograph, beside optical flow, demons and B-splines.

python scripts/workbench_register.py [--cases plain bright modal large siren volume] [--seeds 1] [--side 512]
    [--classical-side 128] [--json FILE]

The classical ones have the parameters that the truth of each case chooses from a ladder; on photographs of
--classical-side, and ours beside them there too: a ladder of B-splines takes minutes at 256 already. Rows are printed
as they come.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

import nerfkit
from nerfkit.scenes.volumes import Volume, affine_of_spacing
from nerfkit.volume_files import write_volume
from nerfkit.workbench.registration.baselines import measure_baselines
from nerfkit.workbench.registration.images import Pair, Spatial
from nerfkit.workbench.registration.outcome import displacement_errors

# name -> kind of the warp, its pixels at 512, settings, and the median error that is wanted there, pixels
CASES: dict[str, tuple[str, float, dict[str, Any], str]] = {
    "plain": ("plain", 10.0, {}, "<= 0.04"),
    "bright": ("bright", 10.0, {}, "<= 0.17"),
    "modal": ("modal", 10.0, {}, "<= 0.15"),
    "large": ("large", 40.0, {}, "<= 0.04"),
    "siren": ("plain", 10.0, {"field": "siren"}, "to compare"),
    "volume": ("plain", 6.0, {}, "<= 0.3"),
}
WHOLE = 512
# what the truth may choose from: of the flows, demons and B-splines of photographs; of demons of volumes
LADDERS: dict[str, tuple[float, ...]] = {
    "tvl1": (5, 15, 50, 150), "ilk": (3, 7, 15), "demons": (1, 2, 3), "bspline": (8, 16),
}  # fmt: skip
# all but the sine network, which takes as long as the other cases together
USUAL = ("plain", "bright", "modal", "large", "volume")
VOLUME_LADDERS: dict[str, tuple[float, ...]] = {"demons": (1.5, 3)}
# voxels along a side of the volume, and millimetres between them
SIDE, SPACING = 96, 1.5
# wall seconds that a run may take: another process may hold the core
LIMIT = 600.0


def measure(
    cases: Sequence[str] = USUAL, seeds: Sequence[int] = range(1), side: int = WHOLE, classical_side: int = 128
) -> list[Row]:
    """Errors, folds and CPU seconds, a row each."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            for seed in seeds:
                folder = Path(name) / f"{case}_{seed}"
                folder.mkdir()
                rows += _rows(case, seed, side, folder, False)
                if case not in ("siren", "volume") and classical_side:
                    (folder / "small").mkdir()
                    rows += _rows(case, seed, classical_side, folder / "small", True)
    return rows


def _rows(case: str, seed: int, side: int, folder: Path, beside: bool) -> list[Row]:
    """Ours at one size, and with ``beside`` the classical ones; of a volume always."""
    kind, warp, settings, wanted = CASES[case]
    source = _volume(folder) if case == "volume" else _photograph(folder, side)
    warp *= 1.0 if case == "volume" else side / WHOLE
    suffix, title = ("nii.gz", SIDE) if case == "volume" else ("png", side)
    began = time.process_time()
    found = nerfkit.fit(
        "register", source, folder / f"out.{suffix}", simulate={"kind": kind, "warp": warp}, seed=seed, seconds=LIMIT,
        baselines=False, **settings,
    )  # fmt: skip
    seconds = time.process_time() - began
    command = f"nerfkit fit register {source.name} --simulate kind={kind},warp={warp:g} --seed {seed} -o out.{suffix}"
    command += "".join(f" --{name} {value}" for name, value in settings.items())
    metrics, chosen, name = found.figures["metrics"], found.figures["chosen"], f"{case} {title}, seed {seed}"
    how = f"{chosen['similarity']}, bending {chosen['bending']:g}"
    goal = wanted if side == WHOLE else ""
    rows = [
        Row(f"{name}: {found.figures['field']} ({how})", metrics["error_median"], "px", goal, command),
        Row(f"{name}: folds", metrics["folds"], "of the pixels", "0", command),
        Row(f"{name}: CPU seconds", round(seconds, 1), "s", "120" if case == "volume" else "30", command),
    ]
    print("\n".join(map(str, rows)), flush=True)
    if beside or case == "volume":
        rows += _classical(name, found.run.folder, VOLUME_LADDERS if case == "volume" else LADDERS)
    return rows


def _classical(name: str, run: Path, ladders: Mapping[str, Sequence[float]]) -> list[Row]:
    """The classical ones on what the run has made."""
    with np.load(run / "measurements.npz") as arrays, np.load(run / "truth.npz") as known:
        fixed, moving, truth = arrays["fixed"], arrays["moving"], known["displacement"]
    eye = np.eye(fixed.ndim + 1)
    pair, rows = Pair(Spatial(fixed, eye), Spatial(moving, eye)), []
    for method, values in ladders.items():
        found = measure_baselines(
            fixed, moving, lambda moves: displacement_errors(moves, truth, pair), print, lambda: None, {method: values}
        )
        for figures in found.values():
            how = f"{figures['how']}; {figures['cpu_seconds']} CPU-s"
            rows.append(Row(f"{name}: {method}", figures["error_median"], "px", how, ""))
            print(rows[-1], flush=True)
    return rows


def _photograph(folder: Path, side: int) -> Path:
    path = folder / "astronaut.png"
    Image.fromarray(data.astronaut()).convert("L").resize((side, side), Image.Resampling.LANCZOS).save(path)
    return path


def _volume(folder: Path) -> Path:
    """A ball of smooth random tissue."""
    rng = np.random.default_rng(0)
    values = sum(gaussian_filter(rng.normal(size=(SIDE,) * 3), sigma) * sigma**1.5 for sigma in (2, 4, 8))
    values = np.asarray(values) - np.min(values)
    at = np.indices((SIDE,) * 3) / (SIDE / 2) - 1
    values = (values / values.max() * (np.square(at).sum(0) < 0.8)).astype(np.float32)
    path = folder / "tissue.nii.gz"
    write_volume(path, Volume(values, affine_of_spacing((SPACING, SPACING, SPACING))))
    return path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(USUAL))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=WHOLE, help="of the photograph, pixels")
    parser.add_argument("--classical-side", type=int, default=128, help="where the others are measured; 0: nowhere")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases, range(given.seeds), given.side, given.classical_side), given.json)


if __name__ == "__main__":
    main()
