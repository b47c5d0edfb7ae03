"""Many scenes, one after the other: each in a process of its own, so that one that fails stops no other.

In the output folder each scene has a folder with its run (``run``), what it printed (``log.txt``) and how it ended
(``result.json``). A scene that has ended well is left out when the list is worked through again; one that was cut short
goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfkit.batch_list import BatchScene
from nerfkit.files import explain_os_error, write_atomically
from nerfkit.run_lock import locked
from nerfkit.tasks.fit import fit_task

__all__ = ["BatchResult", "SceneResult", "run_batch", "table"]

INTERRUPTED = 130
# names in figures of what a scene is judged by, the better ones first
QUALITIES = ("psnr", "holdout_psnr")


@dataclass(frozen=True)
class SceneResult:
    """How a scene ended."""

    scene: BatchScene
    # of its process; 0 is well, and None is not at all: the batch was stopped before
    exit_code: int | None
    # what the command printed for --json
    figures: dict[str, Any] = field(default_factory=dict)
    # what, where and fix of an error
    error: dict[str, str] | None = None

    @property
    def psnr(self) -> float | None:
        """Of what was held out, or of a truth, dB."""
        found = self.figures | self.figures.get("metrics", {})
        return next((found[name] for name in QUALITIES if found.get(name) is not None), None)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "scene": self.scene.name, "command": str(self.scene), "exit": self.exit_code, "psnr": self.psnr,
            "seconds": self.figures.get("seconds"), "run": self.figures.get("run"), "error": self.error,
        }  # fmt: skip


@dataclass(frozen=True)
class BatchResult:
    """How a list was worked through."""

    scenes: list[SceneResult]
    # by Ctrl-C or SIGTERM
    is_interrupted: bool

    @property
    def n_failed(self) -> int:
        """Scenes that ended, and not well."""
        return sum(scene.error is not None for scene in self.scenes)


def run_batch(
    scenes: Sequence[BatchScene], out: Path, *, options: Sequence[str] = (), beginning: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> BatchResult:  # fmt: skip
    """Work through scenes that are not done yet.

    Parameters
    ----------
    scenes : sequence of BatchScene
        What :func:`nerfkit.batch_list.read_list` found.
    out : Path
        Folder of all results; made when absent.
    options : sequence of str
        Words that are added to each command, before its own.
    beginning : sequence of str
        Words that are added where a scene begins; one that goes on has them.
    say : callable
        Called with a line for a person before and after each scene.
    """
    results: list[SceneResult] = []
    for number, scene in enumerate(scenes, 1):
        result, head = _done(scene, out), f"{number} of {len(scenes)}: {scene.name}"
        if result is None:
            say(f"{head}: nerfkit {scene}")
            result = _run(scene, out / scene.name, options, beginning)
        say(f"{head}: {_ending(result)}")
        results.append(result)
        if result.exit_code == INTERRUPTED:
            results += [SceneResult(later, None) for later in scenes[number:]]
            return BatchResult(results, is_interrupted=True)
    return BatchResult(results, is_interrupted=False)


def table(results: Sequence[SceneResult]) -> list[str]:
    """Lines for a person: each scene's PSNR, seconds and, where it failed, what mends it."""
    width = max(len(result.scene.name) for result in results)
    lines = [f"{'scene':<{width}}  PSNR (dB)  seconds"]
    for result in results:
        psnr = "" if result.psnr is None else f"{result.psnr:.2f}"
        seconds = result.figures.get("seconds")
        shown = "" if seconds is None else f"{seconds:.0f}"
        note = "" if result.exit_code == 0 else f"  {_ending(result)}"
        lines.append(f"{result.scene.name:<{width}}  {psnr:>9}  {shown:>7}{note}")
    return lines


def _ending(result: SceneResult) -> str:
    if result.error is not None:
        where, fix = result.error["where"], result.error["fix"]
        return f"failed: {where + ': ' if where else ''}{result.error['what']}" + (f"; {fix}" if fix else "")
    if result.exit_code is None:
        return "not begun"
    if result.exit_code == INTERRUPTED:
        return "interrupted"
    psnr, seconds = result.psnr, result.figures.get("seconds")
    return "done" + ("" if psnr is None else f", {psnr:.2f} dB") + ("" if seconds is None else f", {seconds:.0f} s")


def _done(scene: BatchScene, out: Path) -> SceneResult | None:
    """How a scene ended earlier, if well."""
    try:
        found = json.loads((out / scene.name / "result.json").read_text(encoding="utf-8"))
        return SceneResult(scene, 0, found["figures"]) if found["exit"] == 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        # none, or one that the disk cut short: it is made again
        return None


def _run(scene: BatchScene, folder: Path, options: Sequence[str], beginning: Sequence[str]) -> SceneResult:
    """A scene in a process of its own; nobody else works on it meanwhile."""
    with locked(folder):
        words = _words(scene, folder.resolve() / "run", beginning)
        code, printed = _call([scene.command, *options, *words, "--json"], scene.folder, folder / "log.txt")
        result = _read(scene, code, printed, folder / "log.txt")
        told = {"exit": result.exit_code, "command": str(scene), "figures": result.figures, "error": result.error}
        write_atomically(folder / "result.json", (json.dumps(told, indent=1) + "\n").encode())
    return result


def _words(scene: BatchScene, run: Path, beginning: Sequence[str]) -> list[str]:
    """What follows the command, so that it begins, or goes on with its run."""
    if _can_go_on(scene.command, run):
        return ["--resume", str(run)]
    suffix = {"train": "", "superres": ".png"}.get(scene.command)
    if suffix is None:
        suffix = fit_task(scene.words[1]).suffixes[0]
    name = "--out" if scene.command == "train" else "-o"
    is_there = any(run.parent.glob("run*"))
    return [*beginning, *scene.words[1:], name, f"{run}{suffix}", *(["--overwrite"] if is_there else [])]


def _can_go_on(command: str, run: Path) -> bool:
    """Whether a run was cut short late enough that there is something to go on with."""
    wanted = {"train": "checkpoints/step_*.json", "superres": "begun/config.yml", "fit": "config.yml"}[command]
    return (run / "config.yml").is_file() and any(run.glob(wanted))


def _call(words: Sequence[str], folder: Path, log: Path) -> tuple[int, str]:
    """Exit code and stdout of a nerfkit command; a signal that stops us stops it first, so that it saves."""
    try:
        with log.open("ab") as errors:
            # in a session of its own: a terminal's Ctrl-C would reach it a second time, which ends it at once
            child = subprocess.Popen(
                [sys.executable, "-m", "nerfkit", *words], cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise explain_os_error(error, log) from error
    try:
        printed, _ = child.communicate()
    except KeyboardInterrupt:
        child.terminate()
        try:
            printed, _ = child.communicate()
        except KeyboardInterrupt:
            child.kill()
            raise
        return INTERRUPTED, printed
    return child.returncode, printed


def _read(scene: BatchScene, code: int, printed: str, log: Path) -> SceneResult:
    try:
        told = json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        told = {}
    if code in (0, INTERRUPTED):
        return SceneResult(scene, code, told)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    silent = {
        "what": f"ended by {how} without a word", "where": str(log),
        "fix": "9 is often a lack of memory; the same batch again goes on",
    }  # fmt: skip
    return SceneResult(scene, code, {}, told.get("error") or silent)
