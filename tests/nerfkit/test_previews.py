"""Previews: rare enough to cost little, small, and of what is being trained."""

import pytest
from PIL import Image

from nerfkit import previews
from nerfkit.config import override
from nerfkit.fitting import Progress
from nerfkit.presets import PRESETS
from nerfkit.scene import RadianceScene
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare


@pytest.fixture(scope="module")
def prepared(scene_folder):
    small = override(PRESETS["hash"], ["field.log2_table_size=10", "sampling.resolution=16"])
    return prepare(read_posed_photos(scene_folder), small, "cpu")


def at(seconds):
    return Progress(step=1, seconds=seconds, fraction=0.1, seconds_left=9.0 * seconds, figures={})


def test_a_preview_is_written_when_it_is_due(prepared, tmp_path):
    scene = RadianceScene(prepared.config, prepared.bounds, prepared.background)
    path = tmp_path / "preview.png"
    show = previews.Previews(scene, prepared.data, path, max_side=20)
    show(at(previews.EVERY_SECONDS - 0.1))
    assert not path.exists()
    show(at(previews.EVERY_SECONDS))
    with Image.open(path) as picture:
        assert picture.size == (20, 20)
    path.unlink()
    show(at(previews.EVERY_SECONDS + 0.1))
    assert not path.exists()


def test_slow_previews_become_rare(prepared, tmp_path, monkeypatch):
    scene = RadianceScene(prepared.config, prepared.bounds, prepared.background)
    show = previews.Previews(scene, prepared.data, tmp_path / "preview.png")
    clock = iter([0.0, 3.0])
    monkeypatch.setattr(previews.time, "monotonic", lambda: next(clock))
    show(at(10.0))
    # three seconds may be spent in a hundred and fifty
    assert show.due_at == pytest.approx(3.0 / previews.TIME_SHARE)
