"""``nerfkit batch``: many scenes, one after the other or as an array of Slurm's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, Interrupted
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit batch``."""

    scenes: str = argument(
        "text file, a scene a line: a folder and options of nerfkit train, or superres or fit and theirs; or a folder "
        "of datasets", metavar="LIST",
    )  # fmt: skip
    # the default is None so that a line's own holds
    seed: int | None = option(None, "seed of every random draw (default: 0)", kind=int, metavar="N")  # pyright: ignore[reportIncompatibleVariableOverride]
    out: str | None = option(None, "folder of all results (default: outputs/<list>)", flag="-o", metavar="OUT")
    only: int | None = option(None, "the scene of this number alone, from 1", kind=int, metavar="N")
    slurm: bool = option(False, "print a script for sbatch that runs the scenes as an array, and run nothing")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.batch import run_batch, table
    from nerfkit.batch_list import read_list

    path = Path(options.scenes)
    scenes = read_list(path)
    out = Path("outputs") / path.resolve().stem if options.out is None else Path(options.out)
    if options.slurm:
        from nerfkit.slurm import slurm_script

        script = slurm_script(path, len(scenes), out, device=options.device)
        console.say(script)
        return {"script": script, "scenes": len(scenes)}
    if options.only is not None:
        if not 1 <= options.only <= len(scenes):
            raise NerfkitError(
                f"must be 1 to {len(scenes)}, the scenes of {path}; got {options.only}", where="--only",
                fix="leave it out for all",
            )  # fmt: skip
        scenes = scenes[options.only - 1 : options.only]
    beginning = [] if options.seed is None else ["--seed", str(options.seed)]
    done = run_batch(scenes, out, options=_common(options), beginning=beginning, say=console.say)
    for line in table(done.scenes):
        console.say(line)
    result = {"output": str(out), "failed": done.n_failed, "scenes": [scene.as_dict() for scene in done.scenes]}
    if done.is_interrupted:
        console.say("stopped; the same command goes on")
        raise Interrupted(result)
    return result | {"_exit": 2 if done.n_failed else 0}


def _common(options: Options) -> list[str]:
    words = [] if options.device == "auto" else ["--device", options.device]
    return words + (["--debug"] if options.debug else [])
