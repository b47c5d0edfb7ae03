"""Give the readers files that nobody should have written: each is read, or refused by a NerfkitError, and nothing else.

    python scripts/fuzz.py [--parser NAME ...] [--seconds 60 | --executions 1000] [--seed 0] [--json FILE] [--keep DIR]

The small files of ``fuzz_parsers.py`` are changed at random, by a seeded generator (or by atheris, which sees which
lines of the readers a change reached, with --atheris and ``pip install "nerfkit[fuzz]"``), and read in a process of its
own that may take 2 GiB more than it has and 5 seconds of its processor a file. Findings are other exceptions, files
that take longer, and ends of the process; each is named by what was raised and where, once, and its files are kept
below --keep. One row a parser: executions, how many were read, how many refused, findings.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzz_mutations import mutated
from fuzz_parsers import PARSERS, Parser

from nerfkit.scenes.errors import NerfkitError

__all__ = ["Finding", "Outcome", "Watch", "fuzz", "is_over", "keep_files", "read_once"]

# processor seconds that a small file may take, and bytes of address space that reading it may add
MAX_SECONDS, MAX_BYTES = 5.0, 2 << 30
# files of a parser that are changed at once, at most
MAX_CHANGED = 3
# wall seconds of a file after which a process is ended that hangs in a library, where no signal reaches it
PATIENCE = 30.0
# seconds after which the watch over that is set anew, which takes as long as to read a small file
WATCH_AGE = 1.0


class Hang(BaseException):
    """A file takes too long; no Exception, so that no reader takes it for a damaged file."""


@dataclass
class Finding:
    """What a file did that none may do.

    Parameters
    ----------
    what : str
        The exception, and the line of ours that it came through.
    execution : int
        Number of the execution, from 0; with the seed it makes the same files.
    text : str
        The traceback.
    """

    what: str
    execution: int
    text: str


@dataclass
class Outcome:
    """What became of the files that a parser was given."""

    parser: str
    executions: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def fuzz(
    parser: Parser, *, seed: int, executions: int | None = None, seconds: float | None = None, keep: Path | None = None
) -> Outcome:  # fmt: skip
    """Read changed files until a number of executions, or of seconds, is reached.

    What execution ``n`` reads follows from the seed and ``n`` alone.
    """
    outcome, seen, began = Outcome(parser.name), set[str](), time.monotonic()
    with tempfile.TemporaryDirectory(dir=_quick_folder()) as name, one_thread(), Watch() as watch:
        folder = Path(name)
        files = parser.make(folder)
        read_good(parser, folder)
        whole = {file: (folder / file).read_bytes() for file in files}
        while not is_over(outcome, executions, seconds, began):
            generator = random.Random(f"{seed} {parser.name} {outcome.executions}")
            changed = changed_files(parser, whole, generator)
            for file, payload in changed.items():
                (folder / file).write_bytes(payload)
            watch.look()
            # what is left where the process is ended
            keep_files(changed, "the process was ended", parser.name, keep, "last")
            finding = read_once(parser, folder, outcome)
            if finding is not None and finding.what not in seen:
                seen.add(finding.what)
                outcome.findings.append(finding)
                keep_files(changed, f"{finding.what}\n\n{finding.text}", parser.name, keep, str(finding.execution))
            for file in changed:
                (folder / file).write_bytes(whole[file])
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def read_good(parser: Parser, folder: Path) -> None:
    """Read the files as they are, which must succeed: what is refused anyway would tell nothing."""
    with quiet():
        parser.read(folder)


def changed_files(parser: Parser, whole: dict[str, bytes], generator: random.Random) -> dict[str, bytes]:
    """Some of the files, changed, their checksums put right so that readers go on."""
    names = generator.sample(sorted(whole), min(len(whole), generator.choice((1, 1, 1, MAX_CHANGED))))
    changed = {}
    for name in names:
        inner = parser.unpack(whole[name])
        changed[name] = parser.pack(mutated(inner, generator, parser.words))
    return changed


def read_once(parser: Parser, folder: Path, outcome: Outcome) -> Finding | None:
    """Read a folder; what it did wrong, if anything."""
    number = outcome.executions
    outcome.executions += 1
    try:
        with quiet():
            parser.read(folder)
        outcome.read += 1
    except NerfkitError as error:
        outcome.refused += 1
        # what a command prints
        str(error).encode("utf-8", errors="surrogateescape" if _is_of_bytes(error) else "replace")
    except (Exception, Hang) as error:
        return Finding(_place(error), number, "".join(traceback.format_exception(error))[-4000:])
    return None


class Watch:
    """Limits of time for the files that are read within it, each of which begins with :meth:`look`.

    A file that takes more than ``MAX_SECONDS`` of this process's own time, for another's work is no hang, has Hang
    raised in its reader. One that takes ``PATIENCE`` in a library, where no signal reaches it, ends the process.
    """

    def __enter__(self) -> Watch:
        self._before = signal.signal(signal.SIGVTALRM, self._stop)
        self._set()
        return self

    def look(self) -> None:
        """The next file is read from now on."""
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
        if time.monotonic() - self._since > WATCH_AGE:
            self._set()

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self._before)
        faulthandler.cancel_dump_traceback_later()

    def _set(self) -> None:
        self._since = time.monotonic()
        faulthandler.dump_traceback_later(PATIENCE, exit=True)

    @staticmethod
    def _stop(number: int, frame: object) -> None:
        raise Hang(f"took more than {MAX_SECONDS:g} s")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let the readers decode the photos of a folder one after the other: to start threads takes longer than they do."""
    from nerfkit.scenes.readers import photos

    def one_by_one(function: Callable[[Any], Any], items: Sequence[Any], threads: int | None = None) -> list[Any]:
        return [function(item) for item in items]

    modules = [module for name, module in sys.modules.items() if name.startswith("nerfkit.")]
    users = [module for module in modules if vars(module).get("map_in_threads") is photos.map_in_threads]
    before = photos.map_in_threads
    for module in users:
        vars(module)["map_in_threads"] = one_by_one
    try:
        yield
    finally:
        for module in users:
            vars(module)["map_in_threads"] = before


