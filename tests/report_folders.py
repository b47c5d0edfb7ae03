"""Run folders as train and superres leave them, with pictures of a few pixels."""

import json
from pathlib import Path

import numpy as np
from photo_folders import save_photo, write_transforms
from PIL import Image

from nerfkit.video import VideoWriter


def write_train_run(out: Path) -> Path:
    """A run at ``out/run`` of the four photos at ``out/photos``, two of them evaluated; returns its folder."""
    out.mkdir(exist_ok=True)
    write_transforms(
        out / "photos",
        test_filenames=["images/00.png", "images/01.png"],
        train_filenames=["images/02.png", "images/03.png"],
    )
    for index, level in enumerate((10, 200)):
        save_photo(out / "photos" / "images" / f"{index:02d}.png", colour=(level, level, level))
    run = out / "run"
    pictures = run / "eval" / "test"
    pictures.mkdir(parents=True)
    images = [{"file": f"images/{i:02d}.png", "psnr": 25.0 + i, "ssim": 0.9} for i in range(2)]
    for image in images:
        Image.new("RGB", (8, 6), (20, 20, 20)).save(pictures / Path(image["file"]).name)
    _write_json(run / "eval_test.json", {"results": {"psnr": 25.5, "ssim": 0.9, "n_images": 2}, "images": images})
    _write_json(run / "metrics.json", {"train": {"steps": 90, "seconds": 9.0, "psnr": 24.5}})
    _write_lines(run / "metrics.jsonl")
    (run / "config.yml").write_text("task: train\ndata: ../photos\ndevice: cpu\nfield: {kind: hash}\nseed: 0\n")
    bounds = {"center": [0, 0, 0], "scale": 1, "contract": False, "aabb": [-1, -1, -1, 1, 1, 1], "near": 0.1, "far": 9}
    background = {"name": "none", "color": None}
    _write_json(run / "scene.json", {"bounds": bounds, "background": background, "downscale": 1})
    _write_json(run / "versions.json", {"nerfkit": "0", "torch": "0"})
    for folder in (run, out):
        write_video(folder / "orbit.mp4")
    return run


def write_superres_run(run: Path) -> Path:
    """The run folder ``run`` of three frames, one of them left out, and its result beside it; returns the folder."""
    (run / "strip").mkdir(parents=True)
    rows = ["file,dx,dy,used,residual", "a.png,0,0,1,0.01", "b.png,0.5,-0.25,true,0.012", "c.png,0.1,3,0,0.4"]
    (run / "registered.csv").write_text("\n".join(rows))
    figures = {"scale": 4, "seconds": 58.0, "psnr_interior": 30.1, "ssim": 0.986, "bicubic": {"psnr_interior": 13.2}}
    figures["expected"] = {"measured_share": 0.43, "gain_db": 2.61, "frames_per_pixel": 0.19, "limit": "frames"}
    figures |= {"mesh": 0.31, "held_out_frames": {"n": 8, "psnr": 29.3, "psnr_aligned_mean": 25.12}}
    _write_json(run / "metrics.json", {"superres": figures})
    _write_lines(run / "metrics.jsonl")
    (run / "config.yml").write_text("task: superres\ndata: ../frames\nscale: 4\n")
    _write_json(run / "versions.json", {"nerfkit": "0"})
    ramp = np.linspace(0, 65535, 96).reshape(8, 12).astype(np.uint16)
    Image.fromarray(ramp).save(run.with_name(f"{run.name}.png"))
    Image.new("L", (12, 8), 0).save(run / "bicubic.png")
    Image.new("L", (12, 8), 255).save(run / "truth.png")
    Image.new("L", (12, 8), 99).save(run / "aligned_mean.png")
    for name in ("residuals", "uncertainty"):
        Image.new("L", (3, 2), 99).save(run / f"{name}.png")
    spectra = {"nerfkit": {"frequencies": [0.1, 0.5, 1.0], "power": [3.0, 2.0, 1.0]}}
    maps = {"residuals": {"white": 0.03, "median": 0.01}, "uncertainty": {"white": 0.02, "median": 0.01}}
    _write_json(run / "diagnosis.json", {"spectra": spectra, **maps})
    for n in (64, 8, 1):
        Image.new("L", (12, 8), n).save(run / "strip" / f"frames_{n}.png")
    _write_json(run / "strip" / "captions.json", {"frames_64.png": "best of all"})
    return run


def write_video(path: Path) -> Path:
    """Half a second in which a bright square moves to the right."""
    with VideoWriter(path, (32, 32), 24) as video:
        for index in range(12):
            frame = np.zeros((32, 32, 3), np.uint8)
            frame[8:16, 2 * index : 2 * index + 8] = 255
            video.add(frame)
    return path


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values))


def _write_lines(path: Path) -> None:
    lines = [{"step": i, "seconds": i / 10, "loss": 1 / (i + 1), "psnr": 10 + i / 5} for i in range(90)]
    path.write_text("\n".join(map(json.dumps, lines)))
