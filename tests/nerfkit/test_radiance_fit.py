"""The task of a training: which samples a step sees, and how many it asks for."""

from dataclasses import replace

import pytest

from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import FAINT_STEPS, SAMPLES_A_STEP, RadianceFit, samples_a_step
from nerfkit.scene import FAINT_SHARE, RadianceScene
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare


def test_every_fourth_step_and_every_picture_see_faint_samples(scene_folder, monkeypatch):
    config = replace(PRESETS["hash"], min_weight=0.02)
    prepared = prepare(read_posed_photos(scene_folder), config, "cpu")
    scene = RadianceScene(config, prepared.bounds, prepared.background)
    task, seen = RadianceFit(scene, prepared.data), []
    predict = scene.observation.predict
    monkeypatch.setattr(
        scene.observation, "predict", lambda *rays, min_weight: seen.append(min_weight) or predict(*rays)
    )
    for step in range(2 * FAINT_STEPS):
        task.loss(step)
    faint = 0.02 * FAINT_SHARE
    assert seen == 2 * [pytest.approx(faint), *[0.02] * (FAINT_STEPS - 1)]
    assert scene.observation.min_weight == pytest.approx(faint)


def test_samples_of_a_step_follow_method_and_device_unless_they_are_set():
    fourier = PRESETS["fourier"]
    assert samples_a_step(PRESETS["hash"], "cpu") == 2 * samples_a_step(fourier, "cpu") == SAMPLES_A_STEP["cpu"]
    assert samples_a_step(fourier, "cuda") == samples_a_step(PRESETS["hash"], "cuda") == SAMPLES_A_STEP["cuda"]
    assert samples_a_step(replace(fourier, samples_per_step=100), "cpu") == 100
