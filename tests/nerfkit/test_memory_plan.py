"""What a training is planned to take, and that photos beyond it are mapped with the same result."""

import numpy as np
import pytest
from photo_folders import frames, write_transforms

from nerfkit import memory_plan
from nerfkit.memory_plan import cache_folder, plan_memory
from nerfkit.presets import TrainConfig
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos

CONFIG = TrainConfig()


def large_set(folder, n=2000):
    """So many photos of 12 Mpx as a listing tells of them, without pixels."""
    cameras = [Camera(4000, 3000, 3000.0, 3000.0, 2000.0, 1500.0)] * n
    splits = {"train": list(range(n - 10)), "val": list(range(n - 10, n)), "test": []}
    return PosedPhotos(
        "large", folder, "colmap", [f"{i}.jpg" for i in range(n)], cameras, np.stack([np.eye(4)] * n), splits
    )


def plan_of(source, gigabytes=None, **options):
    budget = None if gigabytes is None else int(gigabytes * 1e9)
    return plan_memory(source, CONFIG, "cpu", **({"downscale": None, "max_side": 400} | options), budget=budget)


def test_two_thousand_photos_of_twelve_megapixels(tmp_path, monkeypatch):
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path))
    source = large_set(tmp_path)
    small = plan_of(source, 3)
    assert (small.photos, small.is_mapped, small.store) == (2000 * 400 * 300 * 3, False, None)
    assert str(small).endswith("of 3 GB given; photos 0.72 GB, in memory")
    large = plan_of(source, 3, downscale=1.0, max_side=None)
    assert large.photos == 2000 * 12_000_000 * 3 and large.is_mapped and large.store is not None
    assert large.store.limit == 3_000_000_000 - large.rest > 10**9
    where = f"decoded once into {tmp_path / 'photos'} and mapped from there"
    assert str(large) == f"memory: about 3 GB of 3 GB given; photos 72 GB, {where}"


def test_a_budget_that_holds_no_training(tmp_path):
    with pytest.raises(
        NerfkitError, match=r"--memory-budget: 0\.3 GB are less than the .* GB that are needed at least"
    ):
        plan_of(large_set(tmp_path), 0.3)


def test_without_a_budget_what_is_free_counts(tmp_path, monkeypatch):
    source = large_set(tmp_path, 50)
    monkeypatch.setattr(memory_plan, "memory_free", lambda: None)
    assert plan_of(source).budget is None and not plan_of(source).is_mapped
    monkeypatch.setattr(memory_plan, "memory_free", lambda: 10**9)
    whole = plan_of(source, downscale=1.0)
    assert "of 0.8 GB free" in str(whole) and whole.is_mapped
    # less than the libraries take is no reason not to try
    monkeypatch.setattr(memory_plan, "memory_free", lambda: 10**7)
    assert plan_of(source, downscale=1.0).is_mapped


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("NERFKIT_CACHE")
    assert cache_folder().name == "nerfkit"


def test_a_training_with_mapped_photos_is_the_same(nerfkit, scene_folder, small_hash, tmp_path, monkeypatch):
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memory_plan, "LEAST_MAPPED", 10_000)
    runs = {}
    for name, budget in (("memory", "2GB"), ("mapped", None)):
        if budget is None:
            monkeypatch.setattr(memory_plan, "memory_free", lambda: 10**6)
        given = [] if budget is None else ["--memory-budget", budget]
        answer = nerfkit("train", scene_folder, *small_hash, "--steps", 4, "--out", tmp_path / name, *given)
        assert answer.code == 0
        assert ("mapped from there" in answer.out) == (name == "mapped")
        runs[name] = (tmp_path / name / "checkpoints" / "step_00000004.safetensors").read_bytes()
    assert runs["memory"] == runs["mapped"]
    assert len(list((tmp_path / "cache" / "photos").glob("*.bytes"))) == 1
    # and goes on from there
    assert nerfkit("train", "--resume", tmp_path / "mapped", "--steps", 6).code == 0


@pytest.mark.parametrize("text", ["4", "GB", "-1GB", "4 apples"])
def test_sizes_that_are_none(nerfkit, tmp_path, text):
    answer = nerfkit("train", write_transforms(tmp_path / "data", entries=frames(5)), f"--memory-budget={text}")
    assert answer.code == 2 and "must be a size in MB or GB" in answer.err
