"""The scene of the demo: a lighthouse on its island, on a turned wooden base with the project's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nerfkit.scenes.synthetic import materials as paint
from nerfkit.scenes.synthetic.shapes import (
    BOX,
    CONE,
    DOME,
    HULL,
    POSTS,
    PRISM,
    SPHERE,
    TORUS,
    Scene,
    Shape,
    build_scene,
)

__all__ = ["lighthouse"]

_SEA = -0.46  # height of the water, before the lift
_LIFT = 0.08  # puts the middle of the whole at the origin, so that it fills the photos
_IVORY, _CORAL, _BRASS, _NAVY = "f6eddb", "d8452f", "d9ad5b", "22344f"
_WOOD, _DARK_WOOD, _SLATE, _GRASS = "8a5a36", "5b3820", "4d6173", "86a656"


def _base() -> Iterator[Shape]:
    yield Shape(CONE, (0.80, 0.80, 0.1, 0.02), (0, 0, -0.62), (_DARK_WOOD, _IVORY), paint.LETTERS, 4, roughness=0.35)
    yield Shape(CONE, (0.84, 0.82, 0.025, 0.012), (0, 0, -0.735), (_WOOD, _DARK_WOOD), paint.RINGS, 0.09)
    yield Shape(TORUS, (0.79, 0.022), (0, 0, -0.505), _BRASS, roughness=0.32, reflectance=0.75)
    yield Shape(
        CONE,
        (0.775, 0.775, 0.03),
        (0, 0, _SEA - 0.03),
        ("14708c", "58c3b8"),
        paint.SHALLOWS,
        0.5,
        roughness=0.25,
    )


def _island() -> Iterator[Shape]:
    ground = {"colours": ("ecd3a0", _GRASS), "pattern": paint.SHORE, "scale": 0.052, "roughness": 0.9}
    yield Shape(DOME, (0.66, 0.50, 0.012, 11.0), (-0.03, 0.05, _SEA - 0.01), **ground)
    yield Shape(DOME, (0.40, 0.30, 0.010, 12.0), (0.22, -0.12, _SEA - 0.01), **ground)
    for x, y, radius, turn in (
        (-0.43, -0.12, 0.085, 20),
        (-0.36, -0.24, 0.06, 70),
        (-0.50, 0.00, 0.05, 0),
        (0.12, 0.47, 0.07, 10),
        (0.02, 0.53, 0.05, 50),
        (0.50, 0.17, 0.055, 130),
    ):
        stone = ("8c8279", "a79c8f")
        yield Shape(DOME, (radius, 0, 0.012, 26), (x, y, _SEA - 0.01), stone, paint.BANDS, 0.05, turn, 12, 0.8)


def _tower() -> Iterator[Shape]:
    x, y, foot = -0.12, 0.08, -0.33
    yield Shape(CONE, (0.165, 0.165, 0.03, 0.008), (x, y, foot + 0.01), ("b9aea0", "8f857a"), paint.SECTORS, 18)
    yield Shape(CONE, (0.135, 0.09, 0.34), (x, y, foot + 0.37), (_IVORY, _CORAL), paint.SPIRAL, 0.27, roughness=0.4)
    yield Shape(CONE, (0.10, 0.135, 0.02), (x, y, foot + 0.715), _IVORY)
    yield Shape(CONE, (0.145, 0.145, 0.012, 0.004), (x, y, foot + 0.745), _NAVY, roughness=0.35)
    yield Shape(POSTS, (14, 0.135, 0.0065, 0.04), (x, y, foot + 0.79), _NAVY)
    yield Shape(TORUS, (0.135, 0.008), (x, y, foot + 0.832), _NAVY)
    yield Shape(TORUS, (0.135, 0.005), (x, y, foot + 0.795), _NAVY)
    yield Shape(CONE, (0.068, 0.068, 0.07), (x, y, foot + 0.82), "ffd873", roughness=0.22, reflectance=0.08)
    yield Shape(POSTS, (8, 0.069, 0.006, 0.07), (x, y, foot + 0.82), _NAVY)
    yield Shape(CONE, (0.10, 0.022, 0.045), (x, y, foot + 0.935), _CORAL, roughness=0.35)
    yield Shape(TORUS, (0.094, 0.011), (x, y, foot + 0.892), _CORAL, roughness=0.35)
    yield Shape(SPHERE, (0.03,), (x, y, foot + 1.0), _BRASS, roughness=0.3, reflectance=0.75)
    yield Shape(CONE, (0.007, 0.007, 0.06), (x, y, foot + 1.08), _NAVY)
    # the door and two windows look towards the cottage
    yield Shape(BOX, (0.036, 0.014, 0.06, 0.004), (x + 0.115, y - 0.05, foot + 0.09), _NAVY, turn=67)
    yield Shape(BOX, (0.022, 0.010, 0.03, 0.004), (x + 0.106, y - 0.04, foot + 0.36), _NAVY, turn=69)
    yield Shape(BOX, (0.020, 0.012, 0.03, 0.004), (x - 0.02, y - 0.103, foot + 0.50), _NAVY, turn=-11)


def _cottage() -> Iterator[Shape]:
    at, turn = (0.24, -0.10), 28.0
    floor = -0.375
    yield Shape(
        BOX,
        (0.105, 0.15, 0.09),
        (*at, floor + 0.07),
        ("c98a68", "f0dcc4"),
        paint.BRICKS,
        0.03,
        turn,
        roughness=0.8,
    )
    yield Shape(PRISM, (0.145, 0.125, 0.17, 0.0), (*at, floor + 0.15), (_SLATE, "2f3d4b"), paint.SHINGLES, 0.026, turn)
    yield Shape(BOX, (0.022, 0.03, 0.08, 0.004), (0.205, -0.04, floor + 0.26), "b5654a")
    yield Shape(BOX, (0.012, 0.034, 0.05, 0.003), (0.328, -0.055, floor + 0.05), _CORAL, turn=turn)
    yield Shape(BOX, (0.010, 0.028, 0.028, 0.002), (0.368, -0.125, floor + 0.075), "bfe3ee", turn=turn, roughness=0.25)
    yield Shape(BOX, (0.033, 0.012, 0.033, 0.002), (0.312, -0.232, floor + 0.08), "bfe3ee", turn=turn, roughness=0.25)


def _trees() -> Iterator[Shape]:
    for x, y, size in ((-0.22, 0.33, 1.0), (-0.34, 0.20, 0.8), (0.12, 0.30, 0.85), (-0.05, 0.38, 0.65)):
        ground = -0.37 if size > 0.9 else -0.39
        yield Shape(CONE, (0.014, 0.012, 0.05), (x, y, ground), _DARK_WOOD)
        for k, colour in enumerate(("3f7350", "4a8259", "589263")):
            radius = size * (0.095 - 0.02 * k)
            height = ground + size * (0.09 + 0.075 * k)
            yield Shape(CONE, (radius, 0.01, 0.055 * size, 0.006), (x, y, height), colour, roughness=0.85)


def _boat() -> Iterator[Shape]:
    x, y, turn = 0.30, -0.55, 15.0
    deck = _SEA + 0.05
    yield Shape(HULL, (0.15, 0.055), (x, y, deck), (_IVORY, _CORAL), paint.BANDS, 0.075, turn, roughness=0.35)
    yield Shape(CONE, (0.006, 0.005, 0.17), (x, y, deck + 0.16), _DARK_WOOD)
    # prisms have their length along y: turned by 90 degrees their base lies along the hull, upright by nature
    yield Shape(PRISM, (0.058, 0.26, 0.004, -0.055), (x - 0.064, y - 0.017, deck + 0.04), (_IVORY, _CORAL),
                paint.BANDS, 0.11, turn)  # fmt: skip
    yield Shape(PRISM, (0.045, 0.21, 0.004, -0.043), (x + 0.058, y + 0.015, deck + 0.03), _IVORY, turn=turn)


def _harbour() -> Iterator[Shape]:
    yield Shape(BOX, (0.16, 0.045, 0.01), (0.555, 0.06, _SEA + 0.06), ("b98a5b", "6f4a2e"), paint.PLANKS, 0.035, 8)
    for x, y in ((0.47, 0.005), (0.47, 0.09), (0.58, 0.02), (0.575, 0.105), (0.69, 0.035), (0.683, 0.12)):
        yield Shape(CONE, (0.012, 0.012, 0.06), (x, y, _SEA + 0.05), _DARK_WOOD)
    for x, y, colour in ((-0.30, -0.56, _CORAL), (-0.58, 0.30, "f2b441")):
        yield Shape(SPHERE, (0.06,), (x, y, _SEA + 0.02), (colour, _IVORY), paint.BANDS, 0.07, 0, 12, roughness=0.24)
        yield Shape(CONE, (0.007, 0.007, 0.05), (x, y + 0.018, _SEA + 0.11), _NAVY, tilt=12)
    yield Shape(TORUS, (0.045, 0.016), (0.265, -0.275, -0.395), (_CORAL, _IVORY), paint.SECTORS, 4, 28, 68)


def lighthouse() -> Scene:
    """Build the demo's scene; it lies within 1.1 of the origin, +Z up.

    Returns
    -------
    Scene
    """
    parts = (_base, _island, _tower, _cottage, _trees, _boat, _harbour)
    shapes = [shape for part in parts for shape in part()]
    return build_scene([replace(s, at=(s.at[0], s.at[1], s.at[2] + _LIFT)) for s in shapes])
