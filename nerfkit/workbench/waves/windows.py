"""A wave over time in windows: least squares of the same matrix in each, so that one factorisation serves all.

In a window the field is a sum of standing waves sin(k_x x) sin(k_y y) sin(w t + b), which keep the border's condition
exactly. Frequencies w are near the cone of the local speeds, c_min |k| <= w <= c_max |k|; with one speed they are on
it, each wave satisfies the equation, and what is left to the least squares is the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nerfkit.problem import Term
from nerfkit.scenes.fields.standing_waves import StandingWaves
from nerfkit.scenes.fields.taylor import Taylor
from nerfkit.scenes.measurements.domains import Box
from nerfkit.scenes.measurements.lattice_values import cell_centres
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.derivatives import jet
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.solvers.last_layer import Factorised, draw
from nerfkit.workbench.waves.wave import Wave

__all__ = ["Layout", "WindowedWaves", "march", "predicted_error", "radius_for", "spatial_modes", "window_layer"]

# rows of points for each weight: 4 instead of it changed no error by a tenth
ROWS_PER_WEIGHT = 2.5
# cells along an axis for each mode, on whose middles a window begins: more than 1 keeps sines apart
CELLS_PER_MODE = 1.25
# frequencies reach beyond the cone by so many radians a window
MARGIN, LEAST = 1.0, 0.1
# points that judge residuals, coordinates along an axis that judge what windows begin with, and points at once
N_JUDGED, N_PLACES, CHUNK = 2**12, 32, 2**10


@dataclass(frozen=True)
class Layout:
    """Which standing waves, and how many windows.

    Parameters
    ----------
    radius : float
        Greatest wavenumber, radians a unit of length.
    n_frequencies : int
        For each wavenumber; each with a sine and a cosine.
    n_windows : int
        Equal parts of the time.
    """

    radius: float
    n_frequencies: int
    n_windows: int


def spatial_modes(sides: Sequence[float], radius: float, *, is_fixed: bool) -> Tensor:
    """Wavenumbers [n, d], multiples of pi over each side, up to ``radius``; 0 among them where the border is free."""
    axes = [
        torch.arange(int(is_fixed), int(radius * side / math.pi) + 1, dtype=torch.float64) * (math.pi / side)
        for side in sides
    ]
    modes = torch.cartesian_prod(*axes).view(-1, len(sides))
    return modes[modes.norm(dim=-1) <= radius]


def radius_for(sides: Sequence[float], n_modes: int, highest: float, *, is_fixed: bool) -> float:
    """Greatest radius up to ``highest`` within which there are ``n_modes`` at most, but the first of both axes."""
    low = math.pi * math.sqrt(sum(side**-2 for side in sides)) * (1 + 1e-6)
    # Weyl's law, and room for the border: more than so far there are surely more modes
    high = 2 * math.sqrt(4 * math.pi * n_modes / math.prod(sides)) if len(sides) > 1 else 0.0
    high = min(highest, high + math.pi * (n_modes + 2) / max(sides))
    if len(spatial_modes(sides, high, is_fixed=is_fixed)) <= n_modes:
        return max(low, high)
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        has_room = len(spatial_modes(sides, middle, is_fixed=is_fixed)) <= n_modes
        low, high = (middle, high) if has_room else (low, middle)
    return low


def window_layer(wave: Wave, layout: Layout) -> StandingWaves:
    """The standing waves of a window, whose time begins at 0."""
    modes = spatial_modes(wave.medium.sides, layout.radius, is_fixed=wave.is_fixed)
    window, size = wave.duration / layout.n_windows, modes.norm(dim=-1)
    low, high = wave.medium.slowest * size, wave.medium.fastest * size
    if not wave.medium.is_uniform:
        low, high = (low - MARGIN / window).clamp(min=LEAST / window), high + MARGIN / window
    # nodes of Chebyshev: between them a wave of any other frequency is interpolated best
    nodes = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(layout.n_frequencies) + 0.5) / layout.n_frequencies).double()
    in_time = (low + nodes[:, None, None] * (high - low)).expand(-1, 2, -1)
    freqs = torch.cat([modes.expand(layout.n_frequencies, 2, -1, -1), in_time[..., None]], -1)
    phases = torch.full_like(freqs, 0.0 if wave.is_fixed else math.pi / 2)
    phases[..., -1] = torch.tensor([0.0, math.pi / 2], dtype=torch.float64)[:, None]
    freqs, phases = freqs.flatten(0, 2), phases.flatten(0, 2)
    return StandingWaves(freqs, phases, [0.0] * freqs.shape[1], 1)


class WindowedWaves(nn.Module):
    """A field over time: the same standing waves in each window, with weights of its own.

    Parameters
    ----------
    layer : StandingWaves
        Of a window.
    duration : float
        Of all windows.
    n_windows : int
        Equal parts of it.
    """

    def __init__(self, layer: StandingWaves, duration: float, n_windows: int) -> None:
        super().__init__()
        self.layer, self.duration, self.n_windows = layer, duration, n_windows
        self.weights = nn.Parameter(torch.zeros(n_windows, layer.n_features, dtype=torch.float64))

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., 1] at ``coords`` [..., d + 1]."""
        flat = coords.reshape(-1, coords.shape[-1])
        values = [self.taylor(part, 0).value for part in flat.split(CHUNK)]
        return torch.cat(values).reshape(*coords.shape[:-1], 1)

    def taylor(self, coords: Tensor, order: int | str) -> Taylor:
        """Values and derivatives at ``coords`` [n, d + 1]."""
        window, local = self._place(coords)
        return self.layer.taylor(local, order, self.weights[window])

    def at(self, time: float, axes: Sequence[Tensor], *, is_slope: bool = False, window: int | None = None) -> Tensor:
        """Values [(n_y,) n_x], float64, at a moment on the lattice of ``axes`` (x(, y)), or their slope in time.

        Of the two windows that meet at a moment the later one, unless another is given.
        """
        length = self.duration / self.n_windows
        window = int(self._window(torch.tensor(time))) if window is None else window
        local = torch.tensor([time - window * length], dtype=torch.float64, device=self.weights.device)
        return self.layer.on_lattice([*axes, local], self.weights[window], is_slope=is_slope)[0]

    @property
    def has_lattice(self) -> bool:
        """Whether it is a field of the plane (x, t), which is evaluated moment by moment."""
        return self.layer.n_dims == 2

    def lattice(self, ys: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        """The points at times ``ys`` [n_rows] and ``xs`` [n_cols]."""
        return self.layer.lattice(ys, xs)

    def evaluate_lattice(self, lattice: tuple[Tensor, Tensor]) -> Tensor:
        """Values [1, n_rows, n_cols], float32."""
        times, xs = lattice
        return torch.stack([self.at(time, [xs]) for time in times.tolist()])[None].float()

    def _window(self, times: Tensor) -> Tensor:
        return (times.double() * (self.n_windows / self.duration)).floor().long().clamp(0, self.n_windows - 1)

    def _place(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Window [n] of each point, and the points with the window's own time, float64."""
        window = self._window(coords[:, -1])
        local = coords.double().clone()
        local[:, -1] -= window * (self.duration / self.n_windows)
        return window, local


def march(
    wave: Wave, layout: Layout, *, seed: int, device: str = "cpu",
    on_window: Callable[[int, int], None] = lambda done, total: None,
) -> WindowedWaves:  # fmt: skip
    """Solve window after window: each begins with what the one before ended with.

    Parameters
    ----------
    on_window : callable
        Called with the windows that are done and that there are, the factorisation as the first of them; may raise.
    """
    field = WindowedWaves(window_layer(wave, layout), wave.duration, layout.n_windows).to(device)
    layer, window = field.layer, wave.duration / layout.n_windows
    axes = [
        cell_centres(math.ceil(CELLS_PER_MODE * (layout.radius * side / math.pi + 1)), side).to(device)
        for side in wave.medium.sides
    ]
    begin = _begin(axes)
    generator = torch.Generator(device).manual_seed(seed)
    terms = _terms(wave, window, layer, begin)
    factorised = Factorised(layer, draw(terms, sum(term.n for term in terms), generator))
    on_window(1, layout.n_windows + 1)
    value, slope = wave.pulse(begin), torch.zeros(len(begin), dtype=torch.float64, device=device)
    for at in range(layout.n_windows):
        with torch.no_grad():
            field.weights[at] = factorised.solve(value, slope / wave.frequency)[:, 0]
            end = (at + 1) * window
            value, slope = (field.at(end, axes, is_slope=way, window=at).flatten() for way in (False, True))
        on_window(at + 2, layout.n_windows + 1)
    return field


def _begin(axes: Sequence[Tensor]) -> Tensor:
    """Points [n, d + 1] at a window's time 0, x fastest."""
    places = torch.stack([grid.flatten() for grid in torch.meshgrid(*reversed(axes), indexing="ij")][::-1], -1)
    return torch.cat([places.double(), places.new_zeros(len(places), 1, dtype=torch.float64)], -1)


def _terms(wave: Wave, window: float, layer: StandingWaves, begin: Tensor) -> list[Term]:
    """What holds in a window, each in the unit of the field: a residual r of it leaves about r * window / frequency."""
    nothing = torch.zeros(len(begin), 1, dtype=torch.float64, device=begin.device)
    slope = Residual(lambda points, u: u.gradient[:, :, -1] / wave.frequency, order=1)
    starts = [Term(what, Measurements(begin, nothing), n=len(begin)) for what in (PointValues(), slope)]
    if wave.medium.is_uniform:
        return starts
    inside = Residual(lambda points, u: wave.residual(points, u) * (window / wave.frequency), order=2)
    n = max(int(ROWS_PER_WEIGHT * layer.n_features) - 2 * len(begin), layer.n_features // 2)
    sides = [*((0.0, side) for side in wave.medium.sides), (0.0, window)]
    return [Term(inside, Box(sides), n=n), *starts]


@torch.no_grad()
def predicted_error(wave: Wave, field: WindowedWaves, seed: int) -> float:
    """What points that the solver did not see say of the error at the end, of the rms of the start.

    Start, jumps between windows and residuals in them, each in the unit of the field, are added up: nothing takes an
    error out of a wave again.
    """
    device = field.weights.device
    generator = torch.Generator(device).manual_seed(seed + 1)
    sides = [(0.0, side) for side in wave.medium.sides]
    points = Box([*sides, (0.0, wave.duration)]).draw(N_JUDGED, generator).where
    residuals = [wave.residual(part, jet(field, part, 2)) for part in points.double().split(CHUNK)]
    total = _rms(torch.cat(residuals)) * wave.duration / wave.frequency
    axes = [side * torch.rand(N_PLACES, generator=generator, device=device, dtype=torch.float64) for _, side in sides]
    start = wave.pulse(_begin(axes))
    total += _rms(field.at(0.0, axes).flatten() - start)
    for at in range(1, field.n_windows):
        for is_slope, unit in ((False, 1.0), (True, wave.frequency)):
            time = at * wave.duration / field.n_windows
            sides_of_it = [field.at(time, axes, is_slope=is_slope, window=window) for window in (at - 1, at)]
            total += _rms(sides_of_it[1] - sides_of_it[0]) / unit
    return total / _rms(start)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
