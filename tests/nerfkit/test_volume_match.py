"""Stacks of a body that moved between the scans: motion and brightness are found, and corrected where that predicts."""

import dataclasses
from typing import Any

import dicom_files
import numpy as np
import pytest

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.workbench.volumes.alignment import corrected, differences
from nerfkit.workbench.volumes.interpolated import resampled
from nerfkit.workbench.volumes.simulated import simulate_stacks, simulated_motion

SIDE = 40
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])
KEYS: dict[str, Any] = {"thickness": 4, "stacks": 2, "noise": 0.01, "every": 1, "motion": 4.0, "gain": 1.2}


def body(side=SIDE):
    """A lumpy shell with rods in it, [d, h, w] in [0, 1]: nothing of it is alike after a turn."""
    z, y, x = np.mgrid[:side, :side, :side] / side - 0.5
    radius = np.sqrt(x**2 + y**2 + 1.3 * z**2) + 0.02 * (np.sin(19 * x) + np.sin(17 * y + 1) + np.sin(21 * z + 2))
    rods = sum(np.hypot(a - 0.1, b + 0.05) < 0.06 for a, b in ((x, y), (y, z), (z, x)))
    return np.clip(0.7 * (np.abs(radius - 0.3) < 0.05) + 0.5 * rods * (radius < 0.3), 0, 1).astype(np.float32)


def places(stack):
    """Of the corners, mm."""
    ends = [(0, n - 1) for n in stack.shape[::-1]]
    return stack.to_mm(np.stack(np.meshgrid(*ends), -1).reshape(-1, 3))


def moved(matrix, at):
    return at @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("n_stacks", [2, 3])
def test_a_known_motion_is_found_to_a_fifth_of_a_voxel(tmp_path, n_stacks):
    truth, stacks = simulate_stacks(Volume(body(64), AFFINE), KEYS | {"stacks": n_stacks}, 1, tmp_path)
    for number, (found, stack) in enumerate(zip(differences(stacks), stacks[1:], strict=True), 1):
        assert found is not None
        wanted = moved(simulated_motion(truth, 4.0, number, 1), places(stack))
        apart = np.linalg.norm(moved(found.motion, places(stack)) - wanted, axis=1)
        assert apart.max() < 0.2 * 2.0
        assert found.reach == pytest.approx(np.linalg.norm(wanted - places(stack), axis=1).max(), abs=0.4)
        assert found.gain == pytest.approx(1.2, abs=0.03) and found.offset == pytest.approx(0, abs=0.02)
        at = corrected(stack, found, "both")
        np.testing.assert_allclose(places(at), moved(found.motion, places(stack)), atol=1e-9)
        np.testing.assert_allclose(at.values * found.gain + found.offset, stack.values, atol=1e-5)
        assert corrected(stack, found, "none").affine is stack.affine


def test_stacks_that_share_nothing_have_no_known_motion(tmp_path):
    _, (first, second) = simulate_stacks(Volume(body(), AFFINE), KEYS, 0, tmp_path)
    affine = second.affine + np.outer([1, 0, 0, 0], [0, 0, 0, 500])
    assert differences([first, dataclasses.replace(second, affine=affine)]) == [None]
    assert differences([first, dataclasses.replace(second, values=np.zeros_like(second.values))]) == [None]


def test_what_moved_is_corrected_by_itself_and_told(tmp_path):
    source = tmp_path / "fine.npz"
    np.savez(source, volume=body(), affine=AFFINE)

    def fit(name, **settings):
        return nerfkit.fit(
            "volume", source, tmp_path / f"{name}.npy", prior="variation", device="cpu", simulate=KEYS, **settings
        ).figures

    found, without = fit("auto"), fit("none", match="none")
    assert found["metrics"]["psnr"] > without["metrics"]["psnr"] + 3
    assert found["chosen"]["match"] == "both" and set(found["chosen"]["match_tried"]) == {
        "none", "motion", "brightness", "both",
    }  # fmt: skip
    (told,) = found["chosen"]["stacks"]
    assert told["stack"] == 2 and np.linalg.norm(told["shift_mm"]) == pytest.approx(4, abs=0.4)
    assert np.linalg.norm(told["turn_degrees"]) == pytest.approx(4, abs=0.4) and told["gain"] == pytest.approx(
        1.2, 0.03
    )
    assert "match" not in without["chosen"]
    # from the measurements alone the same
    again = nerfkit.fit(
        "volume", tmp_path / "auto" / "measurements.npz", tmp_path / "again.npy", prior="variation", device="cpu"
    )
    assert again.figures["chosen"] == found["chosen"]


def test_stacks_that_lie_right_stay_as_they_are(tmp_path):
    source = tmp_path / "fine.npz"
    np.savez(source, volume=body(), affine=AFFINE)
    still = KEYS | {"motion": 0.0, "gain": 1.0}
    told = nerfkit.fit("volume", source, tmp_path / "a.npy", prior="cubic", device="cpu", simulate=still).figures
    assert told["chosen"]["match"] == "none"


def test_a_series_in_two_halves_is_fused(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    # slices 3 mm apart, every second one in a series of its own
    values = np.round(1000 * body(24)).astype(np.uint16)
    heights = [3.0 * k for k in range(len(values))]
    folders = []
    for half in (0, 1):
        tags = {"series": f"1.2.{half}", "PixelSpacing": [3.0, 3.0]}
        folders.append(dicom_files.write_series(tmp_path / f"half_{half}", values[half::2], heights[half::2], **tags))
    out = tmp_path / "fused.nii.gz"
    assert main(["fit", "volume", *map(str, folders), "-o", str(out), "--device", "cpu"]) == 0
    whole = read_volume(dicom_files.write_series(tmp_path / "whole", values, heights, PixelSpacing=[3.0, 3.0]))
    assert read_volume(out).spacing == pytest.approx((3.0, 3.0, 3.0))
    found = resampled(read_volume(out), VoxelGrid(whole.shape, whole.affine))
    half = resampled(read_volume(tmp_path / "half_0"), VoxelGrid(whole.shape, whole.affine))
    fused, alone = (np.sqrt(np.square(at.values - whole.values).mean()) for at in (found, half))
    assert fused < 0.3 * alone
