"""The command line: a thin file for each command, with a dataclass of options and a ``main`` that returns JSON."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from nerfkit import __version__
from nerfkit.cli.streams import lasting_streams

__all__ = ["COMMANDS", "main"]

# name -> (module, what it does); a string, so that `nerfkit --help` loads no command
COMMANDS = {
    "demo": ("nerfkit.cli.demo", "everything once, from nothing: a scene trained and filmed, a page super-resolved"),
    "train": ("nerfkit.cli.train", "train a scene from a folder of posed photos"),
    "eval": ("nerfkit.cli.eval", "PSNR and SSIM of a run on photos that were held out"),
    "superres": ("nerfkit.cli.superres", "shifted low-resolution frames to one sharp image"),
    "fit": ("nerfkit.cli.fit", "one picture held in a field: fitted, compared, denoised, restored"),
    "process": ("nerfkit.cli.process", "poses of photos, or of a video's frames, found with COLMAP"),
    "convert": ("nerfkit.cli.convert", "posed photos in another format: transforms.json, COLMAP, Blender, LLFF"),
    "render": ("nerfkit.cli.render", "a video along a camera path; a fitted picture at any size"),
    "export": ("nerfkit.cli.export", "a mesh, points, cameras or depth of a scene, for other programs"),
    "doctor": ("nerfkit.cli.doctor", "what is wrong with this machine, or with a dataset, and what mends it"),
}


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: nerfkit [--version] COMMAND ...",
            "",
            "Scenes held in small networks: posed photos to new views, low-resolution frames to a sharp image.",
            "",
            *lines,
            "",
            "`nerfkit COMMAND --help` lists a command's options. `nerfkit demo` needs nothing and shows everything.",
        ]
    )


def _say(text: str) -> int:
    print(text, flush=True)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns 0 when done, 1 for our fault, 2 the input, 3 not on this machine, 130 interrupted."""
    with lasting_streams() as is_lost:
        code = _main(sys.argv[1:] if argv is None else argv)
        return code or int(is_lost())


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _say(_help())
    if arguments[0] == "--version":
        return _say(f"nerfkit {__version__}")
    from nerfkit.cpu import wait_briefly

    wait_briefly()
    from nerfkit.cli.running import run_command, unknown_command

    name = arguments[0]
    if name not in COMMANDS:
        return unknown_command(name, list(COMMANDS), arguments[1:])
    command: Any = importlib.import_module(COMMANDS[name][0])
    return run_command(name, COMMANDS[name][1], command, arguments[1:])
