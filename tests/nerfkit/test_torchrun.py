"""Scenes that several processes train together, started by torchrun on this machine: gloo, one thread or so each."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_folders import write_transforms
from PIL import Image
from textured_room import photograph, room_poses, textures

import nerfkit as api
from nerfkit.checkpoints import CheckpointFolder

# in a folder of its own: beside tests/nerfkit that folder would be taken for the package
WORKER = Path(__file__).parents[1] / "processes" / "torchrun_worker.py"
# sizes that train in a blink
SMALL = {"field": {"log2_table_size": 10, "n_levels": 4}, "samples_per_step": 2048}
# a seed and enough steps for the grid to be refreshed, and a checkpoint at each
BRIEF = {**SMALL, "steps": 20, "checkpoint_seconds": 1e-9}


def torchrun(*words, n=2, restarts=0):
    command = ["--standalone", f"--nproc-per-node={n}", f"--max-restarts={restarts}", *map(str, words)]
    # what this process was started with is not theirs
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command], capture_output=True, text=True, timeout=400,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def work(folder, *jobs, **options):
    """Let processes do jobs."""
    return torchrun(WORKER, listed(folder, *jobs), **options)


def listed(folder, *jobs):
    """A file of jobs; an ``out`` is taken as a name below the folder."""
    file = folder / "jobs.json"
    file.write_text(json.dumps([{**job, "out": str(folder / job.get("out", "none"))} for job in jobs]))
    return file


def told(folder, out, n=2):
    return [json.loads((folder / f"{out}.{rank}.json").read_text()) for rank in range(n)]


def newest(run):
    return CheckpointFolder(Path(run) / "checkpoints").load_newest()


@pytest.fixture(scope="module")
def scene_16(tmp_path_factory):
    """Photos of an object, 16 x 16 pixels."""
    from nerfkit.scenes.synthetic import write_posed_scene

    return write_posed_scene(tmp_path_factory.mktemp("ranks") / "lamp", n_train=6, n_val=1, n_test=1, size=(16, 16))


@pytest.fixture(scope="module")
def room_16(tmp_path_factory):
    """Photos of a corner of a room, 16 x 12 pixels, their exposures differing, with depth maps."""
    folder, poses, walls = tmp_path_factory.mktemp("ranks") / "room", room_poses(8), textures()
    entries = []
    for i, c2w in enumerate(poses):
        picture = photograph(c2w, walls, size=(16, 12), focal=14.0)
        shown = np.clip(picture * (0.6 + 0.05 * i), 0, 255).astype(np.uint8)
        entries.append({
            "file_path": f"images/{i}.png", "transform_matrix": c2w.tolist(), "depth_file_path": f"depth/{i}.png",
        })  # fmt: skip
        for name, values in (("images", shown), ("depth", depth_of(c2w))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / name / f"{i}.png")
    # none is held out: to align a view in its exposure takes longer than all else here
    names = [entry["file_path"] for entry in entries]
    write_transforms(
        folder, entries=entries, w=16, h=12, fl_x=14.0, fl_y=14.0, cx=8.0, cy=6.0, photos=False, train_filenames=names,
        val_filenames=[], test_filenames=[],
    )  # fmt: skip
    return folder


def depth_of(c2w):
    """Distance along the axis of the camera to the nearest wall, in millimetres."""
    column, row = np.meshgrid(np.arange(16) + 0.5, np.arange(12) + 0.5)
    rays = np.stack([(column - 8) / 14, (6 - row) / 14, -np.ones_like(row)], -1) @ c2w[:3, :3].T
    with np.errstate(divide="ignore"):
        distance = np.where(rays < 0, -c2w[:3, 3] / rays, np.inf).min(-1)
    return np.clip(1000 * distance, 0, 60000).astype(np.uint16)


def assert_same_to_rounding(alone, together, n_steps):
    """Compare two checkpoints of the same steps taken alone and together.

    Sums of gradients in another order differ by their rounding, 1e-7 of their size, which grows from step to step:
    Adam divides each by its own size, so a step of a number whose gradients nearly cancel may differ by as much as its
    learning rate, 0.04. Few do. A part that is weighed wrongly, or drawn by one process alone, shows in a tenth.
    """
    for key in ("exp_avg", "exp_avg_sq"):
        for index, wanted in alone["optimizer"]["state"].items():
            found = together["optimizer"]["state"][index]
            assert found["step"] == wanted["step"]
            assert (found[key] - wanted[key]).norm() <= 1e-3 * wanted[key].norm(), (key, index)
    wanted, found = (flat(state["task"]) for state in (alone, together))
    assert wanted.shape == found.shape
    differences = (wanted - found).abs()
    assert differences.max() <= 0.04 * n_steps
    assert (differences > 1e-4).float().mean() < 1e-3
    assert alone["task"]["n_rays"] == together["task"]["n_rays"]


def flat(task):
    parts = [x for x in tensors(task) if x.is_floating_point()]
    return torch.cat([x.reshape(-1).float() for x in parts])


def tensors(value):
    """All tensors in a nest, in its order."""
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [found for item in items for found in tensors(item)]


@pytest.fixture(scope="module")
def two(scene_16, tmp_path_factory):
    """How `nerfkit train` of two processes ended, and its run."""
    run = tmp_path_factory.mktemp("two") / "run"
    sets = ["field.log2_table_size=10", "field.n_levels=4", "samples_per_step=2048", "checkpoint_seconds=1e-9"]
    done = torchrun(
        "-m", "nerfkit", "train", scene_16, "--out", run, "--steps", 20, "--json", "--device", "cpu",
        *(word for setting in sets for word in ("--set", setting)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, run


def test_two_processes_train_what_one_does_and_the_first_alone_speaks(two, scene_16, tmp_path):
    done, run = two
    api.train(scene_16, tmp_path / "alone", device="cpu", **BRIEF)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["steps"] == 20 and json.loads(line)["psnr"] > 5
    assert done.stderr.count("trained 20 steps") == done.stderr.count("report: ") == 1
    assert_same_to_rounding(newest(tmp_path / "alone"), newest(run), 20)
    assert {path.name for path in run.iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}


def test_a_killed_process_is_started_again_to_the_same_bits_and_one_that_fails_ends_all_with_its_message(
    two, scene_16, tmp_path
):
    job = {"data": str(scene_16), "out": "out", "settings": BRIEF, "signal": [1, 0, 13, signal.SIGKILL]}
    words = ["train", str(scene_16), "--out", str(tmp_path / "run"), "--steps", "5", "--json", "--quiet"]
    done = work(tmp_path, job, {"words": words, "fails": 1}, restarts=1)
    for one in told(tmp_path, "out"):
        # from a checkpoint, and not from the beginning
        assert 10 < one["first"] <= 14 and one["last"] == 20
    pairs = list(zip(tensors(newest(two[1])), tensors(newest(tmp_path / "out")), strict=True))
    assert len(pairs) > 10 and all(torch.equal(a, b) for a, b in pairs)
    # the second command, which has no start left
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: r_3.png: cannot be read"
    ]
    (line,) = done.stdout.splitlines()
    error = {"what": "cannot be read", "where": "r_3.png", "fix": "copy it again"}
    assert json.loads(line) == {"error": error, "exit": 2}
    # nothing was begun
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
def test_a_machine_that_does_not_answer_is_named_and_the_run_goes_on_to_the_same_bits(two, scene_16, tmp_path):
    # as one that is cut off: it closes no connection
    job = {"data": str(scene_16), "out": "out", "settings": BRIEF, "signal": [1, 0, 13, signal.SIGSTOP], "timeout": 6}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    words |= {"TORCHELASTIC_RESTART_COUNT": 0, "OMP_NUM_THREADS": 1}
    processes = []
    for rank in range(2):
        environment = os.environ | {name: str(value) for name, value in (words | {"RANK": rank}).items()}
        command = [sys.executable, str(WORKER), str(listed(tmp_path, job))]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        # the timeout and the roll call end it; without them it would wait for ever
        said = processes[0].communicate(timeout=400)[1]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1
    assert re.search(r"rank 1 \(on .+\) of the 2 processes of this run is gone: .* \(Timed out", said), said
    out = tmp_path / "out"
    assert f"go on with torchrun ... -m nerfkit train --resume {out}, or let torchrun do so: --max-restarts 3" in said
    done = torchrun("-m", "nerfkit", "train", "--resume", out, "--device", "cpu", "--quiet")
    assert done.returncode == 0, done.stderr
    assert newest(out)["loop"]["step"] == 20
    pairs = list(zip(tensors(newest(two[1])), tensors(newest(out)), strict=True))
    assert len(pairs) > 10 and all(torch.equal(a, b) for a, b in pairs)


def test_all_terms_and_frames_are_shared_and_processes_go_by_one_clock_and_stop_together(room_16, tmp_path):
    settings = {
        **SMALL, "steps": 6, "checkpoint_seconds": 1e-9, "exposure": "each", "refine_poses": True,
        "sampling": {"unbounded_resolution": 32, "update_every": 2}, "distortion_weight": 0.1, "depth_weight": 1.0,
    }  # fmt: skip
    api.train(room_16, tmp_path / "alone", device="cpu", **settings)
    endless = {**SMALL, "steps": 100_000}
    done = work(
        tmp_path,
        {"data": str(room_16), "out": "all", "settings": settings, "film": str(tmp_path / "film")},
        {"data": str(room_16), "out": "timed", "settings": {**SMALL, "seconds": 60.0}, "clocks": [0.5, 1000.0]},
        {
            "data": str(room_16), "out": "stopped", "settings": endless, "clocks": [0.0, 0.0],
            "signal": [0, 0, 5, signal.SIGINT], "to_torchrun": True,
        },
    )  # fmt: skip
    # of torchrun, which Ctrl-C ended
    assert done.returncode != 0
    assert_same_to_rounding(newest(tmp_path / "alone"), newest(tmp_path / "all"), 6)
    # five frames of two processes
    api.load(tmp_path / "all").render_path(
        "interpolate", tmp_path / "alone_film", n_frames=5, size=(12, 9), channels=("rgb", "depth")
    )
    for name in ("rgb", "depth"):
        wanted, found = (sorted((tmp_path / f"{film}_{name}").iterdir()) for film in ("alone_film", "film"))
        assert len(found) == 5 and [path.name for path in found] == [path.name for path in wanted]
        assert [path.read_bytes() for path in found] == [path.read_bytes() for path in wanted]
    timed, stopped = (told(tmp_path, name) for name in ("timed", "stopped"))
    assert len({one["last"] for one in timed}) == 1 and timed[0]["last"] > 5
    assert len({one["last"] for one in stopped}) == 1 and stopped[0]["last"] > 5
    assert not any(one["interrupted"] for one in timed) and all(one["interrupted"] for one in stopped)
    assert newest(stopped[0]["run"])["loop"]["step"] == stopped[0]["last"]
