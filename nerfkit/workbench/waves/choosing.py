"""Which standing waves solve a wave best, by what points that the solver did not see say of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from nerfkit.workbench.waves.wave import Wave
from nerfkit.workbench.waves.windows import Layout, march, predicted_error, radius_for

__all__ = ["choose_layout", "layout_for"]

# frequencies for each wavenumber, and how far a window lets those of the cone's two edges drift apart, half radians
CANDIDATES = ((2, 0.25), (3, 0.5), (4, 1.0))
# with one speed a frequency is enough, and a window
UNIFORM = (1, math.inf)
# fraction of the weights that a trial has
TRIAL = 0.5
# greatest wavenumber for a pulse exp(-(r / w)^2), in 1 / w, where it is exp(-16) of the least; waves that slow down
# become shorter
HIGHEST = 8.0


def layout_for(wave: Wave, n_weights: int, n_frequencies: int, drift: float) -> Layout:
    """The highest wavenumbers that so many weights a window allow, up to what the pulse has."""
    medium = wave.medium
    highest = HIGHEST / wave.pulse.width * medium.fastest / medium.slowest
    high = radius_for(medium.sides, n_weights // (2 * n_frequencies), highest, is_fixed=wave.is_fixed)
    spread = (medium.fastest - medium.slowest) * high
    n_windows = 1 if medium.is_uniform else max(1, math.ceil(wave.duration * spread / (2 * drift)))
    return Layout(high, n_frequencies, n_windows)


def choose_layout(
    wave: Wave, n_weights: int, *, seed: int, device: str,
    on_trial: Callable[[Layout, float], bool] = lambda layout, error: True,
) -> Layout:  # fmt: skip
    """The best of a few layouts with a part of the weights, with all of them.

    Parameters
    ----------
    n_weights : int
        A window may have at most.
    on_trial : callable
        Called with a layout and its predicted error; whether there may be another.
    """
    if wave.medium.is_uniform:
        return layout_for(wave, n_weights, *UNIFORM)
    found = []
    for candidate in CANDIDATES:
        layout = layout_for(wave, int(TRIAL * n_weights), *candidate)
        error = predicted_error(wave, march(wave, layout, seed=seed, device=device), seed)
        found.append((error, candidate))
        if not on_trial(layout, error):
            break
    return layout_for(wave, n_weights, *min(found)[1])
