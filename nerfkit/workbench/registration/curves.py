"""How a registration went: the loss of its levels, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerfkit.report.blocks import Chart, Series
from nerfkit.report.findings import read_lines

__all__ = ["choice_charts", "fit_chart"]


def fit_chart(folder: Path, stages: Sequence[str]) -> Chart:
    """The loss of each stage over the steps of all, from ``folder``/STAGE.jsonl.

    Levels compare images of other sizes: a curve begins anew at each. Logarithmic where all values are above 0, which
    correlation and mutual information are not.
    """
    found, begun = [], 0
    for stage in stages:
        lines = read_lines(folder / f"{stage}.jsonl")
        if lines:
            steps = [begun + line["step"] for line in lines]
            found.append(Series(_name(stage), steps, [line["loss"] for line in lines]))
            begun = steps[-1]
    is_log = all(value > 0 for series in found for value in series.y)
    return Chart("Loss of each level: unlikeness, bending and folding", found, "steps", "", is_log)


def _name(stage: str) -> str:
    """In words; a level's factor as the fraction of the size that it has."""
    kind, _, number = stage.partition("_")
    if kind == "unfold":
        return f"unfolding {int(number) + 1}"
    part = "whole" if number == "1" else f"1/{number}"
    return f"{kind}, {part}" if kind == "linear" else f"displacement, {part}"


def choice_charts(chosen: Mapping[str, Any]) -> list[Chart]:
    """What held-out blocks say of each weight of bending, where several were tried."""
    tried = sorted(chosen.get("tried", []))
    if len(tried) < 2:
        return []
    curve = Series("held-out blocks", [weight for weight, _ in tried], [error for _, error in tried])
    return [Chart("Choice of bending", [curve], "weight of bending", "unlikeness")]
