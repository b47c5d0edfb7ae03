"""Changes chosen by atheris, libFuzzer for Python: those that reach new lines of the readers are changed further."""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from fuzz import Outcome, Watch, is_over, keep_files, read_once
from fuzz_parsers import Parser

from nerfkit.scenes.extras import import_extra

__all__ = ["fuzz_by_coverage"]

# bytes of a file at most
MAX_LENGTH = 1 << 16


def fuzz_by_coverage(parser: Parser, options: Namespace) -> NoReturn:
    """Fuzz until a number of executions, or of seconds, is reached; the figures go to ``options.json``.

    This ends the process: libFuzzer comes back from nothing.
    """
    atheris = import_extra("atheris", "fuzz", "--atheris")
    for function in _own_functions():
        atheris.instrument_func(function)
    folder, corpus = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    files = parser.make(folder)
    whole = {file: (folder / file).read_bytes() for file in files}
    for index, file in enumerate(files):
        # the first byte says which file the others are
        (corpus / str(index)).write_bytes(bytes([index]) + parser.unpack(whole[file]))
    outcome, seen, began = Outcome(parser.name), set[str](), time.monotonic()
    watch = Watch().__enter__()

    def read(data: bytes) -> None:
        if is_over(outcome, options.executions, options.seconds, began):
            outcome.seconds = round(time.monotonic() - began, 1)
            if options.json is not None:
                options.json.write_text(json.dumps([asdict(outcome)]))
            os._exit(0)
        file = files[data[0] % len(files)] if data else files[0]
        payload = parser.pack(data[1:])
        (folder / file).write_bytes(payload)
        watch.look()
        finding = read_once(parser, folder, outcome)
        (folder / file).write_bytes(whole[file])
        if finding is not None and finding.what not in seen:
            seen.add(finding.what)
            outcome.findings.append(finding)
            keep_files({file: payload}, finding.text, parser.name, options.keep, str(finding.execution))

    arguments = [sys.argv[0], str(corpus), f"-seed={options.seed + 1}", f"-max_len={MAX_LENGTH}", "-verbosity=0"]
    # memory and time are limited by ours; a file that libFuzzer keeps is no part of the folder that one is in
    atheris.Setup([*arguments, "-rss_limit_mb=0", "-timeout=600", f"-artifact_prefix={folder}/"], read)
    atheris.Fuzz()
    raise SystemExit("libFuzzer ended")


def _own_functions() -> Iterator[Callable[..., Any]]:
    """Functions and methods of the readers and of what they call here."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("nerfkit.scenes", "nerfkit.config"))]
    for module in modules:
        for owner in (module, *(kind for kind in vars(module).values() if inspect.isclass(kind))):
            yield from (
                function
                for function in vars(owner).values()
                if inspect.isfunction(function) and function.__module__ == module.__name__
            )
