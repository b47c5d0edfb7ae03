"""What the benchmarks share: rows of a table, the command line run as a user runs it, the machine that it ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["Row", "machine", "nerfkit", "publish"]


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the figure, its unit, the goal, and the command that gave it."""

    name: str
    value: float
    unit: str
    goal: str
    command: str

    def __str__(self) -> str:
        return f"| {self.name} | {self.value:.4g} {self.unit} | {self.goal} | `{self.command}` |"


def nerfkit(*arguments: str) -> dict[str, Any]:
    """Run a command with --json and return what it printed; its progress goes to our stderr."""
    command = [sys.executable, "-m", "nerfkit", *arguments, "--json"]
    print("+ nerfkit", *arguments, file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    cpu = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numba": _version("numba"),
    }


def _version(package: str) -> str | None:
    """Of an installed package, without loading it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def publish(rows: list[Row], path: Path | None) -> None:
    """Print the machine and the table, and write both to ``path`` as JSON."""
    found = machine()
    print(" ".join(f"{key} {value}" for key, value in found.items()))
    print("| what | measured | wanted | command |\n|---|---|---|---|")
    print("\n".join(map(str, rows)))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": found, "rows": [vars(row) for row in rows]}, indent=1) + "\n")
