"""The README's pictures, from what `nerfkit demo` made.

nerfkit demo --out outputs/demo && python scripts/make_pictures.py outputs/demo docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from nerfkit.path_rendering import depth_range
from nerfkit.pictures import depth_colors
from nerfkit.runs import Run
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.paths import orbit
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import load_scene
from nerfkit.video import to_uint8

# pixels between two pictures of a strip
GAP = 6
# left, top, width and height of the part of the page that is shown, pixels of the 8x result
PAGE_PART = (24, 100, 330, 330)
# test view that is compared; seen from above, it shows most of the scene
SHOWN_VIEW = 5
# errors are shown this many times larger
ERROR_GAIN = 5


def strip(images: list[np.ndarray]) -> Image.Image:
    """Pictures [h, w, 3] uint8 side by side on white."""
    height = max(image.shape[0] for image in images)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    parts = [part for image in images for part in (image, gap)][:-1]
    return Image.fromarray(np.concatenate(parts, axis=1))


def on_white(path: Path) -> np.ndarray:
    """A photo [h, w, 3] before white."""
    photo = Image.open(path).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB"))


def comparison(demo: Path) -> Image.Image:
    """A photo that was held out, the rendering of the same view, and their difference."""
    entry = json.loads((demo / "run" / "eval_test.json").read_text())["images"][SHOWN_VIEW]
    truth = on_white(demo / "photos" / entry["file"])
    render = np.asarray(Image.open(demo / "run" / "eval" / "test" / f"{Path(entry['file']).stem}.png"))
    error = np.abs(truth.astype(float) - render) * ERROR_GAIN
    return strip([truth, render, to_uint8(error / 255)])


def orbit_strip(demo: Path, side: int, n: int) -> Image.Image:
    """Views of the trained scene from an orbit, colour above depth."""
    scene, data, _ = load_scene(Run(demo / "run"), "cpu")
    photos = read_posed_photos(data)
    frames = orbit(photos.c2w[photos.splits["train"]], n, fov_y=38.0)
    focal = side / 2 / np.tan(np.radians(38.0) / 2)
    camera = Camera(side, side, float(focal), float(focal), side / 2, side / 2)
    views = [scene.render(camera, c2w) for c2w in frames.c2w]
    near, far = depth_range(views[0])
    colors = [to_uint8(view.rgb.numpy()) for view in views]
    depths = [depth_colors(view.depths.numpy(), view.opacities.numpy(), near, far) for view in views]
    rows = [np.asarray(strip(row)) for row in (colors, depths)]
    return Image.fromarray(np.concatenate(rows))


def page_strip(demo: Path) -> Image.Image:
    """The same part of a low-res frame, of the 8x result from 8 frames and of that from 64."""
    scale, (left, top, width, height) = 8, PAGE_PART
    frame = Image.open(demo / "sequence" / "frames" / "frame_00.png")
    large = frame.resize((frame.width * scale, frame.height * scale), Image.Resampling.NEAREST)
    pictures = [large, Image.open(demo / "page_8x_of_8.png"), Image.open(demo / "page_8x.png")]
    parts = [np.asarray(picture, np.float64)[top : top + height, left : left + width] / 65535 for picture in pictures]
    return strip([to_uint8(np.repeat(part[..., None], 3, axis=2)) for part in parts])


def main() -> None:
    """Write the three pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demo", type=Path, help="folder that `nerfkit demo` made")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    comparison(options.demo).save(options.out / "comparison.png")
    orbit_strip(options.demo, 200, 5).save(options.out / "orbit.png")
    page_strip(options.demo).save(options.out / "page.png")


if __name__ == "__main__":
    main()
