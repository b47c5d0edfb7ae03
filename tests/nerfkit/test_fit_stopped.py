"""Tasks of `nerfkit fit` that save their state: stopped after each save, they go on to the same bits."""

from pathlib import Path

import numpy as np
import pytest
from support import stop_after_saves

import nerfkit


def picture(folder, side=24):
    y, x = np.mgrid[:side, :side] / side
    np.save(folder / "a.npy", (0.5 + 0.3 * np.sin(9 * x + 4 * y) + 0.2 * (np.hypot(x - 0.5, y - 0.4) < 0.3)).clip(0, 1))
    return folder / "a.npy"


def volume(folder):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    z, y, x = np.mgrid[:16, :16, :16] / 16 - 0.5
    np.savez(folder / "a.npz", volume=(np.hypot(np.hypot(x, y), z) < 0.4) + 0.5 * (x > 0), spacing=(1.0, 1.0, 1.0))
    return folder / "a.npz"


def mesh(folder):
    pytest.importorskip("igl", reason="needs the extra nerfkit[mesh]")
    from closed_surfaces import torus

    from nerfkit.surface_files import write_mesh

    write_mesh(folder / "a.ply", torus(30))
    return folder / "a.ply"


def pictures(folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "a.npz", pictures=rng.random((12, 8, 8)))
    return folder / "a.npz"


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """What is measured and drawn of a mesh."""
    from nerfkit.workbench.shapes import measures, views

    for name in ("N_BOX", "N_NEAR", "N_SURFACE"):
        monkeypatch.setattr(measures, name, 2000)
    monkeypatch.setattr(views, "N_DRAWN", 20_000)


# task -> its data, the name of its output, settings
TASKS = {
    "shape": (mesh, "o.ply", {"steps": 30, "n_samples": 2000, "resolution": 32, "n_params": 60_000}),
    "volume": (volume, "o.npy", {"simulate": {"thickness": 2, "stacks": 1}, "steps": 3}),
    "register": (picture, "o.npy", {"simulate": {"warp": 1}, "steps": 4, "similarity": "ssd", "baselines": False}),
    "many": (pictures, "o.png", {"method": "meta", "steps": 3}),
    "gradient": (picture, "o.npy", {"steps": 10}),
    "inpaint": (picture, "o.npy", {"simulate": {"keep": 0.3}, "steps": 10, "field": "siren"}),
}


@pytest.mark.parametrize("task", TASKS)
def test_stopped_after_each_save_it_gives_the_same(tmp_path, monkeypatch, task):
    make, name, settings = TASKS[task]
    source = make(tmp_path)
    given = {"seconds": 600, "device": "cpu", **settings}
    whole = nerfkit.fit(task, source, tmp_path / "whole" / name, **given)
    stopped = stop_after_saves(monkeypatch)
    found = None
    try:
        found = nerfkit.fit(task, source, tmp_path / "stopped" / name, **given)
    except KeyboardInterrupt:
        while found is None:
            try:
                found = nerfkit.resume_fit(tmp_path / "stopped" / "o", device="cpu")
            except KeyboardInterrupt:
                continue
    # the last is of the field that the run holds
    assert len({stage for stage, _ in stopped}) > 1
    outputs = [path.relative_to(tmp_path / "whole") for path in Path(tmp_path / "whole").iterdir() if path.is_file()]
    assert outputs
    for path in outputs:
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "stopped" / path).read_bytes()
    assert found.figures["chosen"] == whole.figures["chosen"]
