"""Solid shapes as signed distances, and the grid that tells a ray which of them are near.

A shape is a row of numbers, so that one compiled function serves every scene. Each distance is a lower bound
with a slope of at most 1 (J. Hart, "Sphere tracing", 1996; forms as in I. Quilez's "distance functions"),
positive outside, in world units. A shape's own frame has +Z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = ["Scene", "Shape", "build_scene", "compiled", "scene_distance", "to_local"]

# kinds, with what `size` holds
SPHERE = 0  # radius
BOX = 1  # half extents x, y, z, rounding
CONE = 2  # lower radius, upper radius, half height, rounding; equal radii make a cylinder
TORUS = 3  # radius of the ring in the xy plane, radius of its tube
PRISM = 4  # half width in x, height, half length in y, x of the ridge; its base lies at z = 0
POSTS = 5  # number, radius of the circle they stand on, radius of one, half height
DOME = 6  # radius, depth of its centre below z = 0 where it is cut, bump height, bump frequency [rad/unit]
HULL = 7  # half length in x, half width; cut flat at z = 0, it lies below

# columns of a shape's row
AT, ROTATION, SIZE, COLOUR_A, COLOUR_B, SCALE, ROUGHNESS, REFLECTANCE = 0, 3, 12, 16, 19, 22, 23, 24
KIND, PATTERN = 25, 26
N_COLUMNS = 27

GRID = 64  # cells a side: 0.035 units, about three pixels of a 200 pixel photo
EXTENT = 1.12  # the grid covers [-EXTENT, EXTENT]^3
CELL = 2 * EXTENT / GRID
FAR = 1e9

# the numpy model drops the checks for a division by zero; nothing here divides by one
compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@dataclass(frozen=True)
class Shape:
    """One solid with its paint.

    Parameters
    ----------
    kind : int
        One of the kinds above (``SPHERE``, ``BOX`` ...).
    size : sequence of float
        Up to four lengths; the kind says which.
    at : (x, y, z)
        Position of the shape's own origin.
    colours : (hex, hex)
        The two sRGB colours, as ``"rrggbb"``, that the pattern mixes; one string means a single colour.
    pattern : int
        One of the patterns of materials.py.
    scale : float
        The pattern's own length or count.
    turn, tilt : float
        Degrees about world z, after degrees about the shape's own x.
    roughness : float in [0.2, 1]
        Width of the highlight (GGX alpha is its square).
    reflectance : float in [0, 1]
        Mirrored part of the light at normal incidence: 0.04 for paint, 0.6 and more for metal.
    """

    kind: int
    size: Sequence[float]
    at: Sequence[float] = (0.0, 0.0, 0.0)
    colours: str | tuple[str, str] = "cccccc"
    pattern: int = 0
    scale: float = 1.0
    turn: float = 0.0
    tilt: float = 0.0
    roughness: float = 0.6
    reflectance: float = 0.04

    def row(self) -> np.ndarray:
        """Return the numbers that the compiled functions read, [N_COLUMNS]."""
        first, second = (self.colours, self.colours) if isinstance(self.colours, str) else self.colours
        row = np.zeros(N_COLUMNS)
        row[AT : AT + 3] = self.at
        row[ROTATION : ROTATION + 9] = _world_to_local(self.turn, self.tilt).ravel()
        row[SIZE : SIZE + len(self.size)] = self.size
        row[COLOUR_A : COLOUR_A + 3] = linear_colour(first)
        row[COLOUR_B : COLOUR_B + 3] = linear_colour(second)
        row[SCALE], row[ROUGHNESS], row[REFLECTANCE] = self.scale, self.roughness, self.reflectance
        row[KIND], row[PATTERN] = self.kind, self.pattern
        return row


class Scene(NamedTuple):
    """Shapes and the grid over them, as arrays that numba can take."""

    rows: np.ndarray  # float64 [n_shapes, N_COLUMNS]
    clearance: np.ndarray  # float32 [GRID^3]: no surface is nearer than this to any point of the cell
    starts: np.ndarray  # int32 [GRID^3 + 1]: where a cell's candidates begin in `candidates`
    candidates: np.ndarray  # uint8: the shapes that may be nearest somewhere in the cell


def linear_colour(code: str) -> np.ndarray:
    """Turn ``"rrggbb"`` in sRGB into linear light in [0, 1], float64 [3] (IEC 61966-2-1)."""
    encoded = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255.0
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _world_to_local(turn: float, tilt: float) -> np.ndarray:
    a, b = math.radians(turn), math.radians(tilt)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return (about_z @ about_x).T


def build_scene(shapes: Sequence[Shape]) -> Scene:
    """Make the arrays that the tracer reads; shapes must lie within ``EXTENT`` of the origin on each axis.

    Parameters
    ----------
    shapes : sequence of Shape
        At most 255 of them; where two overlap the union is drawn.

    Returns
    -------
    Scene

    Examples
    --------
    >>> scene = build_scene([Shape(SPHERE, (0.5,))])
    >>> distance, which = scene_distance(scene, 0.0, 0.0, 0.8, FAR)
    >>> round(distance, 6), which
    (0.3, 0)
    """
    if not 0 < len(shapes) < 256:
        raise ValueError(f"a scene has 1 to 255 shapes, not {len(shapes)}")
    rows = np.stack([shape.row() for shape in shapes])
    return Scene(rows, *_build_grid(rows))


@compiled
def to_local(rows, i, x, y, z):
    """Move a world point into the own frame of shape i."""
    x, y, z = x - rows[i, AT], y - rows[i, AT + 1], z - rows[i, AT + 2]
    r = ROTATION
    return (
        rows[i, r] * x + rows[i, r + 1] * y + rows[i, r + 2] * z,
        rows[i, r + 3] * x + rows[i, r + 4] * y + rows[i, r + 5] * z,
        rows[i, r + 6] * x + rows[i, r + 7] * y + rows[i, r + 8] * z,
    )


@compiled
def _cone_distance(rho, z, lower, upper, half):
    """Capped cone in the plane (distance from the axis, height)."""
    cap_x = rho - min(rho, lower if z < 0.0 else upper)
    cap_z = abs(z) - half
    slope, height = upper - lower, 2.0 * half
    along = ((upper - rho) * slope + (half - z) * height) / (slope * slope + height * height)
    along = min(max(along, 0.0), 1.0)
    side_x, side_z = rho - upper + slope * along, z - half + height * along
    sign = -1.0 if side_x < 0.0 and cap_z < 0.0 else 1.0
    return sign * math.sqrt(min(cap_x * cap_x + cap_z * cap_z, side_x * side_x + side_z * side_z))


@compiled
def _prism_distance(x, y, z, half_width, height, half_length, ridge):
    run_right, run_left = half_width - ridge, half_width + ridge
    right = ((x - half_width) * height + z * run_right) / math.sqrt(height * height + run_right * run_right)
    left = (z * run_left - (x + half_width) * height) / math.sqrt(height * height + run_left * run_left)
    return max(max(right, left), max(-z, abs(y) - half_length))


@compiled
def _posts_distance(x, y, z, number, circle, radius, half):
    sector = 2.0 * math.pi / number
    angle = math.atan2(y, x)
    angle -= sector * np.floor(angle / sector + 0.5)
    rho = math.sqrt(x * x + y * y)
    # the law of cosines gives the distance from the axis of the nearest post
    side = math.sqrt(max(rho * rho + circle * circle - 2.0 * rho * circle * math.cos(angle), 0.0)) - radius
    cap = abs(z) - half
    return min(max(side, cap), 0.0) + math.sqrt(max(side, 0.0) ** 2 + max(cap, 0.0) ** 2)


@compiled
def _dome_distance(x, y, z, radius, depth, bump, frequency):
    ball = math.sqrt(x * x + y * y + (z + depth) * (z + depth)) - radius
    if bump > 0.0:
        ball += bump * math.sin(frequency * x + 1.0) * math.sin(frequency * y + 2.0) * math.cos(frequency * z)
        ball /= 1.0 + bump * frequency  # keeps the slope below 1
    return max(ball, -z)


@compiled
def _shape_distance(rows, i, wx, wy, wz):
    """Signed distance of a world point to shape i."""
    x, y, z = to_local(rows, i, wx, wy, wz)
    a, b, c, d = rows[i, SIZE], rows[i, SIZE + 1], rows[i, SIZE + 2], rows[i, SIZE + 3]
    kind = int(rows[i, KIND])
    if kind == SPHERE:
        return math.sqrt(x * x + y * y + z * z) - a
    if kind == BOX:
        qx, qy, qz = abs(x) - a + d, abs(y) - b + d, abs(z) - c + d
        outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
        return outside + min(max(qx, max(qy, qz)), 0.0) - d
    if kind == CONE:
        return _cone_distance(math.sqrt(x * x + y * y), z, a - d, b - d, c - d) - d
    if kind == TORUS:
        ring = math.sqrt(x * x + y * y) - a
        return math.sqrt(ring * ring + z * z) - b
    if kind == PRISM:
        return _prism_distance(x, y, z, a, b, c, d)
    if kind == POSTS:
        return _posts_distance(x, y, z, a, b, c, d)
    if kind == DOME:
        return _dome_distance(x, y, z, a, b, c, d)
    # HULL: a circular arc from bow to stern, turned about the long axis
    arc = (a * a + b * b) / (2.0 * b)
    keel = math.sqrt(y * y + z * z) + arc - b
    return max(math.sqrt(x * x + keel * keel) - arc, z)


@compiled
def _build_grid(rows):
    """Find, for each cell, its clearance and the shapes that can be nearest in it."""
    n_shapes = rows.shape[0]
    half_diagonal = 0.5 * CELL * math.sqrt(3.0)
    clearance = np.empty(GRID**3, np.float32)
    starts = np.zeros(GRID**3 + 1, np.int32)
    candidates = np.empty(GRID**3 * n_shapes, np.uint8)
    distances = np.empty(n_shapes)
    filled = 0
    for cell in range(GRID**3):
        x = (cell // (GRID * GRID) + 0.5) * CELL - EXTENT
        y = (cell // GRID % GRID + 0.5) * CELL - EXTENT
        z = (cell % GRID + 0.5) * CELL - EXTENT
        for i in range(n_shapes):
            distances[i] = _shape_distance(rows, i, x, y, z)
        nearest = distances.min()
        clearance[cell] = nearest - half_diagonal
        for i in range(n_shapes):  # the slope is at most 1, so no other shape can come first within the cell
            if distances[i] <= nearest + 2.0 * half_diagonal:
                candidates[filled] = i
                filled += 1
        starts[cell + 1] = filled
    return clearance, starts, candidates[:filled].copy()


@njit(inline="always")
def scene_distance(scene, x, y, z, reach):
    """Signed distance to the nearest shape, and that shape; exact below `reach`, a lower bound above it."""
    ix, iy, iz = int((x + EXTENT) / CELL), int((y + EXTENT) / CELL), int((z + EXTENT) / CELL)
    if min(x, min(y, z)) < -EXTENT or max(ix, max(iy, iz)) >= GRID:
        return FAR, -1
    cell = (ix * GRID + iy) * GRID + iz
    nearest, which = FAR, -1
    if scene.clearance[cell] > reach:
        nearest = float(scene.clearance[cell])
    else:
        for k in range(scene.starts[cell], scene.starts[cell + 1]):
            i = int(scene.candidates[k])
            distance = _shape_distance(scene.rows, i, x, y, z)
            if distance < nearest:
                nearest, which = distance, i
    return nearest, which
