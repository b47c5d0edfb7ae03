"""``nerfkit convert``: a posed dataset in another format."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from nerfkit.cli.options import DatasetOptions, argument, option
from nerfkit.cli.running import Console, progress_bar
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit convert``."""

    data: str = argument("folder of posed photos in any format that `nerfkit train` reads, or a transforms.json")
    out: str | None = option(None, "folder for the new dataset, absent or empty", flag="-o", metavar="OUT")
    to: str = option(
        "transforms", "the format to write", choices=("transforms", "colmap", "colmap-text", "blender", "llff")
    )
    link: bool = option(False, "link to the photos, by relative paths, instead of copying them")
    skip_bad: bool = option(False, "go on without frames that are damaged")
    overwrite: bool = option(False, "replace a dataset that nerfkit wrote there")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    if options.out is None:
        raise NerfkitError("no output given", where="nerfkit convert", fix="nerfkit convert DATA -o OUT --to colmap")
    from nerfkit.conversion import convert

    result = convert(
        options.data, options.out, options.to, link=options.link, overwrite=options.overwrite,
        skip_bad=options.skip_bad, on_part=progress_bar(console, "photos"),
    )  # fmt: skip
    splits = ", ".join(f"{count} {name}" for name, count in result["splits"].items())
    console.say(f"{result['output']}: {result['photos']} photos ({splits}), {result['format']}")
    console.say(f"next: nerfkit train {shlex.quote(result['output'])}")
    return result
