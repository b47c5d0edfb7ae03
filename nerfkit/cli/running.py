"""What surrounds every command: options, logging, errors in a line, JSON, exit codes."""

from __future__ import annotations

import difflib
import json
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nerfkit.cli.options import CommonOptions, parse
from nerfkit.files import lack_of_room
from nerfkit.interrupts import ending_signals
from nerfkit.loop_cache import keep_loops
from nerfkit.memory import lack_of_memory
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Console", "Interrupted", "progress_bar", "run_command", "unknown_command", "use_cores"]


class Interrupted(Exception):
    """The user stopped the command; everything up to then is saved. Carries what ``--json`` prints."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__("interrupted")
        self.result = result


@dataclass(frozen=True)
class Console:
    """Where a command speaks: stdout, or stderr when stdout belongs to JSON; nowhere when quiet."""

    is_json: bool
    is_quiet: bool

    def say(self, text: str) -> None:
        """Print a line for a person."""
        if not self.is_quiet:
            print(text, file=sys.stderr if self.is_json else sys.stdout, flush=True)


class _LogHandler(logging.Handler):
    """Log records as lines on stderr that do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        text = prefix + record.getMessage()
        tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
        if tqdm is not None:
            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


def run_command(name: str, description: str, command: Any, argv: list[str]) -> int:
    """Parse ``argv``, run ``command.main(options, console)`` and turn what happens into an exit code."""
    is_json, is_debug = "--json" in argv, "--debug" in argv
    try:
        options: CommonOptions = parse(command.Options, name, description, argv)
        console = Console(options.json, options.quiet)
        with _logging(options), _signals_as_interrupt():
            keep_loops()
            result = command.main(options, console)
    except NerfkitError as error:
        return _fail(error.what, error.where, error.fix, error.exit_code, is_json, is_debug)
    except Interrupted as stop:
        return _interrupted(is_json, stop.result)
    except KeyboardInterrupt:
        return _interrupted(is_json, {})
    except SystemExit as stop:
        # argparse leaves this way after --help
        return int(stop.code or 0)
    except Exception as error:
        told = lack_of_memory(error, where=f"nerfkit {name}") or lack_of_room(error)
        if told is not None:
            return _fail(told.what, told.where, told.fix, told.exit_code, is_json, is_debug)
        fix = "this is a fault of nerfkit's: run again with --debug and report what it prints"
        return _fail(f"{type(error).__name__}: {error}", "", fix, 1, is_json, is_debug)
    code = int(result.pop("_exit", 0))
    if options.json:
        print(json.dumps(result), flush=True)
    return code


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, and a terminal that closes end a command as Ctrl-C does, with 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [number for number in ending_signals() if number != signal.SIGINT]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unknown_command(name: str, known: list[str], argv: list[str]) -> int:
    """Say that there is no such command, and which was probably meant."""
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean `nerfkit {near[0]}`?" if near else f"there are {', '.join(known)}"
    return _fail(f"no command {name!r}", "nerfkit", fix, 2, "--json" in argv, False)


@contextmanager
def _logging(options: CommonOptions) -> Iterator[None]:
    """Send our log to the terminal while a command runs; whoever calls ``main`` finds logging as it was."""
    logger = logging.getLogger("nerfkit")
    before = logger.handlers[:], logger.propagate, logger.level
    logger.handlers[:], logger.propagate = [_LogHandler()], False
    logger.setLevel(logging.WARNING if options.quiet else logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before[:2]
        logger.setLevel(before[2])


def _fail(what: str, where: str, fix: str, code: int, is_json: bool, is_debug: bool) -> int:
    if is_debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    head = f"{where}: {what}" if where else what
    print(f"error: {head}" + (f"\n  fix: {fix}" if fix else ""), file=sys.stderr, flush=True)
    if is_json:
        print(json.dumps({"error": {"what": what, "where": where, "fix": fix}, "exit": code}), flush=True)
    return code


def _interrupted(is_json: bool, result: dict[str, Any]) -> int:
    print("interrupted", file=sys.stderr, flush=True)
    if is_json:
        print(json.dumps({**result, "exit": 130}), flush=True)
    return 130


def use_cores(device: str) -> None:
    """All cores that the process may use; on a CPU the user hears of it when loops are compiled."""
    from nerfkit.clock import say_when_compiling
    from nerfkit.cpu import use_all_cores
    from nerfkit.devices import choose_device

    use_all_cores()
    if choose_device(device) == "cpu":
        say_when_compiling()


def progress_bar(console: Console, unit: str) -> Callable[[int, int], None]:
    """What to call with how many of something are done and how many there are: a bar, or a line now and then."""
    if console.is_quiet:
        return lambda done, total: None
    if not sys.stderr.isatty():
        name = unit.removesuffix("s")
        return lambda done, total: (
            console.say(f"{name} {done} of {total}") if done % max(total // 4, 1) == 0 else None
        )  # fmt: skip
    from tqdm import tqdm

    bar = tqdm(unit=f" {unit}", file=sys.stderr, dynamic_ncols=True, delay=1e-3)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
