"""The problem of a training: which samples a step sees, and how many it asks for."""

from dataclasses import replace

import pytest

from nerfkit.fitting import FitSchedule
from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import FAINT_STEPS, LOOK_STEPS, SAMPLES_A_STEP, RadianceFit, samples_a_step
from nerfkit.scene import FAINT_FRACTION, RadianceScene
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare


def test_every_fourth_step_and_every_picture_see_faint_samples(scene_folder, monkeypatch):
    config = replace(PRESETS["hash"], min_weight=0.02)
    prepared = prepare(read_posed_photos(scene_folder), config, "cpu")
    scene = RadianceScene(config, prepared.bounds, prepared.background)
    task, seen = RadianceFit(scene, prepared.data), []
    predict = scene.observation.predict
    monkeypatch.setattr(
        scene.observation,
        "predict",
        lambda *where, min_weight, **options: seen.append(min_weight) or predict(*where, **options),
    )
    for step in range(2 * FAINT_STEPS):
        task.loss(step)
    faint = 0.02 * FAINT_FRACTION
    assert seen == 2 * [pytest.approx(faint), *[0.02] * (FAINT_STEPS - 1)]
    assert scene.observation.min_weight == pytest.approx(faint)


@pytest.mark.parametrize("is_unbounded", [True, False])
def test_the_distortion_of_rays_counts_where_the_scene_is_unbounded(scene_folder, monkeypatch, is_unbounded):
    prepared = prepare(read_posed_photos(scene_folder), PRESETS["hash"], "cpu")
    bounds = replace(prepared.bounds, contract=is_unbounded, near=0.02, far=256.0)
    losses, distortions = {}, []
    for weight in (0.0, 0.5):
        config = replace(prepared.config, distortion_weight=weight, distortion_steps=1)
        scene = RadianceScene(config, bounds, prepared.background)
        task, predict = RadianceFit(scene, prepared.data), scene.observation.predict

        def watched(*where, predict=predict, **options):
            out = predict(*where, **options)
            distortions.append(out.distortions)
            return out

        monkeypatch.setattr(scene.observation, "predict", watched)
        losses[weight] = float(task.loss(0)[0].detach())
    assert distortions[0] is None
    if not is_unbounded:
        assert distortions[1] is None and losses[0.5] == losses[0.0]
        return
    assert losses[0.5] == pytest.approx(losses[0.0] + 0.5 * float(distortions[1].detach().mean()), rel=1e-5)
    assert float(distortions[1].detach().mean()) > 1e-3


def test_the_weight_of_distortion_grows_and_goes_on_where_it_was(scene_folder):
    prepared = prepare(read_posed_photos(scene_folder), PRESETS["hash"], "cpu")
    config = replace(prepared.config, distortion_weight=0.5, distortion_steps=4)
    bounds = replace(prepared.bounds, contract=True, near=0.02, far=256.0)
    tasks = [RadianceFit(RadianceScene(config, bounds, prepared.background), prepared.data) for _ in range(2)]
    weights = []
    for step in range(6):
        weights.append(float(tasks[0].distortion_weight))
        tasks[0].after_step(step)
    assert weights == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    fresh = RadianceFit(RadianceScene(config, bounds, prepared.background), prepared.data)
    fresh.after_step(0)
    tasks[1].load_state_dict(fresh.state_dict())
    assert float(tasks[1].distortion_weight) == 0.25


def test_a_gpu_is_looked_at_when_the_log_waits_for_it_too(scene_folder, monkeypatch):
    prepared = prepare(read_posed_photos(scene_folder), PRESETS["hash"], "cpu")
    task = RadianceFit(RadianceScene(prepared.config, prepared.bounds, prepared.background), prepared.data)
    task.look_steps, looks = LOOK_STEPS["cuda"], []
    monkeypatch.setattr(task, "_watch", lambda *seen: looks.append(step))
    for step in range(3 * task.look_steps):
        task.loss(step)
    # and once at the start, so that the number of rays soon fits
    assert looks == [0, *(step for step in range(step + 1) if (step + 1) % FitSchedule().log_every == 0)]


def test_samples_of_a_step_follow_method_and_device_unless_they_are_set():
    fourier = PRESETS["fourier"]
    assert samples_a_step(PRESETS["hash"], "cpu") == 2 * samples_a_step(fourier, "cpu") == SAMPLES_A_STEP["cpu"]
    assert samples_a_step(fourier, "cuda") == samples_a_step(PRESETS["hash"], "cuda") == SAMPLES_A_STEP["cuda"]
    assert samples_a_step(replace(fourier, samples_per_step=100), "cpu") == 100
