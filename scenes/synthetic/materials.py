"""How the shapes are painted: patterns that mix a shape's two colours, from its own coordinates."""

from __future__ import annotations

import math

import numpy as np

from nerfkit.scenes.synthetic.shapes import COLOUR_A, COLOUR_B, PATTERN, SCALE, compiled

__all__ = ["albedo", "ripple"]

# patterns, with what `scale` means
SOLID = 0
BANDS = 1  # stripes along z; their period
SPIRAL = 2  # a stripe winding up around z; its pitch
BRICKS = 3  # courses on upright faces; height of one
PLANKS = 4  # boards along y; width of one
RINGS = 5  # grain of wood around z; distance of two rings
SHINGLES = 6  # rows of tiles on a roof with its ridge along y; height of one
SHORE = 7  # second colour above this height, with a wavy border
SHALLOWS = 8  # second colour within this distance of the axis, softly, under ripples
LETTERS = 9  # the name around z, this many times
SECTORS = 10  # this many slices around z

_NAME = (
    "#...#.#####.####..#####.#...#.#####.#####",
    "##..#.#.....#...#.#.....#..#....#.....#..",
    "#.#.#.#.....#...#.#.....#.#.....#.....#..",
    "#.#.#.####..####..####..##......#.....#..",
    "#..##.#.....#.#...#.....#.#.....#.....#..",
    "#...#.#.....#..#..#.....#..#....#.....#..",
    "#...#.#####.#...#.#.....#...#.#####...#..",
)
# [7, 52] with the gap to the next copy; frozen into the compiled code
_LETTERS = np.array([[mark == "#" for mark in line] + [False] * 11 for line in _NAME], dtype=np.uint8)


@compiled
def _smoothstep(low, high, value):
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@compiled
def _bricks(across, z, height, mortar):
    """Part of the second colour for a wall in running bond: the mortar, and a tint that varies by brick."""
    course = math.floor(z / height)
    u = across / (2.4 * height) + 0.5 * (course % 2.0)
    brick = math.floor(u)
    if z / height - course < mortar or u - brick < 0.45 * mortar:
        return 1.0
    return 0.16 + 0.16 * math.sin(12.9898 * brick + 78.233 * course)


@compiled
def _letters(angle, z, copies):
    n_rows, n_columns = _LETTERS.shape
    turn = (angle / (2.0 * math.pi) + 0.5) % 1.0
    column = int(turn * copies * n_columns) % n_columns
    side = 2.0 * math.pi * 0.8 / (copies * n_columns)  # about square on a base of radius 0.8
    row = math.floor(0.5 * n_rows - z / side)
    return float(_LETTERS[row, column]) if 0 <= row < n_rows else 0.0


@compiled
def _mix(pattern, scale, x, y, z, nx, ny):
    """Part of the second colour at a point and normal of the shape's own frame, in [0, 1]."""
    if pattern == SOLID:
        return 0.0
    if pattern == BANDS:
        return 1.0 if (z / scale) % 1.0 < 0.5 else 0.0
    if pattern == SPIRAL:
        return 1.0 if (z / scale - math.atan2(y, x) / (2.0 * math.pi)) % 1.0 < 0.5 else 0.0
    if pattern == BRICKS:
        return _bricks(x if abs(ny) > abs(nx) else y, z, scale, 0.16)
    if pattern == PLANKS:
        board = math.floor(x / scale)
        gap = 1.0 if x / scale - board < 0.12 else 0.0
        return max(gap, 0.25 + 0.25 * math.sin(5.3 * board))
    if pattern == RINGS:
        radius = math.hypot(x, y) + 0.04 * math.sin(3.0 * math.atan2(y, x)) + 0.1 * z
        return 0.5 + 0.5 * math.sin(2.0 * math.pi * radius / scale)
    if pattern == SHINGLES:
        return _bricks(y, z, scale, 0.2)
    if pattern == SHORE:
        return _smoothstep(scale, scale + 0.03, z + 0.012 * math.sin(9.0 * x + 2.0) + 0.012 * math.sin(11.0 * y))
    if pattern == SHALLOWS:
        return 1.0 - _smoothstep(0.75 * scale, 1.3 * scale, math.hypot(x, y) + 0.02 * math.sin(14.0 * x + 9.0 * y))
    if pattern == LETTERS:
        return _letters(math.atan2(y, x), z, scale)
    return 1.0 if (math.atan2(y, x) / (2.0 * math.pi) * scale) % 1.0 < 0.5 else 0.0  # SECTORS


@compiled
def albedo(rows, i, x, y, z, nx, ny):
    """Diffuse colour, linear RGB in [0, 1], at a point and normal of the own frame of shape i."""
    b = _mix(int(rows[i, PATTERN]), rows[i, SCALE], x, y, z, nx, ny)
    a = 1.0 - b
    return (
        a * rows[i, COLOUR_A] + b * rows[i, COLOUR_B],
        a * rows[i, COLOUR_A + 1] + b * rows[i, COLOUR_B + 1],
        a * rows[i, COLOUR_A + 2] + b * rows[i, COLOUR_B + 2],
    )


@compiled
def ripple(x, y):
    """Slope (along x, along y) of the water's small waves; it tilts the normal, the surface stays flat."""
    first = 0.05 * math.cos(13.0 * x + 6.0 * y)
    second = 0.04 * math.cos(-9.0 * x + 17.0 * y + 1.0)
    return first - 0.5 * second, 0.45 * first + second