def _is_of_bytes(error: NerfkitError) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in str(error))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of libraries, which would be thousands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _place(error: BaseException) -> str:
    """The kind of an exception, and the last line of ours that it came through."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    if not own:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"


def _is_ours(file: str) -> bool:
    return "site-packages" not in file and any(f"/{part}/" in file for part in ("scenes", "nerfkit", "kernels"))


def _quick_folder() -> str | None:
    """A folder in memory, where the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def is_over(outcome: Outcome, executions: int | None, seconds: float | None, began: float) -> bool:
    """Whether a number of executions, or of seconds since ``began``, is reached."""
    if executions is not None and outcome.executions >= executions:
        return True
    return seconds is not None and time.monotonic() - began >= seconds


def keep_files(changed: dict[str, bytes], text: str, parser: str, keep: Path | None, name: str) -> None:
    """Write the files of an execution, and what is to be said of it, below ``keep``, if that is given."""
    if keep is None:
        return
    folder = keep / parser / name
    for file, payload in changed.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(payload)
    (folder / "finding.txt").write_text(text, errors="replace")


# --- a process for each parser ---


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Let this process have ``MAX_BYTES`` more than what it has mapped now; elsewhere than on Linux, what it wants."""
    if not Path("/proc/self/statm").exists():
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MAX_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _fuzz_here(name: str, options: argparse.Namespace) -> Outcome:
    """Fuzz a parser in this process, which its end would end."""
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory(dir=_quick_folder()) as folder:
        # what the reader imports is no part of what a file takes
        parser.make(Path(folder))
        read_good(parser, Path(folder))
    with limited_memory():
        if options.atheris:
            from fuzz_atheris import fuzz_by_coverage

            fuzz_by_coverage(parser, options)
        return fuzz(
            parser, seed=options.seed, executions=options.executions, seconds=options.seconds, keep=options.keep
        )  # fmt: skip


def _in_child(name: str, options: argparse.Namespace) -> Outcome:
    """Fuzz a parser in a process of its own; one that ends before its time is a finding."""
    command = [sys.executable, __file__, "--here", "--parser", name, "--seed", str(options.seed)]
    for option in ("executions", "seconds", "keep"):
        value = getattr(options, option)
        command += [] if value is None else [f"--{option}", str(value)]
    command += ["--atheris"] if options.atheris else []
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command += ["--json", file.name]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        text = Path(file.name).read_text()
    if not text:
        where = next((line.strip() for line in done.stderr.splitlines() if _is_ours(line)), "")
        return Outcome(name, findings=[Finding(f"the process ended: {where}", -1, done.stderr[-4000:])])
    found: dict[str, Any] = json.loads(text)[0]
    findings = [Finding(**finding) for finding in found.pop("findings")]
    return Outcome(**found, findings=findings)


def main(argv: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Run the script; 1 where there are findings."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parser", nargs="+", choices=sorted(PARSERS), default=sorted(PARSERS), metavar="NAME")
    parser.add_argument("--seconds", type=float, help="of each parser")
    parser.add_argument("--executions", type=int, help="of each parser (default: 1000, without --seconds)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that did wrong")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--atheris", action="store_true", help="let atheris choose the changes by what they reach")
    parser.add_argument("--here", action="store_true", help="in this process, which a parser that crashes ends")
    options = parser.parse_args(argv)
    if options.seconds is None and options.executions is None:
        options.executions = 1000
    if options.here:
        faulthandler.enable()
        logging.disable(logging.CRITICAL)
    outcomes = []
    for name in options.parser:
        outcome = (_fuzz_here if options.here else _in_child)(name, options)
        outcomes.append(outcome)
        say(
            f"{name:<18} {outcome.executions:>8} executions  {outcome.read:>7} read  {outcome.refused:>8} refused  "
            f"{len(outcome.findings)} findings  {outcome.seconds:.0f} s"
        )  # fmt: skip
        for finding in outcome.findings:
            say(f"    {finding.execution}: {finding.what}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    return int(any(outcome.findings for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
