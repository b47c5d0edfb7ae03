"""The script that measures denoising: its rows and its table."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("workbench_denoise")
    finally:
        sys.path.remove(str(SCRIPTS))


def test_sigmas_mean_what_the_help_says(script):
    assert script.noise_of("gaussian", 25.5).level == pytest.approx(0.1)
    assert script.noise_of("poisson", 30).peak == pytest.approx(30)
    assert script.noise_of("impulse", 10).level == pytest.approx(0.1)


def test_table_has_the_mean_over_the_draws(script):
    rows = [script.Measured("camera", "gaussian", 25.0, seed, {"ours": 30.0 + seed}, {}, 1.0) for seed in (0, 1)]
    assert "| camera gaussian 25 | 30.50 | 1 |" in script.table(rows)


def test_a_row_has_ours_and_the_guide(script, monkeypatch):
    clean = np.tile(np.linspace(0.2, 0.8, 24, dtype=np.float32), (24, 1))[..., None]
    monkeypatch.setattr(script, "read_image", lambda name, side: clean)
    (row,) = script.measure(["ramp"], [25.0], [0], seconds=1.0, with_baselines=False)
    assert set(row.psnr) == {"noisy", "ours", "guide: non-local Bayes"}
    assert row.psnr["ours"] > row.psnr["noisy"] + 5
