"""Volumes from slices: the grid, the methods, the choice, and the task from files to a volume."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.tasks.fit import resume_fit
from nerfkit.tasks.volume import VolumeConfig
from nerfkit.volume_files import write_volume
from nerfkit.workbench.volumes.interpolated import resampled
from nerfkit.workbench.volumes.layout import Coarse, lay_out, working_grid
from nerfkit.workbench.volumes.learned import SliceRehearsal, planes_of
from nerfkit.workbench.volumes.shown import mm_wide, montage, volume_pictures
from nerfkit.workbench.volumes.simulated import simulate_stacks
from nerfkit.workbench.volumes.statistics import background_of, noise_of
from nerfkit.workbench.volumes.variation import Stacks, least_variation

SIDE = 24
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])
KEYS: dict[str, Any] = {"thickness": 4, "stacks": 2, "noise": 0.01, "every": 1}


def phantom(side=SIDE):
    """Two balls in air, [d, h, w] in [0, 1]."""
    z, y, x = np.mgrid[:side, :side, :side] / side
    ball = np.hypot(np.hypot(x - 0.5, y - 0.45), z - 0.55) < 0.34
    inner = np.hypot(np.hypot(x - 0.6, y - 0.5), z - 0.5) < 0.14
    return (0.6 * ball + 0.4 * inner).astype(np.float32)


def fine():
    return Volume(phantom(), AFFINE)


def stacks(tmp_path, **keys):
    return simulate_stacks(fine(), KEYS | keys, 0, tmp_path / "x")


def source(tmp_path):
    path = tmp_path / "fine.npz"
    np.savez(path, volume=phantom(), affine=AFFINE)
    return path


def fit(*args, **kwargs):
    return nerfkit.fit("volume", *args, **{"steps": 3, "device": "cpu"} | kwargs)


@pytest.mark.parametrize("n_stacks", [1, 2, 3])
def test_the_grid_of_simulated_stacks_is_that_of_the_volume(tmp_path, n_stacks):
    truth, found = stacks(tmp_path, stacks=n_stacks, noise=0.0)
    layout = lay_out(found)
    assert layout.grid.shape == truth.shape
    np.testing.assert_allclose(layout.grid.affine, truth.affine, atol=1e-9)
    assert layout.coarse == (Coarse(4, 0.0, 4.0),) * n_stacks
    for coarse, values in zip(layout.coarse, layout.stacks, strict=True):
        means = np.moveaxis(truth.values, 2 - coarse.axis, -1)
        means = np.moveaxis(means.reshape(*means.shape[:2], -1, 4).mean(-1), -1, 2 - coarse.axis)
        np.testing.assert_allclose(values, means, atol=1e-6)
    assert len(planes_of(layout)) == (2, 1, 3)[n_stacks - 1]


def test_slices_that_are_missing_keep_the_middle_of_a_cell(tmp_path):
    truth, found = stacks(tmp_path, thickness=1, stacks=1, every=2, noise=0.0)
    layout = lay_out(found)
    np.testing.assert_allclose(layout.grid.affine, truth.affine, atol=1e-9)
    assert layout.grid.shape == truth.shape and layout.coarse == (Coarse(2, 0.0, 1.0),)
    matrix = layout.coarse[0].matrix(4)
    torch.testing.assert_close(matrix, torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]]))


def test_stacks_that_are_turned_or_shifted_are_no_cells_of_one_grid(tmp_path):
    _, (first, second) = stacks(tmp_path)
    shifted = second.affine.copy()
    shifted[:3, 3] += 0.7
    assert lay_out([first, dataclasses.replace(second, affine=shifted)]).coarse == ()
    assert lay_out([first, first]).coarse == ()
    assert working_grid([first, dataclasses.replace(second, affine=shifted)]).spacing == (2.0, 2.0, 2.0)


def test_one_stack_of_any_pitch_has_cells_that_divide_it():
    stack = Volume(np.zeros((5, 6, 7), np.float32), np.diag([1.0, 1.0, 3.3, 1.0]), 3.3)
    grid = working_grid([stack])
    assert grid.shape == (15, 6, 7) and grid.spacing == pytest.approx((1.0, 1.0, 1.1))
    assert grid.affine[2, 3] == pytest.approx(-1.1)


def test_stacks_have_an_exact_adjoint_and_norms_of_one(tmp_path):
    truth, found = stacks(tmp_path)
    instrument = Stacks([SliceAverages(VoxelGrid(truth.shape, truth.affine), stack) for stack in found])
    volume = torch.rand(truth.shape)
    values = torch.rand_like(instrument.product(volume))
    there, back = (instrument.product(volume) * values).sum(), (volume * instrument.adjoint(values)).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-5)
    # slices of four cells shrink a volume of ones by no more than to a half
    torch.testing.assert_close(instrument.rows(), torch.full_like(values, 2.0))


def test_least_variation_finds_a_box_and_keeps_its_means(tmp_path):
    truth, found = stacks(tmp_path, noise=0.0)
    grid = VoxelGrid(truth.shape, truth.affine)
    slices = [SliceAverages(grid, stack) for stack in found]
    tensors = [torch.from_numpy(stack.values) for stack in found]
    start = torch.full(truth.shape, 0.5)
    got = least_variation(slices, tensors, 1e-4, start, floor=0.0, n_steps=200)
    assert (got - torch.from_numpy(truth.values)).square().mean() < 0.004
    assert got.min() >= 0
    for at, stack in zip(slices, tensors, strict=True):
        assert (at.predict(got) - stack).abs().max() < 0.02
    # what is NaN does not count
    tensors[0][2] = torch.nan
    assert least_variation(slices, tensors, 1e-4, start, n_steps=20).isfinite().all()


def test_noise_and_background_are_estimated():
    generator = np.random.default_rng(0)
    values = np.where(phantom() > 0, 40 * phantom(), -1000).astype(np.float32)
    noisy = values + 3 * generator.standard_normal(values.shape).astype(np.float32)
    assert noise_of([noisy]) == pytest.approx(3, rel=0.15)
    assert background_of([noisy], 3.0) == pytest.approx(-1000, abs=3)
    assert background_of([np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10)], 0.001) is None


def test_a_network_learns_from_one_seed_the_same(tmp_path):
    _, found = stacks(tmp_path)
    plane = planes_of(lay_out(found))[0]
    values = [torch.from_numpy(stack.values) for stack in found]
    rehearsals = [SliceRehearsal(plane, values, 0.01, seed=3) for _ in range(2)]
    losses = [[rehearsal.loss(step)[0].item() for step in range(3)] for rehearsal in rehearsals]
    assert losses[0] == losses[1]
    other = SliceRehearsal(plane, values, 0.01, seed=4)
    other.load_state_dict(rehearsals[0].state_dict())
    assert other.loss(3)[0].item() == rehearsals[1].loss(3)[0].item()


def test_planes_measured_again_are_what_stacks_are(tmp_path):
    truth, found = stacks(tmp_path, noise=0.0)
    layout = lay_out(found)
    plane = planes_of(layout)[0]
    measured = plane.measure(plane.ordered(torch.from_numpy(truth.values)).contiguous())
    for part, number in zip(measured, plane.stacks, strict=True):
        torch.testing.assert_close(part, plane.ordered(torch.from_numpy(layout.stacks[number])), atol=1e-6, rtol=0)
    volume = torch.rand(3, 4, 5)
    torch.testing.assert_close(plane.back(plane.ordered(volume)), volume)


def test_resampling_keeps_places_and_means():
    z, y, x = np.mgrid[:8, :6, :4].astype(np.float32)
    volume = Volume(x + 2 * y - z, np.diag([1.0, 1.0, 2.0, 1.0]))
    grid = VoxelGrid(volume.shape, volume.affine)
    finer = resampled(volume, grid.resampled(0.5))
    index = np.array([3, 4, 12])  # (i, j, k) of a voxel inside
    at = volume.to_index(finer.to_mm(index))
    assert finer.values[12, 4, 3] == pytest.approx(at[0] + 2 * at[1] - at[2], abs=1e-5)
    coarser = resampled(volume, grid.resampled(2.0))
    assert coarser.shape == (8, 3, 2) and coarser.spacing == (2, 2, 2)
    np.testing.assert_allclose(coarser.values, volume.values.reshape(8, 3, 2, 2, 2).mean((2, 4)), atol=1e-5)
    assert resampled(volume, grid).values is not None


def test_pictures_are_turned_to_the_patient():
    values = np.zeros((4, 6, 8), np.float32)
    values[:, 0] = 1  # j = 0 is the front when j runs to the back
    flipped = Volume(values, np.diag([-1.0, -1.0, 2.0, 1.0]))
    picture, words = montage(flipped)
    assert "axial, z = 3.0 mm, 8 x 6 mm" in words and "left is on the left" in words
    assert picture[0, :8].min() == 1 and picture[5, :8].max() == 0
    assert picture.shape == (8, 8 + 8 + 6 + 6)
    # pixels of the finest spacing, 1 mm
    assert mm_wide(flipped, picture) == 28
    for is_inverted, window in ((False, (0, 0.5)), (True, (0.5, 0))):
        shown = volume_pictures({"it": flipped}, (0, 0.5), inverted=is_inverted)[0]
        assert shown.window == window and shown.mm_wide == 28
        assert shown.pixels[0, 0] == (-1 if is_inverted else 2)


def test_the_task_from_a_volume_to_files(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    out = tmp_path / "out.nii.gz"
    result = fit(source(tmp_path), out, simulate=KEYS)
    figures = result.figures
    assert {"psnr", "ssim", "holdout", "holdout_psnr"} <= set(figures["metrics"])
    assert {"linear", "cubic", "variation, oracle"} <= set(figures["baselines"])
    assert all("how" in baseline for baseline in figures["baselines"].values())
    written = read_volume(out)
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    assert written.shape == (SIDE, SIDE, SIDE)
    # three steps teach nothing, which held-out slices see
    assert (
        figures["chosen"]["prior"] == "variation" and figures["metrics"]["psnr"] > figures["baselines"]["cubic"]["psnr"]
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "--out out_again.nii.gz" in page
    assert "mm" in page and "cubic" in page
    # the same from the measurements alone, and after a resumption
    again = fit(tmp_path / "out" / "measurements.npz", tmp_path / "again.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), written.values)
    assert "psnr" not in again.figures["metrics"] and again.figures["chosen"] == figures["chosen"]
    before = out.read_bytes()
    assert resume_fit(tmp_path / "out", device="cpu").figures["metrics"] == figures["metrics"]
    assert out.read_bytes() == before


def test_a_run_is_rendered_at_other_spacings_and_in_parts(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    fit(source(tmp_path), tmp_path / "out.nii", simulate=KEYS, prior="cubic")
    result = nerfkit.load(tmp_path / "out", device="cpu")
    assert result.render(spacing=4.0).shape == (12, 12, 12)
    part = result.render(crop=(1, 2, 3, 4, 5, 6))
    assert part.shape == (6, 5, 4)
    np.testing.assert_allclose(part.affine[:3, 3], (AFFINE @ [1, 2, 3, 1])[:3])
    told = result.write(tmp_path / "part.nii.gz", spacing=4.0, crop=(0, 0, 6, 12, 12, 1))
    assert told["size"] == [12, 12, 1] and told["spacing"] == [4.0, 4.0, 4.0]
    result.write(tmp_path / "slice.png", crop=(0, 0, 12, 24, 24, 1))
    assert (tmp_path / "slice.png").read_bytes()[1:4] == b"PNG"
    for options, message in (
        ({"crop": (0, 0, 0, 25, 1, 1)}, "is not within the volume of 24x24x24 voxels"),
        ({"crop": (0, 0, 5, 5)}, "six numbers are wanted"),
        ({"spacing": -1.0}, "must be above 0 mm"),
        ({"spacing": 0.001}, "voxels are more than"),
        ({"size": (4, 4)}, "--size cannot be used here: this run holds a volume"),
    ):
        with pytest.raises(NerfkitError, match=message):
            result.write(tmp_path / "bad.nii.gz", **options)
    with pytest.raises(NerfkitError, match="are no picture"):
        result.write(tmp_path / "bad.png")
    with pytest.raises(NerfkitError, match=r"volumes are written as"):
        result.write(tmp_path / "bad.jpg")


def test_stacks_in_files_of_their_own_are_fused_also_oblique_ones(tmp_path, capsys):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    _, found = stacks(tmp_path)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    paths = []
    for number, stack in enumerate(found):
        affine = turned @ stack.affine if number else stack.affine
        paths.append(str(tmp_path / f"{number}.nii"))
        write_volume(paths[-1], dataclasses.replace(stack, affine=affine))
    out = tmp_path / "fused.nii.gz"
    assert main(["fit", "volume", *paths, "-o", str(out), "--set", "weight=0.001", "--json", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["chosen"]["prior"] == "variation" and told["field"] == "voxels"
    shown = json.loads((tmp_path / "fused" / "shown.json").read_text())["said"]
    assert any("as thick as they are apart, 8 mm" in text for text in shown)
    assert any("nothing was learned from the slices: the stacks are not cells of one grid" in text for text in shown)
    with pytest.raises(NerfkitError, match="prior learned is not possible: the stacks are not cells of one grid"):
        fit(paths, tmp_path / "x.npy", prior="learned")


def test_the_output_has_the_spacing_that_is_asked_for(tmp_path):
    fit(source(tmp_path), tmp_path / "out.tif", simulate=KEYS | {"stacks": 1}, prior="linear", spacing=4.0)
    found = read_volume(tmp_path / "out.tif")
    assert found.spacing == pytest.approx((4.0, 4.0, 4.0)) and found.shape == (12, 12, 12)


def test_what_is_cut_to_whole_slices_is_compared_after_a_resumption_too(tmp_path):
    np.savez(tmp_path / "odd.npz", volume=phantom()[:-1], affine=AFFINE)
    told = fit(tmp_path / "odd.npz", tmp_path / "out.npy", simulate=KEYS, prior="cubic").figures
    assert np.load(tmp_path / "out.npy").shape == (20, SIDE, SIDE)
    assert resume_fit(tmp_path / "out", device="cpu").figures["metrics"] == told["metrics"]


def test_a_truth_must_be_where_the_result_is(tmp_path):
    truth, found = stacks(tmp_path)
    for name, affine in (("right", AFFINE), ("wrong", AFFINE + np.outer([1, 0, 0, 0], [0, 0, 0, 3]))):
        np.savez(tmp_path / f"{name}.npz", volume=truth.values, affine=affine)
    np.savez(tmp_path / "a.npz", volume=found[0].values, affine=found[0].affine, thickness=8.0)
    told = fit(tmp_path / "a.npz", tmp_path / "a.npy", truth=tmp_path / "right.npz", prior="cubic").figures
    assert told["metrics"]["psnr"] > 10
    with pytest.raises(NerfkitError, match="its corners are up to 3 mm from those of the result"):
        fit(tmp_path / "a.npz", tmp_path / "b.npy", truth=tmp_path / "wrong.npz", prior="cubic")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"thickness": 1}, "leave the volume as it is"),
        ({"stacks": 4}, "stacks must be 1, 2 or 3; got 4"),
        ({"noise": -1.0}, "noise must be 0 to 10"),
        ({"thickness": 20}, "has 24 voxels along axis k; two slices of 20"),
    ],
)
def test_each_mistake_of_a_simulation_is_named(tmp_path, keys, message):
    with pytest.raises(NerfkitError, match=message):
        stacks(tmp_path, **keys)


def test_inputs_that_cannot_be_fused_are_named(tmp_path):
    np.savez(tmp_path / "thin.npz", volume=np.zeros((4, 1, 5)))
    with pytest.raises(NerfkitError, match="has slices of 5x1 voxels"):
        fit(tmp_path / "thin.npz", tmp_path / "x.npy")
    np.savez(tmp_path / "thick.npz", volume=phantom(), thickness=30.0)
    with pytest.raises(NerfkitError, match="slices 30 mm thick, 1 mm apart"):
        fit(tmp_path / "thick.npz", tmp_path / "x.npy")
    with pytest.raises(NerfkitError, match=r"voxels of 1e-06 mm are more than"):
        fit(source(tmp_path), tmp_path / "x.npy", spacing=1e-6)
    with pytest.raises(NerfkitError, match=r"volume writes .nii.gz, .nii, .npy, .tif, .tiff; got .png"):
        fit(source(tmp_path), tmp_path / "x.png")
    with pytest.raises(NerfkitError, match="makes stacks of one volume"):
        fit([source(tmp_path)] * 2, tmp_path / "x.npy", simulate=KEYS)


@pytest.mark.parametrize("name", ["spacing", "thickness", "weight", "holdout", "steps"])
def test_settings_are_checked(name):
    with pytest.raises(ValueError, match=name):
        VolumeConfig(**{name: -1})  # pyright: ignore[reportArgumentType] -- one of several
